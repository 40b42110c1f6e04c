// The agents' page: what it says while there is nothing, then an agent, its action, whom it hands to and how the
// router performs, as they come.
// Invariant: events are written by PUT into the streams of agents-by-hand.toml, so any log will do.
import { shift, sleep, until, worst } from './harness.mjs'

export async function agentsMove({ b, checks, url, put, shot, text, run, SHIFT_MAX }) {
  const agent = `agent-${run}`
  const decide = (ms) => put(agent, { selected_agent: agent, routing_time_ms: ms, confidence_score: 0.9 }, {}, 'decisions-by-hand')
  const answer = async (name) => (await fetch(`${url}/api/intelligence/${name}`)).json()
  const row = (page) => page.locator('table.ag tbody tr', { hasText: agent })
  const cells = async (page) => (await row(page).locator('td').allInnerTexts()).join(' | ')
  const page = await b.page(`${url}/agents`)
  await until(async () => (await text(page, '.lead')).length > 0 && (await page.locator('main .agents').count()) > 0)
  const was = await answer('agents/summary')
  if (was.length === 0) {
    checks.ok('nothing yet is said in words', (await text(page, '.ag-all')).includes('No agent yet') && (await text(page, '.lead')).includes('No agent has done'), await text(page, '.lead'))
    checks.ok('and how to send an event', (await text(page, '.ag-all pre')).includes('agent-routing-decisions'))
    checks.ok('without ghosts', (await page.locator('main .ghost').count()) === 0)
    await shot(page, 'agents-nothing-light')
  }
  await decide(10)
  checks.ok('an agent comes with its first decision', await until(() => row(page).count(), 15_000))
  checks.ok('its row has what was sent', await until(async () => /1 .*10 ms .*0\.900/s.test(await cells(page))), await cells(page))
  await sleep(1_000)
  const before = await shift(page)
  await decide(30)
  checks.ok('it moves when an event comes', await until(async () => /2 .*20 ms/s.test(await cells(page)), 10_000), await cells(page))
  await sparkline({ page, checks, row: row(page) })
  await put(agent, { agent_name: agent, action_type: 'tool_call', action_name: `search-${run}`, duration_ms: 12 }, {}, 'actions-by-hand')
  checks.ok('an action is the first of the latest', await until(async () => (await text(page, '.actions li')).includes(`search-${run}`), 10_000), await text(page, '.actions li'))
  checks.ok('it says who and how long', /12 ms/.test(await text(page, '.actions li')) && (await text(page, '.actions li')).includes(agent))
  await handovers({ page, checks, put, agent, run })
  await times({ page, checks, put, text, answer })
  await sleep(2_000)
  const s = await shift(page)
  checks.ok('the agents do not jump', s.sum - before.sum < SHIFT_MAX, `${(s.sum - before.sum).toFixed(4)} ${worst(s)}`)
  await shot(page, 'agents-light')
  await b.leave(page)
}

/** The agent's two decisions, in the hour (or two) they fell into. */
async function sparkline({ page, checks, row }) {
  const said = () => row.locator('svg.spark').getAttribute('aria-label')
  checks.ok('its sparkline has the requests of the last hours', await until(async () => /now [012], most [12]$/.test(await said()), 10_000), await said())
  const drawn = await row.locator('svg.spark').evaluate((svg) => {
    const line = svg.querySelector('path.line').getAttribute('d').match(/[\d.]+ [\d.]+/g) ?? []
    const heights = line.map((p) => +p.split(' ')[1])
    return { points: heights.length, rise: Math.max(...heights) - Math.min(...heights), high: heights.at(-1) <= heights[0] }
  })
  checks.ok('and draws them: 24 hours, of which the last ones rise', drawn.points === 24 && drawn.rise > 5 && drawn.high, JSON.stringify(drawn))
}

