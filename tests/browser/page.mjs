// The pages in Chromium against a running server: BASE_URL (and ADMIN_URL for its own pages), or the
// binary STATECAST_BIN, which is started and stopped here. Pictures go into SCREENSHOT_DIR where
// given. Prints a line per check and ends with 1 where one failed.
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { browser, Checks, proxy, shift, sleep, until, worst } from './harness.mjs'
import { agentsMove } from './agents.mjs'
import { start } from './server.mjs'

const { BASE_URL, ADMIN_URL, STATECAST_BIN, SCREENSHOT_DIR: SHOTS } = process.env
if (!BASE_URL && !STATECAST_BIN) {
  console.error('BASE_URL (a running server, as http://127.0.0.1:8080) or STATECAST_BIN (a binary to start) is missing')
  process.exit(64)
}
// With it, events of agents are written by PUT, whatever the log.
const CONFIG = new URL('../../config/examples/agents-by-hand.toml', import.meta.url).pathname
const server = BASE_URL ? null : await start(STATECAST_BIN, CONFIG)
const BASE = (server?.base ?? BASE_URL).replace(/\/+$/, '')
const ADMIN = (server?.admin ?? ADMIN_URL ?? '').replace(/\/+$/, '')
if (SHOTS) mkdirSync(SHOTS, { recursive: true })

const SHIFT_MAX = 0.01
// What is promised is a minute, with a cut in it.
const STILL_MS = 60_000
const KEYS = 300
const run = Date.now().toString(36)
const KEY = `page-${run}`
const checks = new Checks()
const line = await proxy(BASE)
const b = await browser()
const shot = async (page, name) => { if (SHOTS) await page.screenshot({ path: join(SHOTS, `${name}.png`) }) }
const text = (page, selector) => page.locator(selector).first().innerText()
const pill = (page) => page.getAttribute('#pill', 'data-state')

async function put(key, value, headers = {}, stream = 'kv') {
  const a = await fetch(`${BASE}/api/streams/${stream}/${encodeURIComponent(key)}${Object.keys(headers).length ? '?wait=stored' : ''}`, { method: 'PUT', body: JSON.stringify(value), headers: { 'content-type': 'application/json', ...headers } })
  if (!a.ok) throw new Error(`PUT ${key} answered ${a.status}: ${(await a.text()).slice(0, 200)}`)
  return a.json()
}
const at = (n, more = {}) => ({ temperature_c: n, mode: 'heating', burner: { on: true, flame: 0.6 }, ...more })

await checks.group('the server answers', async () => {
  const a = await fetch(`${BASE}/`)
  const policy = a.headers.get('content-security-policy') ?? ''
  checks.ok('GET / is the page, under a policy of its own origin', a.ok && /default-src 'self'/.test(policy), policy)
  const w = await put(KEY, at(70))
  checks.ok('a write is accepted with a position', typeof w.position === 'string', w.position)
})

await checks.group('a key moves without reload', async () => {
  const page = await b.page(`${line.url}/viewer/${KEY}`)
  checks.ok('the viewer shows the value', await until(async () => (await text(page, '.json')).includes('temperature_c')))
  checks.ok('the pill says Live', await until(async () => (await pill(page)) === 'live'), await pill(page))
  const before = await text(page, '.s-ver dd')
  await put(KEY, at(71.5))
  checks.ok('a write appears', await until(async () => (await text(page, '#big')) === '71.5', 5_000), await text(page, '#big'))
  checks.ok('the version moves', (await text(page, '.s-ver dd')) !== before, `${before} to ${await text(page, '.s-ver dd')}`)
  checks.ok('the leaf says what it was', (await text(page, '.json')).includes('was 70'))
  checks.ok('the page was not loaded again', await page.evaluate(() => window.__mark === true))
  await put(KEY, at(72, { mode: 'idle' }))
  checks.ok('history grows', await until(async () => (await page.locator('.history .ver:not(:empty)').count()) >= 3), String(await page.locator('.history .ver:not(:empty)').count()))
  checks.ok('a number has a chart', await page.locator('.plot canvas').count() === 1)
  await page.keyboard.press('t')
  checks.ok('t shows the chart as a table', await until(() => page.locator('.as-table tbody tr').count()))
  await page.keyboard.press('t')
  await shot(page, 'viewer-light')
  await b.leave(page)
})

