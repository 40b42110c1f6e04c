// The connection against a real Socket.IO server that says, line by line, what a test wants said:
// what is asked, with which position, and what a listener hears.
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Server, type Socket } from 'socket.io'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { Link } from '../src/live/link'
import type { RoomEvent } from '../src/live/room'

type Ask = { rooms: string[]; since: Record<string, string> }
type Ack = (answer: unknown) => void

const entity = (version: number, position: string, key = 'a') => ({ stream: 'kv', key, value: { n: version }, version, updated: '2026-11-21T10:00:00.000Z', position })
const change = (version: number, position: string, key = 'a') => ({ room: `kv/${key}`, ...entity(version, position, key), skipped: 0 })

let io: Server
let link: Link
let peer: Socket
let asked: Ask[]
let answer: (ask: Ask) => unknown

beforeEach(async () => {
  const http = createServer()
  io = new Server(http, { pingInterval: 60_000 })
  asked = []
  answer = (ask) => ({ ok: true, at: new Date().toISOString(), rooms: ask.rooms.map((room) => ({ room, resumed: false, entity: entity(1, '0.0.1', room.split('/')[1]), position: '0.0.1' })) })
  io.on('connection', (s) => {
    peer = s
    s.on('subscribe', (ask: Ask, ack: Ack) => { asked.push(ask); ack(answer(ask)) })
  })
  await new Promise<void>((done) => http.listen(0, '127.0.0.1', done))
  link = new Link(`http://127.0.0.1:${(http.address() as AddressInfo).port}`)
})
afterEach(async () => {
  link.close()
  await io.close()
})

const open = (name: string, o?: { since?: string }) => {
  const heard: RoomEvent[] = []
  const leave = link.open(name, (e) => heard.push(e), o)
  return { heard, leave, types: () => heard.map((e) => e.type) }
}
const until = (what: () => void) => vi.waitFor(what, { timeout: 4_000, interval: 10 })

