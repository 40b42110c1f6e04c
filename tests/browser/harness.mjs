// What the page test stands on: a proxy that can cut every connection, one browser, checks that
// print a line each, and what a page is watched for. Invariant: nothing here knows which server
// answers; only its address. Not the checks themselves.
import { connect, createServer } from 'node:net'
import { chromium } from 'playwright-core'

const ARGS = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync']

/** A line of TCP that can be cut and mended. */
export async function proxy(target) {
  const { hostname, port } = new URL(target)
  const open = new Set()
  let cut = false
  const server = createServer((near) => {
    if (cut) return near.destroy()
    const far = connect(+port, hostname.replace(/^\[|\]$/g, ''))
    for (const [a, b] of [[near, far], [far, near]]) {
      open.add(a)
      a.pipe(b)
      a.on('error', () => b.destroy())
      a.on('close', () => { open.delete(a); b.destroy() })
    }
  })
  await new Promise((done) => server.listen(0, '127.0.0.1', done))
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    cut() { cut = true; for (const s of open) s.destroy() },
    mend() { cut = false },
    close() { cut = true; for (const s of open) s.destroy(); server.close() }
  }
}

export const sleep = (ms) => new Promise((done) => setTimeout(done, ms))

export async function until(what, within = 8_000, step = 50) {
  const end = Date.now() + within
  for (;;) {
    try {
      const got = await what()
      if (got) return got
    } catch (e) { if (Date.now() > end) throw e }
    if (Date.now() > end) return null
    await sleep(step)
  }
}

export class Checks {
  passed = 0
  failed = 0

  ok(name, held, detail = '') {
    if (held) this.passed++
    else this.failed++
    console.log(`${held ? 'ok  ' : 'FAIL'} ${name}${detail === '' ? '' : ` (${detail})`}`)
    return held
  }

  /** A group of checks: what it throws is one failure, and the next group still runs. */
  async group(name, run) {
    try {
      await run()
    } catch (e) {
      this.ok(name, false, String(e.message ?? e).split('\n')[0])
    }
  }

  end() {
    console.log(`${this.passed} passed, ${this.failed} failed`)
    return this.failed === 0 ? 0 : 1
  }
}

// In the page: every layout shift that no input caused, every breach of the policy, and a mark that
// a reload would lose.
function watchInside() {
  window.__shift = { sum: 0, what: [] }
  window.__csp = []
  window.__mark = true
  new PerformanceObserver((list) => {
    for (const e of list.getEntries()) {
      if (e.hadRecentInput) continue
      window.__shift.sum += e.value
      for (const s of e.sources) window.__shift.what.push([e.value, s.node?.className || s.node?.nodeName, Math.round(e.startTime)])
    }
  }).observe({ type: 'layout-shift', buffered: true })
  document.addEventListener('securitypolicyviolation', (e) => window.__csp.push(`${e.violatedDirective} ${e.blockedURI}`))
}

export async function browser() {
  const b = await chromium.launch({ executablePath: process.env.STATECAST_TEST_CHROMIUM ?? process.env.CHROMIUM ?? '/usr/bin/chromium', args: ARGS })
  const problems = []
  return {
    problems,
    close: () => b.close(),
    async page(url, { width = 1280, height = 900, dark = false } = {}) {
      const context = await b.newContext({ viewport: { width, height }, colorScheme: dark ? 'dark' : 'light', hasTouch: width < 700, isMobile: width < 700 })
      const page = await context.newPage()
      page.quiet = false
      page.on('pageerror', (e) => problems.push(`${url}: ${e.message}`))
      page.on('console', (m) => {
        if (m.type() !== 'error') return
        // A refused condition and a cut line are part of the test; the browser logs them by itself.
        if (/status of (404|409|412|422)/.test(m.text())) return
        if (page.quiet && /ERR_|WebSocket|Failed to load/.test(m.text())) return
        problems.push(`${url}: ${m.text()}`)
      })
      await page.addInitScript(watchInside)
      await page.goto(url)
      return page
    },
    async leave(page) {
      const csp = await page.evaluate(() => window.__csp)
      for (const c of csp) problems.push(`policy: ${c}`)
      await page.context().close()
      return csp
    }
  }
}

export const shift = (page) => page.evaluate(() => window.__shift)
export const worst = (s) => Object.entries(s.what.reduce((sum, [v, what]) => ({ ...sum, [what]: (sum[what] ?? 0) + v }), {})).sort((a, b) => b[1] - a[1]).slice(0, 3).map(([what, v]) => `${what} ${v.toFixed(4)}`).join(', ')