await checks.group('nothing jumps, across a cut line', async () => {
  const page = await b.page(`${line.url}/viewer/${KEY}`)
  await until(async () => (await pill(page)) === 'live')
  const start = Date.now()
  let n = 73
  const write = async (ms) => { const end = Date.now() + ms; while (Date.now() < end) { n = +(n + (Math.random() - 0.5)).toFixed(1); await put(KEY, at(n, { mode: n > 73 ? 'heating' : 'idle' })); await sleep(400) } }
  await write(7_000)
  page.quiet = true
  line.cut()
  await write(2_600)
  checks.ok('a cut line is said', await until(async () => (await pill(page)) === 'reconnecting', 4_000), await pill(page))
  checks.ok('the page stops speaking in the present', (await text(page, '.lead')).includes('as of') && (await text(page, '.lead')).includes('was the newest'))
  await shot(page, 'viewer-reconnecting-light')
  await write(1_500)
  line.mend()
  checks.ok('it comes back by itself', await until(async () => ['live', 'resynced'].includes(await pill(page)), 12_000), await pill(page))
  page.quiet = false
  checks.ok('what was missed is there', await until(async () => (await text(page, '#big')) === String(n), 4_000), `${await text(page, '#big')} for ${n}`)
  await write(Math.max(2_000, STILL_MS - (Date.now() - start)))
  const s = await shift(page)
  checks.ok(`layout shift under ${SHIFT_MAX} in ${Math.round((Date.now() - start) / 1000)} s`, s.sum < SHIFT_MAX, `${s.sum.toFixed(4)} ${worst(s)}`)
  await b.leave(page)
})

await checks.group('the keyboard', async () => {
  const page = await b.page(`${line.url}/viewer/${KEY}`)
  await until(async () => (await pill(page)) === 'live')
  const value = await text(page, '#big')
  await page.keyboard.press('p')
  checks.ok('p pauses', await until(async () => (await pill(page)) === 'paused'))
  await put(KEY, at(55.5))
  await sleep(800)
  checks.ok('a paused page keeps still', (await text(page, '#big')) === value, await text(page, '#big'))
  await page.keyboard.press('p')
  checks.ok('p shows the newest', await until(async () => (await text(page, '#big')) === '55.5'))
  await page.keyboard.press('?')
  checks.ok('? lists the keys', await until(() => page.locator('dialog[open]').count()))
  await page.keyboard.press('Escape')
  await until(async () => (await page.locator('dialog[open]').count()) === 0)
  await page.keyboard.press('/')
  checks.ok('/ goes to the search', await page.evaluate(() => document.activeElement?.matches('input[type=search]')))
  await page.keyboard.press('Escape')
  await page.keyboard.press('g')
  await page.keyboard.press('s')
  checks.ok('g s leads to the streams', await until(() => new URL(page.url()).pathname === '/'))
  await b.leave(page)
})

await checks.group('writing under a condition', async () => {
  const page = await b.page(`${line.url}/viewer/${KEY}`)
  await until(async () => (await pill(page)) === 'live')
  await page.keyboard.press('e')
  await until(() => page.locator('dialog[open] textarea').count())
  await put(KEY, at(60))
  await until(async () => (await text(page, '#big')) === '60')
  await page.fill('dialog textarea', JSON.stringify(at(61)))
  await page.click('dialog button.first')
  checks.ok('a newer version is never overwritten unseen', await until(() => page.locator('dialog .both').count()))
  checks.ok('the stored value is shown beside mine', (await text(page, 'dialog .both')).includes('60'))
  await shot(page, 'viewer-412-light')
  await page.click('dialog button.first')
  await until(async () => (await page.locator('dialog .both').count()) === 0)
  await page.click('dialog button.first')
  checks.ok('kept on the new version, it is stored', await until(async () => (await text(page, '#big')) === '61'), await text(page, '#big'))
  await fetch(`${BASE}/api/streams/kv/${KEY}`, { method: 'DELETE' })
  checks.ok('a removal is shown', await until(async () => (await text(page, '.well')).includes('Removed')))
  await put(KEY, at(62))
  checks.ok('the key comes back', await until(async () => (await text(page, '#big')) === '62'))
  await b.leave(page)
})

