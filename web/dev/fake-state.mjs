// A made-up world for working on the pages without the server: streams, keys, positions, a log of
// what changed. Invariant: version is dense per key and a position is never given twice.
// A development aid; what it does under faults says nothing about the product.

const pad = (n) => String(n).padStart(4, '0')
const between = (a, b) => a + (b - a) * Math.random()
const pick = (list) => list[Math.floor(Math.random() * list.length)]
const KINDS = {
  boiler: () => ({ temperature_c: +between(60, 80).toFixed(1), setpoint_c: 72, pressure_bar: +between(1.9, 2.3).toFixed(2), mode: 'heating', burner: { on: true, flame: +between(0.4, 0.8).toFixed(2) }, alarms: [], written_by: 'plc-3' }),
  cart: () => ({ total: +between(5, 400).toFixed(2), items: Math.floor(between(1, 9)), currency: 'EUR', coupon: null }),
  flag: () => ({ on: Math.random() < 0.5, rollout: 0.25, owner: 'growth' }),
  user: () => ({ name: pick(['Ada', 'Edsger', 'Grace', 'Barbara']), plan: 'pro', seats: Math.floor(between(1, 40)), locale: 'de-DE' })
}

export class Stream {
  constructor(name, o) {
    Object.assign(this, { name, kind: 'latest', app: name, declared: false, topics: [name], partitions: 4, per_s: 0, keep: true }, o)
    this.ends = Array.from({ length: this.partitions }, (_, p) => 1000 + p * 37)
    this.entities = new Map()
    this.log = []
    this.newest = null
    this.rate = 0
    this.counted = 0
    this.lag = Array(this.partitions).fill(0)
    this.held = null
  }

  partitionOf(key) {
    let h = 7
    for (const c of key) h = (h * 31 + c.charCodeAt(0)) >>> 0
    return h % this.partitions
  }

  write(key, value, at = Date.now()) {
    const p = this.partitionOf(key)
    const position = `0.${p}.${this.ends[p]++}`
    const was = this.entities.get(key)
    const when = new Date(at).toISOString()
    const entity = { stream: this.name, key, value, version: (was?.version ?? 0) + 1, created: was && !was.deleted ? was.created : when, updated: when, position, ...(value === undefined ? { value: null, deleted: true } : {}) }
    this.entities.set(key, entity)
    this.newest = { key, version: entity.version, position, updated: when }
    this.log.push(entity)
    if (this.log.length > 20_000) this.log.splice(0, 5_000)
    this.counted++
    this.onChange?.(entity)
    return entity
  }

  get position() { return this.ends.map((e, p) => `0.${p}.${e - 1}`).join(',') }
  live(key) { const e = this.entities.get(key); return e && !e.deleted ? e : null }
  sorted() { return [...this.entities.values()].filter((e) => !e.deleted).sort((a, b) => (a.key < b.key ? -1 : 1)) }

  info() {
    return { stream: this.name, kind: this.kind, writable: this.kind === 'latest', app: this.declared ? null : this.app, declared: this.declared, topics: this.topics, keys: [...this.entities.values()].filter((e) => !e.deleted).length, positions: this.ends.map((e, p) => `0.${p}.${e - 1}`), lag: this.lag, state: this.held ? 'held' : 'running', held: this.held }
  }
}

export function world({ keys = 900 } = {}) {
  const streams = new Map()
  const add = (name, o) => streams.set(name, new Stream(name, o))
  add('kv', { per_s: 60 })
  add('agents-routing', { kind: 'aggregate', app: 'agents', topics: ['agent-routing-decisions'], partitions: 2, per_s: 2 })
  add('agents-actions', { kind: 'recent', app: 'agents', topics: ['agent-actions'], per_s: 30 })
  add('activity', { kind: 'log', topics: ['user-activity-events'], partitions: 6, per_s: 40 })
  add('orders', { declared: true, topics: ['orders.v2'], partitions: 6, per_s: 90 })
  add('invoices', { declared: true, topics: ['invoices'], partitions: 2 })
  const past = Date.now()
  const fill = (name, kind, n, value) => { for (let i = 1; i <= n; i++) streams.get(name).write(`${kind}-${pad(i)}`, value(), past - between(1, 4e7)) }
  for (const [kind, value] of Object.entries(KINDS)) fill('kv', kind, Math.floor(keys / 4), value)
  fill('orders', 'ord', 8_000, KINDS.cart)
  fill('activity', 'u', 400, () => ({ events: Math.floor(between(1, 90)), last: 'login' }))
  fill('invoices', 'inv', 90, KINDS.cart)
  for (const a of ['planner', 'coder', 'reviewer', 'researcher', 'extractor']) for (const s of ['agents-routing', 'agents-actions']) streams.get(s).write(a, { requests: 10 })

  const kv = streams.get('kv')
  const vary = (s, key) => {
    const v = structuredClone(s.entities.get(key)?.value)
    if (!v) return
    if ('temperature_c' in v) { v.temperature_c = +(v.temperature_c + between(-0.4, 0.4)).toFixed(1); if (Math.random() < 0.3) v.pressure_bar = +between(1.9, 2.3).toFixed(2); if (Math.random() < 0.05) v.mode = v.mode === 'idle' ? 'heating' : 'idle' }
    else if ('total' in v) { v.total = +between(5, 400).toFixed(2); v.items = Math.floor(between(1, 9)) }
    else if ('seats' in v) v.seats = Math.floor(between(1, 40))
    else if ('events' in v) v.events++
    else if ('requests' in v) v.requests++
    else v.on = !v.on
    s.write(key, v)
  }
  const step = (ms) => {
    for (const s of streams.values()) {
      if (s.held) { s.lag = s.lag.map((l) => l + Math.floor(between(2, 9))); continue }
      const n = (s.per_s * ms) / 1000
      const keys = s.keysList ??= [...s.entities.keys()]
      for (let i = 0; i < n - Math.random(); i++) vary(s, pick(keys))
      s.lag = s.lag.map(() => (Math.random() < s.per_s / 800 ? Math.floor(between(1, 12)) : 0))
    }
    for (const key of ['boiler-0001', 'boiler-0002', 'boiler-0007']) if (Math.random() < ms / 1600) vary(kv, key)
  }
  return { streams, step, count(dt) { for (const s of streams.values()) { s.rate = s.counted / dt; s.counted = 0 } } }
}
