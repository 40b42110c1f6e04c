// What the pages keep: history with its gaps, an order that no change moves, figures in either spelling.
import { afterEach, describe, expect, it, vi } from 'vitest'
import { AgentsModel, PARTS, perSecond, readActions, readAgents, readPerformance } from '../src/pages/agents-model'
import { StreamModel } from '../src/pages/stream-model'
import { moves, shown, StreamsModel } from '../src/pages/streams-model'
import { ViewerModel } from '../src/pages/viewer-model'
import type { Change, Entity, Json } from '../src/wire'

const entity = (version: number, value: Json, key = 'a'): Entity => ({ stream: 'kv', key, value, version, updated: new Date(version * 1000).toISOString(), position: `0.0.${version}` })
const change = (version: number, value: Json, skipped = 0, key = 'a'): Change => ({ room: 'kv/a', skipped, ...entity(version, value, key) })

describe('the viewer', () => {
  const opened = () => {
    const m = new ViewerModel()
    m.hear({ type: 'snapshot', entity: entity(3, { t: 70, mode: 'idle' }), items: null, position: '0.0.3' })
    m.drain()
    return m
  }
  it('opens with what is stored', () => {
    const m = opened()
    expect(m.phase).toBe('here')
    expect(m.pin).toBe('/t')
    expect(m.history.map((e) => e.what)).toEqual(['as you opened this page'])
  })
  it('says what a change did and what the leaf was', () => {
    const m = opened()
    m.hear({ type: 'change', change: change(4, { t: 71, mode: 'idle' }) })
    m.drain()
    expect(m.was.get('/t')).toBe(70)
    expect(m.history[0]).toMatchObject({ version: 4, what: 't 70 \u2192 71' })
    expect(m.samples.map((s) => s.numbers.get('/t'))).toEqual([70, 71])
  })
  it('counts what was skipped, in a row of its own', () => {
    const m = opened()
    m.hear({ type: 'change', change: change(8, { t: 72, mode: 'idle' }, 4) })
    m.drain()
    expect(m.skipped).toBe(4)
    expect(m.history[1]).toMatchObject({ kind: 'gap', what: '4 versions skipped, newer came first' })
    expect(m.samples[1]!.skipped).toBe(4)
  })
  it('breaks the line at a resync', () => {
    const m = opened()
    m.hear({ type: 'resync', reason: 'history', entity: entity(20, { t: 60, mode: 'idle' }), items: null, position: '0.0.20', away_ms: 15_000 })
    m.drain()
    expect(m.samples[1]!.gap).toBe(true)
    expect(m.marks).toHaveLength(1)
    expect(m.history.map((e) => e.kind)).toEqual(['change', 'sync', 'opened'])
  })
  it('shows a removal, and a key that comes again', () => {
    const m = opened()
    m.hear({ type: 'change', change: { ...change(4, null), deleted: true } })
    m.drain()
    expect(m.phase).toBe('removed')
    m.hear({ type: 'change', change: change(5, { t: 1 }) })
    m.drain()
    expect(m.phase).toBe('here')
    expect(m.history[0]!.what).toBe('set')
    expect(m.samples[m.samples.length - 1]!.gap).toBe(true)
  })
  it('takes in a bounded number while paused, and counts the rest', () => {
    const m = opened()
    for (let v = 4; v < 1_004; v++) m.hear({ type: 'change', change: change(v, { t: v, mode: 'idle' }) })
    m.drain()
    expect(m.entity?.version).toBe(1_003)
    expect(m.skipped).toBe(800)
    expect(m.history.length).toBeLessThanOrEqual(20)
  })
  it('follows a number of the reader\'s choice, however far down', () => {
    const m = new ViewerModel()
    const rows = (n: number): Json => ({ rows: Array.from({ length: 300 }, (_, i) => i * n) })
    m.hear({ type: 'snapshot', entity: entity(1, rows(1)), items: null, position: '0.0.1' })
    m.drain()
    m.pinTo('/rows/250')
    m.hear({ type: 'change', change: change(2, rows(2)) })
    m.drain()
    expect(m.samples.map((s) => s.numbers.get('/rows/250'))).toEqual([250, 500])
  })
  it('says that a key is not there', () => {
    const m = new ViewerModel()
    m.hear({ type: 'snapshot', entity: null, items: null, position: null })
    m.drain()
    expect(m.phase).toBe('absent')
  })
})

