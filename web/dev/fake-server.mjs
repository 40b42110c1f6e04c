// Answers the pages the way the server's contract says, over the made-up world of fake-state.mjs.
// Serves web/dist on PORT (8090) and the admin pages on ADMIN_PORT (9190). Not the product: no
// store, no Kafka, nothing survives. FAKE_HELD=1 holds `orders`; GET /fake/restart says goodbye,
// GET /fake/forget drops what could be replayed (the next reconnect is a resync).
import { createServer } from 'node:http'
import { readFile } from 'node:fs/promises'
import { extname, join, normalize } from 'node:path'
import { Server } from 'socket.io'
import { world } from './fake-state.mjs'
import { admin, agents } from './fake-admin.mjs'

const PORT = +(process.env.PORT ?? 8090)
const ADMIN_PORT = +(process.env.ADMIN_PORT ?? PORT + 1100)
const DIST = new URL('../dist/', import.meta.url).pathname
const TYPES = { '.html': 'text/html; charset=utf-8', '.js': 'text/javascript', '.css': 'text/css', '.svg': 'image/svg+xml' }
const CSP = "default-src 'self'"
const w = world({ keys: +(process.env.KEYS ?? 900) })
const now = () => new Date().toISOString()
const started = Date.now()
if (process.env.FAKE_HELD) w.streams.get('orders').held = { since: new Date(Date.now() - 12_000).toISOString(), where: 'store', why: 'MongoDB has not confirmed a batch' }

const problem = (status, title, detail, more = {}) => ({ status, type: 'application/problem+json', body: { type: 'about:blank', title, status, detail, ...more } })
const json = (body, status = 200, headers = {}) => ({ status, body, headers })
const read = (req) => new Promise((done) => { let s = ''; req.on('data', (c) => { s += c }); req.on('end', () => done(s)) })

async function api(req, url) {
  const parts = url.pathname.split('/').slice(1).map(decodeURIComponent)
  if (url.pathname === '/fake/restart') { io.emit('goodbye', { reason: 'restart', retry_ms: 2000 }); setTimeout(() => io.disconnectSockets(true), 150); return json({ ok: true }) }
  if (url.pathname === '/fake/forget') { for (const s of w.streams.values()) s.log.length = 0; return json({ ok: true }) }
  if (url.pathname === '/add' && req.method === 'POST') { const b = JSON.parse(await read(req)); const e = w.streams.get('kv').write(b.key, b.value); return json({ key: b.key, position: e.position }, 202) }
  if (parts[0] !== 'api') return null
  if (parts[1] === 'intelligence') return agents(parts.slice(2))
  if (parts[1] !== 'streams') return problem(404, 'Not found', url.pathname)
  if (parts.length === 2) return json({ streams: [...w.streams.values()].map((s) => s.info()), apps: ['kv', 'agents', 'activity'], links: { admin: `http://127.0.0.1:${ADMIN_PORT}`, public: `http://127.0.0.1:${PORT}` }, at: now() })
  const s = w.streams.get(parts[2])
  if (!s) return problem(404, 'No such stream', `There is no stream ${parts[2]}.`)
  if (parts.length === 3) return json(listing(s, url.searchParams))
  const key = parts.slice(3).join('/')
  const e = s.entities.get(key)
  if (req.method === 'GET') {
    if (!e || e.deleted) return problem(404, 'Not there', `${s.name}/${key} was never written, or removed.`)
    await new Promise((r) => setTimeout(r, url.searchParams.has('min_position') ? 6 : 0))
    return json(e, 200, { etag: `"${e.version}"`, 'statecast-position': e.position })
  }
  const version = e && !e.deleted ? e.version : 0
  const condition = req.headers['if-match'] ?? (req.headers['if-none-match'] === '*' ? '"0"' : null)
  const body = await read(req)
  if (condition && condition !== `"${version}"`) return problem(412, 'The key is at another version', `It is at version ${version}.`, { entity: version ? e : null })
  let value
  if (req.method === 'PUT') try { value = JSON.parse(body) } catch (x) { return problem(400, 'Not JSON', String(x.message), { errors: [{ field: 'body', detail: x.message }] }) }
  const wrote = s.write(key, value)
  return condition || url.searchParams.get('wait') ? json(wrote) : json({ stream: s.name, key, position: wrote.position }, 202)
}