await checks.group('a key that is not there, and scalars', async () => {
  const page = await b.page(`${line.url}/viewer/${KEY}-late`)
  checks.ok('a key that is not there is said', await until(async () => (await text(page, '.well')).includes('is not there')))
  await put(`${KEY}-late`, 'first light')
  checks.ok('it appears with its first record', await until(async () => (await text(page, '.well')).includes('first light')))
  await put(`${KEY}-late`, 7)
  checks.ok('a bare number has its chart', await until(async () => (await text(page, '#big')) === '7'))
  const s = await shift(page)
  checks.ok(`a first value moves nothing`, s.sum < SHIFT_MAX, `${s.sum.toFixed(4)} ${worst(s)}`)
  await b.leave(page)
})

await checks.group('the streams', async () => {
  const page = await b.page(`${line.url}/`)
  checks.ok('kv is listed', await until(() => page.locator('tr[data-stream=kv]').count()))
  await until(async () => (await pill(page)) !== 'loading')
  checks.ok('the pill says Live or Polled', ['live', 'polled'].includes(await pill(page)), await pill(page))
  await put(KEY, at(64))
  checks.ok('the newest change names the key (unless others write too)', await until(async () => { await put(KEY, at(65)); return (await text(page, 'tr[data-stream=kv] .newest')).includes(KEY) || parseFloat((await text(page, 'tr[data-stream=kv] td:nth-child(4)')).replace(',', '')) > 5 }, 8_000, 500), await text(page, 'tr[data-stream=kv] .newest'))
  checks.ok('no link leads to a page that is not there', (await page.locator('.top nav a', { hasText: /Products|Tasks/ }).count()) === 0)
  await page.fill('#write-key', `${KEY}-box`)
  await page.fill('#write-value', '{"n": 1}')
  await page.click('#write-go')
  checks.ok('a value written here is accepted, stored and seen', await until(async () => (await page.locator('.travel .on').count()) === 3), (await text(page, '.travel')).replace(/\s+/g, ' '))
  await page.fill('#write-value', '{"n": ')
  checks.ok('what is not JSON is refused here', await page.isDisabled('#write-go'))
  await sleep(6_000)
  const s = await shift(page)
  checks.ok('the streams do not jump', s.sum < SHIFT_MAX, `${s.sum.toFixed(4)} ${worst(s)}`)
  await shot(page, 'streams-light')
  await b.leave(page)
})

await checks.group('every key of a stream', async () => {
  const names = Array.from({ length: KEYS }, (_, i) => `${KEY}-row-${String(i).padStart(4, '0')}`)
  for (let i = 0; i < KEYS; i += 20) await Promise.all(names.slice(i, i + 20).map((k, j) => put(k, at(i + j))))
  const page = await b.page(`${line.url}/streams/kv`)
  const rows = () => page.locator('.view .row a').count()
  checks.ok('rows appear', await until(rows, 10_000))
  await page.fill('.f-prefix input', `${KEY}-row-`)
  checks.ok('a prefix narrows', await until(async () => (await text(page, '.view .row a')).startsWith(`${KEY}-row-`), 8_000))
  checks.ok('only rows in view exist', (await rows()) < 60, String(await rows()))
  await until(async () => page.evaluate((n) => { const v = document.querySelector('.view'); v.scrollTop = v.scrollHeight; return [...v.querySelectorAll('.row a')].some((a) => a.textContent === n) }, names[KEYS - 1]), 15_000, 200)
  const last = page.locator('.view .row', { hasText: names[KEYS - 1] })
  checks.ok('scrolling reads to the end', await last.count() === 1)
  await sleep(700)
  await put(names[KEYS - 1], at(999.5))
  checks.ok('a row in view is live', await until(async () => (await last.first().innerText()).includes('999.5'), 5_000))
  await page.locator('.view').focus()
  await page.keyboard.press('j')
  await page.keyboard.press('Enter')
  checks.ok('j and Enter open a key', await until(() => new URL(page.url()).pathname.startsWith('/viewer/')), page.url())
  await b.leave(page)
  const still = await b.page(`${line.url}/streams/kv`)
  await until(async () => (await pill(still)) === 'live' && (await still.locator('.view .row a').count()) > 0, 15_000)
  await shot(still, 'stream-light')
  await sleep(4_000)
  const s = await shift(still)
  checks.ok('the table does not jump', s.sum < SHIFT_MAX, `${s.sum.toFixed(4)} ${worst(s)}`)
  checks.ok('what PUT writes can be set here', await still.isVisible('.keys-bar .new') && await still.isEnabled('.keys-bar .new'))
  await b.leave(still)
})

