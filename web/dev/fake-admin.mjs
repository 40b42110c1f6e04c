// The admin listener's answers and the agents' figures, made up. A development aid.
const now = () => new Date().toISOString()
const rnd = (a, b) => a + (b - a) * Math.random()
const json = (body, status = 200) => ({ status, body, headers: {} })
const none = (detail) => ({ status: 404, type: 'application/problem+json', body: { title: 'Not there', status: 404, detail }, headers: {} })

function pipeline(w, q) {
  const streams = [...w.streams.values()].map((s) => ({
    stream: s.name, generation: s.name === 'orders' ? 42 : 17, started: new Date(Date.now() - 3e6).toISOString(),
    past: [{ generation: 41, started: now(), ended: new Date(Date.now() - 3.1e6).toISOString(), why: 'shard writer 1 panicked' }, { generation: 40, started: now(), ended: new Date(Date.now() - 9e6).toISOString(), why: 'rebalance, 3 partitions left' }],
    state: s.held ? 'held' : 'running', held: s.held,
    partitions: s.ends.map((e, partition) => ({ partition, committed: e, confirmed: e + Math.floor((s.lag[partition] ?? 0) * 0.05), received: e + Math.min(s.lag[partition] ?? 0, 500), end: e + (s.lag[partition] ?? 0), oldest_ms: s.held ? Date.now() - Date.parse(s.held.since) - partition * 90 : s.lag[partition] ? 30 : null, held_since: s.held ? new Date(Date.parse(s.held.since) + partition * 90).toISOString() : null })),
    writers: [0, 1, 2, 3].map((shard) => { const stuck = s.held && shard === 2; return { shard, mailbox_used: stuck ? 8 : Math.floor(rnd(0, 2)), mailbox_max: 8, batch_records: stuck ? 1000 : Math.floor(rnd(1, 40)), batch_keys: stuck ? 412 : Math.floor(rnd(1, 20)), cut: stuck ? 'full' : Math.random() < 0.6 ? 'full' : Math.random() < 0.8 ? 'aged' : 'forced', since_ms: stuck ? Date.now() - Date.parse(s.held.since) : Math.random() < 0.3 ? 4 : null } })
  }))
  const held = [...w.streams.values()].some((s) => s.held)
  if (q.has('position') || q.has('key')) return { found: [{ stream: 'kv', where: { position: q.get('position'), key: q.get('key'), stage: held ? 'writer' : 'stored', detail: held ? 'batch of 1,000 records, 412 keys, cut when full' : 'version 12' } }] }
  return { at: now(), streams, store: { state: held ? 'half_open' : 'closed', attempt: held ? 3 : 0, next_ms: held ? 1600 : null }, broadcaster: { clients: 1206, rooms: 318, conflated: 86 } }
}

export function admin(req, url, w) {
  const parts = url.pathname.split('/').slice(1).map(decodeURIComponent)
  if (parts[0] !== 'admin') return null
  if (parts[1] === 'pipeline') return json(pipeline(w, url.searchParams))
  if (parts[1] === 'dlq') return deadLetters(req, url, parts.slice(2))
  return none(url.pathname)
}

const LETTERS = [
  ['malformed_json', 'kv', 3, 88190, 'boiler-9', 41, '{"temperature_c":71.4,"mode":"heating","burner":{"on":tru,"flame":0.64},"written_by":"plc-3"}', 57, 'expected value at line 1, column 58'],
  ['malformed_json', 'kv', 3, 88187, 'boiler-9', 44, '{"temperature_c":71.2,"mode":"heating","burner":{"on":tru,"flame":0.63},"written_by":"plc-3"}', 57, 'expected value at line 1, column 58'],
  ['schema_invalid', 'activity', 0, 510221, 'u-48120', 190, '{"eventId":"not-a-uuid","userId":"u-48120","eventType":"login"}', 11, '/eventId: is not a UUID'],
  ['missing_field', 'orders', 5, 2249880, null, 640, '{"lines":[{"sku":"A-1","qty":2}],"total":"41.90","currency":"EUR"}', null, 'no record key, and /order_id is not in the value'],
  ['number_range', 'kv', 0, 91022, 'flag-dark', 9100, '{"n":18446744073709551616}', 5, 'the number at column 6 is outside i64'],
  ['malformed_json', 'kv', 1, 40212, 'm\u00fcller', 1190, Buffer.from('{"name":"M\u00fcller"}', 'latin1'), 10, 'byte 10 is not UTF-8']
].map(([reason, stream, partition, offset, key, ago, bytes, failed_at, detail]) => ({ stream, topic: stream, position: `0.${partition}.${offset}`, partition, offset, reason, detail, key, at: new Date(Date.now() - ago * 1000).toISOString(), time: new Date(Date.now() - ago * 1000 - 40).toISOString(), bytes: Buffer.from(bytes).length, mark: null, value_base64: Buffer.from(bytes).toString('base64'), failed_at, headers: [['traceparent', '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'], ['content-type', 'application/json'], ['statecast-dlq-stream', stream], ['statecast-dlq-reason', reason]] }))

