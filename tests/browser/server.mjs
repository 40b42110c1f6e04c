// Starts the binary under test where no address is given: on the services whose addresses stand in
// the environment, else on its embedded default in a folder of its own. Invariant: nothing is left
// behind. Not the checks.
import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'

const READY_MS = 60_000
const STOP_MS = 15_000

export async function start(binary, config) {
  const folder = mkdtempSync(join(tmpdir(), 'statecast-page-'))
  const kafka = process.env.STATECAST_TEST_KAFKA
  const mongodb = process.env.STATECAST_TEST_MONGODB
  const env = {
    ...process.env, STATECAST_SERVER__LISTEN: '127.0.0.1:0', STATECAST_SERVER__ADMIN_LISTEN: '127.0.0.1:0', STATECAST_EMBEDDED__DATA_DIR: join(folder, 'data'),
    ...(kafka && { STATECAST_LOG__KIND: 'kafka', STATECAST_KAFKA__BROKERS: kafka, STATECAST_KAFKA__GROUP_PREFIX: `page-${process.pid}` }),
    ...(mongodb && { STATECAST_STORE__KIND: 'mongodb', STATECAST_MONGODB__URI: mongodb, STATECAST_MONGODB__DATABASE: `page_${process.pid}` })
  }
  for (const name of Object.keys(env)) if (name.startsWith('STATECAST_TEST_') || name === 'STATECAST_BIN' || name === 'STATECAST_CACHE') delete env[name]
  const child = spawn(resolve(binary), ['serve', '--config', config], { env, cwd: folder, stdio: ['ignore', 'pipe', 'pipe'] })
  let said = ''
  const ended = new Promise((done) => child.on('exit', (code) => done(code)))
  const stop = async () => {
    child.kill('SIGTERM')
    const late = setTimeout(() => child.kill('SIGKILL'), STOP_MS)
    const code = await ended
    clearTimeout(late)
    rmSync(folder, { recursive: true, force: true })
    return code
  }
  const ready = new Promise((done, fail) => {
    const timer = setTimeout(() => fail(new Error(`not ready in ${READY_MS / 1000} s:\n${said.slice(-2_000)}`)), READY_MS)
    const hear = (data) => {
      said += data
      if (!/^ready$/m.test(said)) return
      clearTimeout(timer)
      done()
    }
    child.stdout.on('data', hear)
    child.stderr.on('data', (data) => { said += data })
    ended.then((code) => fail(new Error(`ended with ${code} before it was ready:\n${said.slice(-2_000)}`)))
  })
  try {
    await ready
  } catch (e) {
    await stop()
    throw e
  }
  return { base: /^listening on (\S+)$/m.exec(said)[1], admin: /^admin on (\S+)$/m.exec(said)?.[1] ?? '', stop }
}