function listing(s, q) {
  const prefix = q.get('prefix') ?? ''
  let all = s.sorted().filter((e) => e.key.startsWith(prefix) && e.key >= (q.get('from') ?? ''))
  for (const f of q.getAll('filter')) {
    const [path, op, ...rest] = f.split(':')
    const want = rest.join(':')
    const get = (e) => (path === 'version' ? e.version : path === 'updated' ? e.updated : path.split('/').slice(1).reduce((v, n) => v?.[n], e.value))
    const cmp = (v) => (typeof v === 'number' ? v - Number(want) : String(v) < want ? -1 : String(v) > want ? 1 : 0)
    const ok = { eq: (v) => String(v) === want, ne: (v) => String(v) !== want, lt: (v) => cmp(v) < 0, le: (v) => cmp(v) <= 0, gt: (v) => cmp(v) > 0, ge: (v) => cmp(v) >= 0, prefix: (v) => String(v).startsWith(want) }[op]
    all = all.filter((e) => ok(get(e)))
  }
  const sort = q.get('sort')
  if (sort) { const d = sort[0] === '-' ? -1 : 1; const k = sort.replace('-', ''); all.sort((a, b) => d * (a[k] < b[k] ? -1 : a[k] > b[k] ? 1 : 0)) }
  const from = +(q.get('after') ?? 0), limit = +(q.get('limit') ?? 100)
  return { items: all.slice(from, from + limit), next: from + limit < all.length ? String(from + limit) : null }
}

async function file(path) {
  const clean = normalize(path).replace(/^(\.\.[/\\])+/, '')
  if (extname(clean)) try { return { data: await readFile(join(DIST, clean)), type: TYPES[extname(clean)] ?? 'application/octet-stream' } } catch { return null }
  return { data: await readFile(join(DIST, 'index.html')), type: TYPES['.html'] }
}

const serve = (route) => createServer(async (req, res) => {
  const url = new URL(req.url, 'http://fake')
  let a
  try { a = await route(req, url) } catch (x) { a = problem(500, 'Fake failed', x.stack) }
  const headers = { 'content-security-policy': CSP, 'cache-control': 'no-store' }
  if (a) { res.writeHead(a.status, { ...headers, ...a.headers, 'content-type': a.type ?? 'application/json' }); return res.end(JSON.stringify(a.body)) }
  const f = await file(decodeURIComponent(url.pathname))
  res.writeHead(f ? 200 : 404, { ...headers, 'content-type': f?.type ?? 'text/plain' })
  res.end(f?.data ?? 'not found')
})
const http = serve(api)
const io = new Server(http, { path: '/socket.io/', pingInterval: 25_000, pingTimeout: 20_000 })

const clients = new Map()
const summary = () => ({ at: now(), streams: [...w.streams.values()].map((s) => ({ stream: s.name, kind: s.kind, keys: s.entities.size, records_per_s: s.held ? 0 : s.rate, stored_per_s: s.held ? 0 : s.rate * 0.6, lag: s.lag, newest: s.newest, state: s.held ? 'held' : 'running', held: s.held, latency_ms: { store_p50: 4, store_p99: 11, socket_p50: 6, socket_p99: 19 + Math.round(Math.random() * 6) } })) })
const appEntity = (room, value, n) => ({ stream: room.split(':')[0], key: room.split(':')[1], value, version: n, created: now(), updated: now(), position: `0.0.${n}` })
let beats = 0
let sums = 0
const appValue = (room) => (room === 'streams:summary' ? summary() : agents(['live', room.split(':')[1]])?.body)

