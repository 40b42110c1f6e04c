// What a room may conclude: a table of what the server says and what is held after it.
import { describe, expect, it } from 'vitest'
import { acked, ask, beaten, changed, cut, kindOf, moved, newRoom, paged, resynced } from '../src/live/room'
import type { Change, Entity } from '../src/wire'

const entity = (version: number, position: string, value: unknown = version): Entity => ({ stream: 'kv', key: 'a', value: value as Entity['value'], version, updated: '2026-11-21T10:00:00.000Z', position })
const change = (version: number, position: string, skipped = 0): Change => ({ room: 'kv/a', ...entity(version, position), skipped })
const joined = (position = '0.0.1') => {
  const room = newRoom('kv/a')
  ask(room)
  acked(room, { room: 'kv/a', resumed: false, entity: entity(1, position), position }, 0)
  return room
}

describe('room names', () => {
  it('are parted as the server parts them', () => {
    expect(kindOf('kv')).toBe('stream')
    expect(kindOf('kv/user-1')).toBe('entity')
    expect(kindOf('kv/a:b')).toBe('entity')
    expect(kindOf('agents:summary')).toBe('app')
    expect(kindOf('products:seller/42')).toBe('app')
  })
})

describe('a key', () => {
  it('holds the position of its snapshot', () => {
    const room = joined()
    expect(room.phase).toBe('live')
    expect(room.held).toBe('0.0.1')
    expect(ask(room)).toBe('0.0.1')
  })
  it('never seen holds nothing, and is no resync when it comes while away', () => {
    const room = newRoom('kv/a')
    expect(ask(room)).toBeNull()
    expect(acked(room, { room: 'kv/a', entity: null, position: null }, 0)).toMatchObject({ type: 'snapshot', entity: null })
    cut(room, 10)
    expect(ask(room)).toBeNull()
    expect(acked(room, { room: 'kv/a', entity: entity(1, '0.0.9') }, 20).type).toBe('snapshot')
  })
  it('moves with each change and counts what was skipped', () => {
    const room = joined()
    expect(changed(room, change(4, '0.0.7', 2))?.type).toBe('change')
    expect(room.held).toBe('0.0.7')
    expect(room.skipped).toBe(2)
  })
  it('does not take the same change twice', () => {
    const room = joined()
    changed(room, change(2, '0.0.2'))
    expect(changed(room, change(2, '0.0.2'))).toBeNull()
    expect(changed(room, change(1, '0.0.1'))).toBeNull()
    expect(room.held).toBe('0.0.2')
  })
  it('is silent when the server resumes', () => {
    const room = joined()
    cut(room, 100)
    ask(room)
    expect(acked(room, { room: 'kv/a', resumed: true, entity: null, position: '0.0.5' }, 400)).toEqual({ type: 'resumed', away_ms: 300 })
    expect(room.held).toBe('0.0.1')
    expect(room.resyncs).toBe(0)
    expect(room.reconnects).toBe(1)
  })
  it('is resynced when asked with a position and told the whole', () => {
    const room = joined()
    cut(room, 100)
    ask(room)
    expect(acked(room, { room: 'kv/a', resumed: false, reason: 'history', entity: entity(9, '0.0.9') }, 400)).toMatchObject({ type: 'resync', reason: 'history', away_ms: 300 })
    expect(room.held).toBe('0.0.9')
    expect(room.resyncs).toBe(1)
  })
  it('may go down only by a resync', () => {
    const room = joined()
    changed(room, change(8, '0.0.8'))
    expect(resynced(room, { room: 'kv/a', reason: 'forgotten', entity: null, position: null }, 5)).toMatchObject({ type: 'resync', entity: null })
    expect(changed(room, change(1, '0.0.12'))?.type).toBe('change')
  })
  it('too large for the answer waits for its first change', () => {
    const room = newRoom('kv/a')
    ask(room)
    expect(acked(room, { room: 'kv/a', entity: null, position: '0.0.7', follows: true }, 0).type).toBe('resumed')
    expect(changed(room, change(7, '0.0.7'))?.type).toBe('change')
  })
  it('read over HTTP first asks with that position', () => {
    const room = newRoom('kv/a', '0.3.1041')
    expect(ask(room)).toBe('0.3.1041')
    expect(acked(room, { room: 'kv/a', resumed: true, entity: null }, 0).type).toBe('resumed')
    expect(room.held).toBe('0.3.1041')
  })
})