/** Who hands to whom: pairs of this run alone, so that a row and a column of them are new. */
async function handovers({ page, checks, put, agent, run }) {
  const critic = `critic-${run}`
  const hand = (from, to) => put(run, { source_agent: from, target_agent: to, success: true }, {}, 'transformations-by-hand')
  const cell = async (from, to) => {
    const columns = await page.locator('table.matrix thead th[scope=col]').evaluateAll((all) => all.map((th) => th.title))
    const row = page.locator(`table.matrix tbody tr:has(th[title="${from}"]) td`)
    return columns.includes(to) ? (await row.allInnerTexts())[columns.indexOf(to)] : undefined
  }
  // The matrix takes the seven names with the most; where others have more, these are not among them.
  const before = await page.locator('table.matrix thead th[scope=col]').count()
  if (before > 5) return
  for (let n = 0; n < 3; n++) await hand(agent, critic)
  await hand(critic, agent)
  checks.ok('a handover is in the matrix, from row to column', await until(async () => (await cell(agent, critic)) === '3', 10_000), String(await cell(agent, critic)))
  checks.ok('and the way back in a cell of its own', await until(async () => (await cell(critic, agent)) === '1', 10_000), String(await cell(critic, agent)))
  await hand(critic, agent)
  checks.ok('it counts on when an event comes', await until(async () => (await cell(critic, agent)) === '2', 10_000), String(await cell(critic, agent)))
}

const SLOW_MS = 4_000

/** Routing times: what the chart shows under the pointer is what was sent, within the one percent of a quantile. */
async function times({ page, checks, put, text, answer }) {
  const near = (got, wanted) => Math.abs(got - wanted) <= wanted * 0.011
  const measure = (ms, hit) => put('router', { routing_duration_ms: ms, cache_hit: hit, trigger_match_strategy: 'exact' }, {}, 'performance-by-hand')
  const alone = (await answer('performance')).requests === 0
  for (let n = 0; n < 10; n++) await measure(n < 6 ? 40 : SLOW_MS, n < 5)
  const plot = page.locator('.plot')
  await plot.scrollIntoViewIfNeeded()
  const tip = async () => {
    const box = await plot.boundingBox()
    // To and fro: a pointer that rests moves no cursor. The newest point is nearest at the end of the axis.
    for (const x of [80, 66]) await page.mouse.move(box.x + box.width - x, box.y + box.height / 2)
    return (await page.locator('.plot .plot-tip').innerText()).split('  ')[0].split(', ').map(Number)
  }
  // As the page lists its lines: p99, p90, p50.
  const wanted = async () => {
    const { p50, p90, p99 } = (await answer('performance')).quantiles
    return [p99, p90, p50]
  }
  const same = async () => { const [got, want] = [await tip(), await wanted()]; return got.length === 3 && got.every((v, i) => near(v, want[i])) }
  checks.ok('the chart shows the quantiles that are answered', await until(same, 15_000, 200), `${await tip()} for ${await wanted()}`)
  checks.ok('its lines are drawn', await until(async () => (await ink(page)) > 20), String(await ink(page)))
  if (!alone) return
  const [p99, , p50] = await tip()
  checks.ok('they are what was sent', near(p50, 40) && near(p99, SLOW_MS), `p50 ${p50}, p99 ${p99}`)
  const figures = async () => (await text(page, '.figures')).replace(/\s+/g, ' ')
  checks.ok('so are the figures above', await until(async () => /(4,0|3,9)\d\d ?ms.*50\.0 ?%/.test(await figures())), await figures())
  checks.ok('and the share of each way to match', (await page.locator('.bars > div', { hasText: 'exact' }).innerText()).includes('100'))
}

/** Pixels of the chart in a line's colour: text and rules are grey. */
const ink = (page) => page.locator('.plot canvas').evaluate((canvas) => {
  const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height)
  let count = 0
  for (let i = 0; i < data.length; i += 4) if (data[i + 3] > 128 && Math.max(data[i], data[i + 1], data[i + 2]) - Math.min(data[i], data[i + 1], data[i + 2]) > 60) count++
  return count
})
