// The agents' page while events come fast, in Chromium: RATE a second (1000) for SECONDS (30) against BASE_URL, or the
// binary STATECAST_BIN, which is started and stopped here. Prints a line per check and ends with 1 where one failed.
// By hand, since it is about time: `STATECAST_BIN=target/release/statecast node tests/browser/agents-load.mjs`.
// Invariant: events are written by PUT into the streams of agents-by-hand.toml, so any log will do; who watches the page
// is the page itself. Not whether what it shows is right (agents.mjs).
import { Agent, request } from 'node:http'
import { browser, Checks, sleep, until } from './harness.mjs'
import { start } from './server.mjs'

const { BASE_URL, STATECAST_BIN, RATE = '1000', SECONDS = '30' } = process.env
if (!BASE_URL && !STATECAST_BIN) {
  console.error('BASE_URL (a running server with config/examples/agents-by-hand.toml) or STATECAST_BIN (a binary to start) is missing')
  process.exit(64)
}
const LONG_TASK_MS = 200
// Of a quiet machine's 60 a second. A page that stands still has none.
const FRAMES_S = 30
const GAP_P99_MS = 100
const WARM_MS = 5_000
const AGENTS = 20
const UNDER_WAY_MAX = 256
const CONFIG = new URL('../../config/examples/agents-by-hand.toml', import.meta.url).pathname
const server = BASE_URL ? null : await start(STATECAST_BIN, CONFIG)
const base = (server?.base ?? BASE_URL).replace(/\/+$/, '')
const agents = new Agent({ keepAlive: true, maxSockets: 32 })

/** The n-th event: of a hundred, 40 decisions, 30 actions, 15 handovers, 15 times of the router. */
function event(n) {
  const [place, k] = [n % 100, Math.floor(n / 7)]
  const agent = `agent-${k % AGENTS}`
  if (place < 40) return ['decisions-by-hand', agent, { selected_agent: agent, routing_time_ms: n % 997, confidence_score: 0.9 }]
  if (place < 70) return ['actions-by-hand', agent, { agent_name: agent, action_type: 'tool_call', action_name: `tool-${n}`, duration_ms: n % 997, correlation_id: `c-${n}` }]
  if (place < 85) return ['transformations-by-hand', agent, { source_agent: agent, target_agent: `agent-${(k + 1) % AGENTS}`, success: n % 10 > 0, transformation_duration_ms: n % 997 }]
  return ['performance-by-hand', agent, { routing_duration_ms: (n * 7919) % 1000, cache_hit: n % 3 === 0, trigger_match_strategy: `strategy-${n % 4}` }]
}

function put([stream, key, value]) {
  return new Promise((done, fail) => {
    const sent = request(`${base}/api/streams/${stream}/${key}`, { method: 'PUT', agent: agents, headers: { 'content-type': 'application/json' } }, (answer) => {
      answer.resume()
      answer.on('end', () => (answer.statusCode === 202 ? done() : fail(new Error(`PUT answered ${answer.statusCode}`))))
    })
    sent.on('error', fail)
    sent.end(JSON.stringify(value))
  })
}

/** Sends until told to end; how many were taken. */
function load(rate) {
  const began = performance.now()
  const load = { taken: 0, failed: null, stop: false }
  let [next, underWay] = [0, 0]
  const step = () => {
    if (load.stop) return
    const due = ((performance.now() - began) / 1000) * rate
    while (next < due && underWay < UNDER_WAY_MAX) {
      underWay++
      put(event(next++)).then(() => { load.taken++ }, (e) => { load.failed = e }).finally(() => { underWay-- })
    }
    setTimeout(step, 5)
  }
  step()
  return load
}

// In the page: the time between frames, tasks that held it up, and how often what it shows has changed.
function watchFrames() {
  const seen = { gaps: [], long: [], changes: 0 }
  let last = 0
  const frame = (now) => {
    if (last) seen.gaps.push(now - last)
    last = now
    requestAnimationFrame(frame)
  }
  requestAnimationFrame(frame)
  new PerformanceObserver((list) => seen.long.push(...list.getEntries().map((e) => e.duration))).observe({ type: 'longtask' })
  const main = document.querySelector('main')
  new MutationObserver(() => { seen.changes++ }).observe(main, { subtree: true, childList: true, characterData: true, attributes: true })
  window.__frames = seen
}

const [checks, b] = [new Checks(), await browser()]
const rate = Number(RATE)
const seconds = Number(SECONDS)
const sending = load(rate)
await checks.group(`the agents' page at ${rate} events a second`, async () => {
  const page = await b.page(`${base}/agents`)
  const rows = () => page.locator('table.ag tbody tr').count()
  checks.ok('it shows the agents', await until(async () => (await rows()) === AGENTS, 15_000), String(await rows()))
  await sleep(WARM_MS)
  const newest = () => page.locator('.actions li').first().innerText()
  const [taken, first] = [sending.taken, await newest()]
  await page.evaluate(watchFrames)
  await sleep(seconds * 1000)
  const { gaps, long, changes } = await page.evaluate(() => window.__frames)
  const sent = (sending.taken - taken) / seconds
  const sorted = gaps.toSorted((x, y) => x - y)
  const [p99, most] = [sorted[Math.floor((sorted.length - 1) * 0.99)] ?? Infinity, sorted.at(-1) ?? Infinity]
  const worst = Math.max(0, ...long)
  checks.ok('events came as fast as asked', sending.failed === null && sent > rate * 0.95, `${sent.toFixed(0)} a second, ${sending.failed ?? 'none refused'}`)
  checks.ok('frames flow', gaps.length > FRAMES_S * seconds, `${(gaps.length / seconds).toFixed(1)} a second`)
  checks.ok('none is late', p99 < GAP_P99_MS, `p99 ${p99.toFixed(0)} ms, ${most.toFixed(0)} ms at most`)
  checks.ok('no task holds the page up', worst < LONG_TASK_MS, `${long.length} over 50 ms, ${worst.toFixed(0)} ms at most`)
  checks.ok('what it shows moves', changes > seconds && (await newest()) !== first, `${changes} times`)
  await b.leave(page)
})
sending.stop = true
for (const problem of b.problems) checks.ok('no error in the page', false, problem)
await b.close()
agents.destroy()
if (server) checks.ok('the server ends cleanly', (await server.stop()) === 0)
process.exitCode = checks.end()