function resolve(room, since) {
  const m = /^([^/:]+)(?:([/:])(.*))?$/s.exec(room)
  if (!m) return null
  if (m[2] === ':') return { room, resumed: false, entity: appEntity(room, appValue(room), ++sums), position: `0.0.${sums}` }
  const s = w.streams.get(m[1])
  if (!s) return null
  if (m[2] === undefined) { const l = listing(s, new URLSearchParams({ limit: '200' })); return { room, resumed: false, items: l.items, next: l.next, position: s.position } }
  const e = s.entities.get(m[3])
  if (since && e) {
    const from = s.log.findIndex((x) => x.key === m[3] && x.position === since)
    if (from >= 0) return { room, resumed: true, entity: null, position: e.position, missed: s.log.slice(from + 1).filter((x) => x.key === m[3]) }
  }
  return { room, resumed: false, entity: e && !e.deleted ? e : null, position: e?.position ?? null }
}

io.on('connection', (socket) => {
  const c = { rooms: new Set(), pending: new Map() }
  clients.set(socket, c)
  socket.on('disconnect', () => clients.delete(socket))
  socket.on('subscribe', (data, ack) => {
    const found = (data?.rooms ?? []).map((r) => resolve(r, data.since?.[r]))
    const bad = found.findIndex((f) => !f)
    if (bad >= 0) return ack({ ok: false, problem: { title: 'No such room', status: 404, detail: `There is no room ${data.rooms[bad]}.`, errors: [{ room: data.rooms[bad] }] } })
    ack({ ok: true, at: now(), rooms: found.map(({ missed, ...r }) => r) })
    for (const f of found) { c.rooms.add(f.room); if (f.missed?.length) c.pending.set(f.room, { room: f.room, ...f.missed.at(-1), skipped: f.missed.length - 1 }) }
  })
  socket.on('page', (data, ack) => { const s = w.streams.get(data.room); const l = listing(s, new URLSearchParams({ limit: '200', after: data.after })); setTimeout(() => ack({ ok: true, room: data.room, ...l }), 60) })
  socket.on('unsubscribe', (data, ack) => { for (const r of data?.rooms ?? []) { c.rooms.delete(r); c.pending.delete(r) } ack?.({ ok: true }) })
})

for (const s of w.streams.values()) s.onChange = (e) => {
  for (const c of clients.values()) {
    const put = (id, room) => { const was = c.pending.get(id); c.pending.set(id, { room, ...e, skipped: was ? was.skipped + 1 : 0 }) }
    if (c.rooms.has(`${s.name}/${e.key}`)) put(`${s.name}/${e.key}`, `${s.name}/${e.key}`)
    if (c.rooms.has(s.name)) put(`${s.name}\0${e.key}`, s.name)
  }
}
setInterval(() => w.step(100), 100)
setInterval(() => {
  for (const [socket, c] of clients) {
    if (c.pending.size === 0) continue
    const list = [...c.pending.values()]
    c.pending.clear()
    socket.emit('changes', list, Object.fromEntries(list.filter((e) => w.streams.has(e.room)).map((e) => [e.room, w.streams.get(e.room).position])))
  }
}, 60)
setInterval(() => {
  w.count(1)
  sums++
  for (const c of clients.values()) for (const r of c.rooms) if (r.includes(':') && !r.includes('/')) { c.pending.set(r, { room: r, ...appEntity(r, appValue(r), sums), skipped: 0 }); }
  beats++
  if (beats % 25 === 0) for (const [socket, c] of clients) if (c.rooms.size) socket.emit('heartbeat', [...c.rooms].filter((r) => !r.includes(':')).map((room) => { const m = room.split('/'); const s = w.streams.get(m[0]); const p = c.pending.get(room); return { room, position: m.length > 1 ? (p ? c.pending.get(room).position : s.entities.get(room.slice(m[0].length + 1))?.position ?? null) : s.position, at: now() } }))
}, 1000)

http.listen(PORT, '127.0.0.1', () => console.log(`listening on http://127.0.0.1:${PORT}`))
serve((req, url) => (url.pathname === '/api/streams' ? api(req, url) : admin(req, url, w, started))).listen(ADMIN_PORT, '127.0.0.1', () => console.log(`admin on http://127.0.0.1:${ADMIN_PORT}`))