describe('the connection', () => {
  it('asks once for a room that two views open', async () => {
    const one = open('kv/a')
    const two = open('kv/a')
    await until(() => expect(two.types()).toEqual(['snapshot']))
    expect(one.types()).toEqual(['snapshot'])
    expect(asked).toEqual([{ rooms: ['kv/a'], since: {} }])
  })
  it('tells a change to its room, and goes on behind a listener that throws', async () => {
    const silent = vi.spyOn(console, 'error').mockImplementation(() => undefined)
    link.open('kv/a', (e) => { if (e.type === 'change') throw new Error('a view broke') })
    const b = open('kv/b')
    await until(() => expect(b.types()).toEqual(['snapshot']))
    peer.emit('changes', [change(2, '0.0.2', 'a'), change(2, '0.1.2', 'b')])
    peer.emit('changes', [change(3, '0.1.3', 'b')])
    await until(() => expect(b.types()).toEqual(['snapshot', 'change', 'change']))
    expect(link.room('kv/a')?.held).toBe('0.0.2')
    silent.mockRestore()
  })
  it('comes back with the position it holds', async () => {
    const a = open('kv/a')
    await until(() => expect(a.types()).toEqual(['snapshot']))
    peer.emit('changes', [change(5, '0.0.5')])
    await until(() => expect(link.room('kv/a')?.held).toBe('0.0.5'))
    answer = (ask) => ({ ok: true, rooms: ask.rooms.map((room) => ({ room, resumed: true, entity: null, position: '0.0.5' })) })
    peer.conn.close()
    await until(() => expect(asked[1]).toEqual({ rooms: ['kv/a'], since: { 'kv/a': '0.0.5' } }))
    await until(() => expect(a.types()).toEqual(['snapshot', 'change', 'resumed']))
    expect(link.room('kv/a')).toMatchObject({ reconnects: 1, resyncs: 0, phase: 'live' })
  })
  it('asks at once when a heartbeat is ahead, and is behind until it holds that', async () => {
    const a = open('kv/a')
    await until(() => expect(a.types()).toEqual(['snapshot']))
    answer = (ask) => ({ ok: true, rooms: ask.rooms.map((room) => ({ room, resumed: true, entity: null, position: '0.0.9' })) })
    peer.emit('heartbeat', [{ room: 'kv/a', position: '0.0.9' }], { at: new Date().toISOString() })
    await until(() => expect(asked[1]?.since).toEqual({ 'kv/a': '0.0.1' }))
    expect(link.room('kv/a')?.behind_since).toBeGreaterThan(0)
    peer.emit('changes', [change(9, '0.0.9')])
    await until(() => expect(link.room('kv/a')?.behind_since).toBe(0))
  })
  it('takes the age of the memory from the heartbeat', async () => {
    const a = open('kv/a')
    await until(() => expect(a.types()).toEqual(['snapshot']))
    peer.emit('heartbeat', [{ room: 'kv/a', position: '0.0.1' }], { at: new Date().toISOString(), stale_s: 12 })
    await until(() => expect(link.room('kv/a')?.stale_s).toBe(12))
  })
  it('finds the one bad room of a refused call', async () => {
    answer = (ask) => ask.rooms.includes('nope') ? { ok: false, problem: { title: 'no such room', status: 404, errors: [{ field: `rooms[${ask.rooms.indexOf('nope')}]` }] } }
      : { ok: true, rooms: ask.rooms.map((room) => ({ room, entity: entity(1, '0.0.1'), position: '0.0.1' })) }
    const a = open('kv/a')
    const bad = open('nope')
    await until(() => expect(bad.types()).toEqual(['refused']))
    await until(() => expect(a.types()).toEqual(['snapshot']))
  })
  it('gives up a position that the server does not take', async () => {
    answer = (ask) => Object.keys(ask.since).length > 0 ? { ok: false, problem: { title: 'not a position', status: 400, errors: [{ field: 'since.kv/a' }] } }
      : { ok: true, rooms: ask.rooms.map((room) => ({ room, entity: entity(1, '0.0.1'), position: '0.0.1' })) }
    const a = open('kv/a', { since: '9.9.9' })
    await until(() => expect(a.types()).toEqual(['snapshot']))
    expect(asked.map((q) => q.since)).toEqual([{ 'kv/a': '9.9.9' }, {}])
  })
  it('reads a stream to its last page, and is told the room\'s position', async () => {
    answer = (ask) => ({ ok: true, rooms: ask.rooms.map((room) => ({ room, items: [entity(1, '0.0.1', 'a')], next: 'a', position: '0.0.1,0.1.0' })) })
    io.on('connection', (s) => s.on('page', (q: { after: string }, ack: Ack) => ack({ ok: true, items: [entity(1, '0.1.0', q.after === 'a' ? 'b' : 'c')], next: q.after === 'a' ? 'b' : null })))
    const kv = open('kv')
    await until(() => expect(kv.types()).toEqual(['snapshot', 'page', 'page']))
    expect(link.room('kv')).toMatchObject({ phase: 'live', read: 3 })
    peer.emit('changes', [{ ...change(2, '0.0.2'), room: 'kv' }], { kv: '0.0.2,0.1.0' })
    await until(() => expect(link.room('kv')?.held).toBe('0.0.2,0.1.0'))
  })
  it('waits as long as the goodbye says', async () => {
    const a = open('kv/a')
    await until(() => expect(a.types()).toEqual(['snapshot']))
    peer.emit('goodbye', { reason: 'restart', retry_ms: 300 })
    await until(() => expect(link.goodbye?.retry_ms).toBe(300))
    peer.conn.close()
    await until(() => expect(link.connected).toBe(false))
    expect(link.next_try_at - performance.now()).toBeLessThan(400)
    await until(() => expect(link.connected).toBe(true))
    expect(link.goodbye).toBeNull()
  })
  it('leaves a room that nobody looks at', async () => {
    const left = new Promise<unknown>((done) => io.on('connection', (s) => s.on('unsubscribe', (q: unknown) => done(q))))
    const a = open('kv/a')
    await until(() => expect(a.types()).toEqual(['snapshot']))
    a.leave()
    expect(await left).toEqual({ rooms: ['kv/a'] })
    expect(link.room('kv/a')).toBeNull()
  })
})