describe('a heartbeat', () => {
  it('that names what is held confirms it', () => {
    const room = joined()
    expect(beaten(room, { room: 'kv/a', position: '0.0.1' }, 50)).toBe(false)
    expect(room.behind_since).toBe(0)
    expect(room.beat_at).toBe(50)
  })
  it('ahead makes the room behind until it holds that position', () => {
    const room = joined()
    expect(beaten(room, { room: 'kv/a', position: '0.0.4' }, 50)).toBe(true)
    expect(room.behind_since).toBe(50)
    changed(room, change(2, '0.0.2'))
    expect(room.behind_since).toBe(50)
    changed(room, change(4, '0.0.4'))
    expect(room.behind_since).toBe(0)
  })
  it('compares whole strings: a shorter number is another position', () => {
    const room = joined('0.0.10')
    expect(beaten(room, { room: 'kv/a', position: '0.0.1' }, 50)).toBe(true)
  })
  it('never calls behind what is sampled each second', () => {
    const room = newRoom('streams:summary')
    ask(room)
    acked(room, { room: 'streams:summary', entity: entity(1, '0.0.1'), position: '0.0.1' }, 0)
    expect(beaten(room, { room: 'streams:summary', position: '0.0.2' }, 50)).toBe(false)
  })
  it('says nothing about a room still in pages', () => {
    const room = newRoom('kv')
    ask(room)
    acked(room, { room: 'kv', items: [entity(1, '0.0.1')], next: 'b', position: '0.0.1' }, 0)
    expect(beaten(room, { room: 'kv', position: '0.0.99' }, 50)).toBe(false)
  })
  it('that is never caught up with asks for the whole at last', () => {
    const room = joined()
    for (let i = 0; i < 3; i++) {
      beaten(room, { room: 'kv/a', position: '0.0.9' }, 50 + i)
      if (i < 2) {
        expect(ask(room)).toBe('0.0.1')
        acked(room, { room: 'kv/a', resumed: true }, 60)
      }
    }
    expect(ask(room)).toBeNull()
    expect(acked(room, { room: 'kv/a', entity: entity(9, '0.0.9') }, 70).type).toBe('resync')
    expect(room.behind_since).toBe(0)
  })
})

describe('a stream', () => {
  const opened = () => {
    const room = newRoom('kv')
    ask(room)
    acked(room, { room: 'kv', items: [entity(1, '0.0.1')], next: 'b', position: '0.0.1,0.1.4' }, 0)
    return room
  }
  it('loads until there is no next', () => {
    const room = opened()
    expect(room.phase).toBe('paging')
    expect(paged(room, { ok: true, items: [entity(2, '0.1.2')], next: null })).toMatchObject({ type: 'page', last: true })
    expect(room.phase).toBe('live')
    expect(room.read).toBe(2)
  })
  it('takes its position from the packet, not from a change', () => {
    const room = opened()
    paged(room, { ok: true, items: [], next: null })
    changed(room, { ...change(3, '0.0.9'), room: 'kv' })
    expect(room.held).toBe('0.0.1,0.1.4')
    moved(room, '0.0.9,0.1.4')
    expect(room.held).toBe('0.0.9,0.1.4')
  })
  it('cut between pages starts anew', () => {
    const room = opened()
    cut(room, 10)
    expect(ask(room)).toBeNull()
  })
})