await checks.group('a stream that is not there', async () => {
  const page = await b.page(`${line.url}/`)
  const name = `nope-${run}`
  let asked = 0
  page.on('request', (r) => { if (new URL(r.url()).pathname === `/api/streams/${name}`) asked++ })
  await page.goto(`${line.url}/streams/${name}`)
  checks.ok('is said', await until(async () => (await text(page, '.lead')).includes('no such stream') && (await page.locator('.nothing button').count()) === 1), await text(page, '.lead'))
  await sleep(2_000)
  checks.ok('it is asked at most twice within two seconds', asked >= 1 && asked <= 2, String(asked))
  const before = asked
  await page.click('.nothing button')
  checks.ok('and again where the reader asks', await until(() => asked > before))
  await b.leave(page)
})

const { apps, streams } = await (await fetch(`${BASE}/api/streams`)).json()
const fixed = streams.find((s) => !s.writable)
if (fixed) {
  await checks.group('a stream that PUT does not write', async () => {
    const page = await b.page(`${line.url}/streams/${fixed.stream}`)
    checks.ok('offers no editor', await until(async () => !(await page.isVisible('.keys-bar .new'))))
    await page.keyboard.press('n')
    await sleep(300)
    checks.ok('nor by the keyboard', (await page.locator('dialog[open]').count()) === 0)
    await page.goto(`${line.url}/streams/${fixed.stream}/nobody`)
    checks.ok('nor for one of its keys', await until(async () => (await text(page, '.well')).includes('is not there') && !(await page.isVisible('.key .acts')) && (await page.locator('.well button').count()) === 0))
    await b.leave(page)
  })
}

if (streams.some((s) => s.stream === 'decisions-by-hand')) {
  await checks.group('the agents', () => agentsMove({ b, checks, url: line.url, put, shot, text, run, SHIFT_MAX }))
}

const looks = [['streams', '/'], ['viewer', `/viewer/${KEY}`], ['stream', '/streams/kv'], ...(apps.includes('agents') ? [['agents', '/agents']] : [])]
for (const [name, path] of looks) {
  await checks.group(`${name}, dark and on a phone`, async () => {
    for (const [kind, o] of [['dark', { dark: true }], ['phone-light', { width: 390, height: 844 }], ['phone-dark', { width: 390, height: 844, dark: true }]]) {
      const page = await b.page(line.url + path, o)
      await until(async () => ['live', 'polled'].includes(await pill(page)))
      await sleep(1_200)
      if (o.dark) checks.ok(`${name} is dark where the system is`, await page.evaluate(() => { const [r] = getComputedStyle(document.documentElement).backgroundColor.match(/\d+/g); return +r < 60 }))
      if (o.width) checks.ok(`${name} fits a phone`, await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), String(await page.evaluate(() => document.documentElement.scrollWidth)))
      await shot(page, `${name}-${kind}`)
      await b.leave(page)
    }
  })
}

if (ADMIN) {
  await checks.group('the admin pages', async () => {
    for (const path of ['/pipeline', '/dlq']) {
      for (const o of [{}, { dark: true }, { width: 390, height: 844 }]) {
        const page = await b.page(ADMIN + path, o)
        checks.ok(`${path} is polled${o.width ? ' on a phone' : o.dark ? ' in the dark' : ''}`, await until(async () => (await pill(page)) === 'polled'), await pill(page))
        await sleep(o.width || o.dark ? 1_200 : 5_000)
        const s = await shift(page)
        checks.ok(`${path} does not jump`, s.sum < SHIFT_MAX, `${s.sum.toFixed(4)} ${worst(s)}`)
        if (o.width) checks.ok(`${path} fits a phone`, await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth))
        await shot(page, `${path.slice(1)}-${o.width ? 'phone' : o.dark ? 'dark' : 'light'}`)
        await b.leave(page)
      }
    }
  })
}

checks.ok('no error in the console, no breach of the policy', b.problems.length === 0, b.problems.slice(0, 5).join(' | '))
await b.close()
line.close()
if (server) checks.ok('the server stops cleanly', (await server.stop()) === 0)
process.exitCode = checks.end()