function deadLetters(req, url, [stream, position, order]) {
  const of = (s) => LETTERS.filter((l) => l.stream === s)
  if (!stream) {
    const streams = [...new Set(LETTERS.map((l) => l.stream))].map((s) => ({ stream: s, reasons: of(s).reduce((n, l) => ({ ...n, [l.reason]: (n[l.reason] ?? 0) + 1 }), {}), partitions: [{ partition: 3, used: 6, limit: 100, held: false }, { partition: 0, used: 1, limit: 100, held: false }] }))
    return json({ at: now(), total: LETTERS.length, streams })
  }
  if (!position) { const r = url.searchParams.get('reason'); return json({ items: of(stream).filter((l) => !r || l.reason === r).map(({ value_base64, headers, ...l }) => l), next: null }) }
  const l = of(stream).find((x) => x.position === position)
  if (!l) return none(position)
  if (req.method !== 'POST') return json(l)
  if (order === 'discard') { l.mark = 'discarded'; return json({ stream, discarded: position }) }
  l.mark = 'replayed'
  return json({ stream, replayed: position, position: `0.${l.partition}.${l.offset + 214}` }, 202)
}

const NAMES = ['planner', 'coder', 'researcher', 'reviewer', 'summarizer', 'extractor', 'translator', 'router-fallback']
const count = { n: 0, acts: [] }
const act = () => { const k = Math.random() < 0.62 ? 'tool_call' : Math.random() < 0.5 ? 'decision' : Math.random() < 0.86 ? 'success' : 'error'; return { id: `0.1.${++count.n}`, correlationId: `c-${count.n}`, agentName: NAMES[Math.floor(rnd(0, 6))], actionType: k, actionName: { tool_call: 'search_docs', decision: 'route_to_coder', success: 'patch_applied', error: 'schema_mismatch' }[k], durationMs: Math.round(rnd(20, 1900)), createdAt: now() } }
for (let i = 0; i < 100; i++) count.acts.unshift(act())
setInterval(() => { count.acts.unshift(act()); count.acts.length = 100 }, 150)
const values = {
  summary: () => NAMES.map((agent, i) => ({ agent, totalRequests: 31204 - i * 3700 + Math.floor(count.n / 10), avgRoutingTime: 38 + i * 7, avgConfidence: 0.93 - i * 0.06, lastSeen: new Date(Date.now() - i * i * 900).toISOString() })),
  actions: () => count.acts,
  transformations: () => NAMES.slice(0, 5).flatMap((sourceAgent, i) => NAMES.slice(0, 5).map((targetAgent, j) => ({ sourceAgent, targetAgent, count: i === j ? 0 : (i * 731 + j * 977) % 9904, successRate: 0.98, avgDuration: 80 }))).filter((x) => x.count),
  performance: () => ({ requestsPerMin: 72, cacheHitRate: 0.724, avgCandidates: 4.1, p50: 41 + rnd(-2, 2), p90: 92 + rnd(-5, 5), p99: 184 + rnd(-12, 12), strategies: { semantic: 5800, exact: 2900, fuzzy: 1000, fallback: 300 } })
}
export function agents(path) {
  if (path[0] === 'live') return values[path[1]] ? json(values[path[1]]()) : none(path[1])
  const at = { 'agents/summary': 'summary', 'actions/recent': 'actions', transformations: 'transformations', performance: 'performance' }[path.join('/')]
  if (at) return json(values[at]())
  return path[0] === 'health' ? json({ status: 'healthy', eventsProcessed: 53000 + count.n, recentActionsCount: 100, timestamp: now() }) : none(path.join('/'))
}