describe('the table of keys', () => {
  const opened = () => {
    const m = new StreamModel('kv', 'room', '', [], 'key')
    m.hear({ type: 'snapshot', entity: null, items: ['a', 'b', 'c'].map((k) => entity(1, { t: 1 }, k)), position: null })
    m.complete()
    m.drain()
    return m
  }
  it('never moves a row by a change', () => {
    const m = opened()
    m.hear({ type: 'change', change: change(2, { t: 2 }, 0, 'c') })
    m.hear({ type: 'change', change: change(1, { t: 2 }, 0, 'aa') })
    m.drain()
    expect(m.order).toEqual(['a', 'b', 'c', 'aa'])
    expect(m.moved).toBe(1)
    m.sortAgain()
    expect(m.order).toEqual(['a', 'aa', 'b', 'c'])
  })
  it('never takes an older version for a newer', () => {
    const m = opened()
    m.hear({ type: 'change', change: change(5, { t: 5 }, 0, 'b') })
    m.drain()
    m.hear({ type: 'page', items: [entity(2, { t: 2 }, 'b')], last: true })
    m.drain()
    expect(m.held.get('b')!.entity.version).toBe(5)
  })
  it('adds up what was coalesced, on the way and here', () => {
    const m = opened()
    m.hear({ type: 'change', change: change(4, { t: 4 }, 2, 'a') })
    m.hear({ type: 'change', change: change(5, { t: 5 }, 0, 'a') })
    m.drain()
    expect(m.held.get('a')).toMatchObject({ skipped: 3, path: '/t' })
    expect(m.skipped).toBe(3)
  })
  it('keeps its rows over a resync, and lets go of what is gone', () => {
    const m = opened()
    m.hear({ type: 'resync', reason: 'gapped', entity: null, items: [entity(2, { t: 2 }, 'a')], position: null, away_ms: 0 })
    expect(m.order).toEqual(['a', 'b', 'c'])
    m.hear({ type: 'page', items: [entity(1, { t: 1 }, 'c')], last: true })
    m.drain()
    expect(m.order).toEqual(['a', 'c'])
  })
})

describe('a listing that fails', () => {
  afterEach(() => vi.unstubAllGlobals())
  const painted = (answer: () => Response | Promise<Response>) => {
    let now = 0
    const asked: number[] = []
    vi.stubGlobal('fetch', async () => { asked.push(now); return answer() })
    const m = new StreamModel('nope', 'list', '', [], 'key', () => now)
    // A paint each 100 ms, each of which asks for more.
    const paint = async (ms: number) => { for (const end = now + ms; now < end; now += 100) await m.more() }
    return { m, asked, paint }
  }
  const problem = (status: number) => Response.json({ title: 'No', detail: 'no' }, { status })
  const page = (next: string | null) => Response.json({ items: [entity(1, 1)], next })
  it.each([503, 500, 429, 0])('with %i is asked again later and later, up to thirty seconds', async (status) => {
    const { m, asked, paint } = painted(() => (status ? problem(status) : Promise.reject(new TypeError('refused'))))
    await paint(100_000)
    expect(asked).toEqual([0, 1_000, 3_000, 7_000, 15_000, 31_000, 61_000, 91_000])
    expect(m.problem).not.toBeNull()
  })
  it.each([404, 400])('with %i is not asked again until the reader does', async (status) => {
    const { m, asked, paint } = painted(() => problem(status))
    await paint(100_000)
    expect(asked).toEqual([0])
    m.again()
    await paint(100_000)
    expect(asked).toEqual([0, 100_000])
    expect(m.problem).not.toBeNull()
  })
  it('waits for the reader no longer than the reader does', async () => {
    const { m, asked, paint } = painted(() => problem(503))
    await paint(500)
    m.again()
    await paint(500)
    expect(asked).toEqual([0, 500])
  })
  it('begins with a short wait again once a page came', async () => {
    const answers = [problem(503), problem(503), page('x'), problem(503), page(null)]
    const { m, asked, paint } = painted(() => answers.shift()!)
    await paint(20_000)
    expect(asked).toEqual([0, 1_000, 3_000, 3_100, 4_100])
    expect(m.problem).toBeNull()
    expect(m.order).toEqual(['a'])
  })
})

