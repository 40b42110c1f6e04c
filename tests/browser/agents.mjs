// The agents' page: what it says while there is nothing, then an agent and its action as they come.
// Invariant: events are written by PUT into the streams of agents-by-hand.toml, so any log will do.
import { shift, sleep, until, worst } from './harness.mjs'

export async function agentsMove({ b, checks, url, put, shot, text, run, SHIFT_MAX }) {
  const agent = `agent-${run}`
  const decide = (ms) => put(agent, { selected_agent: agent, routing_time_ms: ms, confidence_score: 0.9 }, {}, 'decisions-by-hand')
  const row = (page) => page.locator('table.ag tbody tr', { hasText: agent })
  const cells = async (page) => (await row(page).locator('td').allInnerTexts()).join(' | ')
  const page = await b.page(`${url}/agents`)
  await until(async () => (await text(page, '.lead')).length > 0 && (await page.locator('main .agents').count()) > 0)
  const was = await (await fetch(`${url}/api/intelligence/agents/summary`)).json()
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
  await put(agent, { agent_name: agent, action_type: 'tool_call', action_name: `search-${run}`, duration_ms: 12 }, {}, 'actions-by-hand')
  checks.ok('an action is the first of the latest', await until(async () => (await text(page, '.actions li')).includes(`search-${run}`), 10_000), await text(page, '.actions li'))
  checks.ok('it says who and how long', /12 ms/.test(await text(page, '.actions li')) && (await text(page, '.actions li')).includes(agent))
  await sleep(2_000)
  const s = await shift(page)
  checks.ok('the agents do not jump', s.sum - before.sum < SHIFT_MAX, `${(s.sum - before.sum).toFixed(4)} ${worst(s)}`)
  await shot(page, 'agents-light')
  await b.leave(page)
}