describe('the streams', () => {
  const row = (o: object) => ({ stream: 'kv', kind: 'latest', keys: 1, records_per_s: 3, stored_per_s: 2, lag: [0], newest: null, state: 'running', held: null, ...o })
  const summary = (o: object) => ({ type: 'change', change: { value: { at: '2026-11-21T10:00:00Z', streams: [row(o)] } } }) as never
  it('join the catalogue with the summary', () => {
    const m = new StreamsModel()
    m.know({ streams: [{ stream: 'kv', kind: 'latest', writable: true, declared: true, topics: ['kv'], keys: 9, positions: [], lag: [], state: 'running' }], apps: [] })
    m.hear(summary({ keys: 10 }))
    m.drain()
    expect(m.rows).toMatchObject([{ stream: 'kv', declared: true, topics: ['kv'], keys: 10, rate: 3, rates: [3] }])
  })
  it('are quiet only after ten seconds without a record', () => {
    const m = new StreamsModel()
    for (let i = 0; i < 9; i++) m.hear(summary({ records_per_s: 0 }))
    expect(shown(m.rows[0]!)).toBe('current')
    m.hear(summary({ records_per_s: 0 }))
    expect(shown(m.rows[0]!)).toBe('quiet')
  })
  it('move only where a record came', () => {
    const m = new StreamsModel()
    m.hear(summary({ records_per_s: 0 }))
    expect(moves(m.rows[0]!)).toBe(false)
    m.hear(summary({ records_per_s: 1 }))
    expect(moves(m.rows[0]!)).toBe(true)
    for (let i = 0; i < 10; i++) m.hear(summary({ records_per_s: 0 }))
    expect(moves(m.rows[0]!)).toBe(false)
  })
  it('say held before anything else', () => {
    const m = new StreamsModel()
    m.hear(summary({ state: 'held', lag: [99_999] }))
    m.drain()
    expect(shown(m.rows[0]!)).toBe('held')
  })
})

describe('the agents', () => {
  it('are nothing only once every part said so', () => {
    const m = new AgentsModel()
    const empty = { summary: [], actions: [], transformations: [], performance: { requests: 0 } }
    for (const part of PARTS) {
      expect(m.nothing).toBe(false)
      m.put(part, empty[part])
      m.drain(0)
    }
    expect(m.nothing).toBe(true)
    m.put('actions', [{ id: 'a', agentName: 'coder', actionType: 'error' }])
    m.drain(0)
    expect(m.nothing).toBe(false)
  })
  it('act at a rate that is measured up to now', () => {
    const now = Date.parse('2026-11-21T10:00:00Z')
    // Newest first, ten a second until `ago` milliseconds before now.
    const actions = (count: number, ago: number) => readActions(Array.from({ length: count }, (_, i) => ({ createdAt: new Date(now - ago - i * 100).toISOString() })))
    expect(perSecond([], now)).toBeNull()
    expect(perSecond(actions(100, 0), now)).toBeCloseTo(10)
    expect(perSecond(actions(100, 9_900), now)).toBeCloseTo(5)
    expect(perSecond(actions(100, 4 * 60_000), now)).toBe(0)
    // Fewer than are held at most: all there were.
    expect(perSecond(actions(30, 0), now)).toBeCloseTo(0.5)
    expect(perSecond(actions(30, 58_000), now)).toBeCloseTo(20 / 60)
    // The server's clock is ahead of what this device knows of it.
    expect(perSecond(actions(100, -60_000), now)).toBeLessThanOrEqual(100)
  })
  it('draw one routing time a second, and never without the newest', () => {
    const m = new AgentsModel()
    for (const [now, p50] of [[0, 10], [500, 20], [1_000, 30], [1_500, 40]] as const) {
      m.put('performance', { quantiles: { p50 } })
      m.drain(now)
    }
    expect(m.times.p50).toEqual([{ t: 0, v: 20 }, { t: 1_000, v: 40 }])
  })
  it('are read in either spelling, bare or wrapped', () => {
    const one = { agent: 'coder', requests: 4, routing_ms: 5, confidence: 0.9, last: 'x', hours: [1, 3] }
    expect(readAgents([{ agent: 'coder', totalRequests: 4, avgRoutingTime: 5, avgConfidence: 0.9, lastSeen: 'x', requestsPerHour: [1, 3] }])).toEqual([one])
    expect(readAgents({ agents: [{ agent: 'coder', total_requests: 4, avg_routing_time: 5, avg_confidence: 0.9, last_seen: 'x', requests_per_hour: [1, 3] }] })).toEqual([one])
    expect(readActions([{ id: '1', agent_name: 'a', action_type: 'error', action_name: 'n', duration_ms: 3, timestamp: 't' }])[0]).toMatchObject({ agent: 'a', type: 'error', ms: 3, at: 't' })
  })
  it('leave out what is not told', () => {
    expect(readPerformance({})).toEqual({ requests: 0, p50: null, p90: null, p99: null, cache: null, candidates: null, per_min: null, strategies: [] })
    expect(readPerformance({ latency_ms: { p50: 4, p99: 9 }, strategies: { exact: 1, semantic: 3 } })).toMatchObject({ p50: 4, p99: 9, strategies: [['semantic', 3], ['exact', 1]] })
  })
})
