// What one room knows: the position it holds, whether a heartbeat agreed, and how far its pages are.
// Invariant: `held` moves only to positions the server named for this room, compared as whole
// strings; a room is behind from the moment the server names another until it holds that one.
// Not a connection and not a cache of values: plain transitions, so that each can be tested.
import type { Beat, Change, Entity, PageAck, Problem, Resync, RoomAck } from '../wire'

export type RoomKind = 'entity' | 'stream' | 'app'
export type Phase = 'new' | 'joining' | 'paging' | 'live' | 'refused'

export type RoomEvent =
  /** `last`: no page follows. */
  | { type: 'snapshot'; entity: Entity | null; items: Entity[] | null; position: string | null; last?: boolean }
  | { type: 'page'; items: Entity[]; last: boolean }
  | { type: 'change'; change: Change }
  | { type: 'resync'; reason: string; entity: Entity | null; items: Entity[] | null; position: string | null; away_ms: number; last?: boolean }
  | { type: 'resumed'; away_ms: number }
  | { type: 'refused'; problem: Problem }

/** Sampled once a second: nothing in it can be missed, so replacing it is no resync. */
export const SAMPLED = 'streams:summary'

export interface Room {
  readonly name: string
  readonly kind: RoomKind
  phase: Phase
  held: string | null
  /** Whether `held` was ever told: null is also the position of a key never seen. */
  knows: boolean
  beat: string | null
  beat_at: number
  behind_since: number
  asked_since: string | null
  replays_in_vain: number
  cut_at: number
  resynced_at: number
  resync_reason: string
  reconnects: number
  resyncs: number
  skipped: number
  next: string | null
  read: number
  stale_s: number
  feed: string
  entity: Entity | null
  problem: Problem | null
}

/** A `:` before any `/` makes it an app's room; else the first `/` parts stream and key. */
export function kindOf(name: string): RoomKind {
  const colon = name.indexOf(':')
  const slash = name.indexOf('/')
  if (colon >= 0 && (slash < 0 || colon < slash)) return 'app'
  return slash >= 0 ? 'entity' : 'stream'
}

export function newRoom(name: string, since: string | null = null): Room {
  return {
    name, kind: kindOf(name), phase: 'new', held: since, knows: since !== null, beat: null, beat_at: 0, behind_since: 0,
    asked_since: null, replays_in_vain: 0, cut_at: 0, resynced_at: 0, resync_reason: '', reconnects: 0, resyncs: 0,
    skipped: 0, next: null, read: 0, stale_s: 0, feed: '', entity: null, problem: null
  }
}

/** What to ask with. A room cut in the middle of its pages starts anew: its position is that of the
 *  start, and keys beyond the last page were never read. So does one that twice replayed in vain. */
export function ask(room: Room): string | null {
  const since = room.knows && room.phase !== 'paging' && room.replays_in_vain < 2 ? room.held : null
  room.asked_since = since
  if (room.phase !== 'live') room.phase = 'joining'
  return since
}

export function acked(room: Room, ack: RoomAck, now: number): RoomEvent {
  const away = room.cut_at ? now - room.cut_at : 0
  const had = (room.asked_since !== null || room.replays_in_vain >= 2) && room.name !== SAMPLED
  room.cut_at = 0
  room.problem = null
  room.stale_s = ack.stale_s ?? ack.entity?.stale_s ?? 0
  room.feed = ack.feed ?? ''
  if (ack.resumed && room.asked_since !== null) {
    room.phase = 'live'
    if (room.behind_since && ack.position === room.held) settle(room)
    return { type: 'resumed', away_ms: away }
  }
  if (ack.follows) {
    replace(room, null, null, null, ack.position ?? null)
    return { type: 'resumed', away_ms: away }
  }
  const position = ack.position ?? ack.entity?.position ?? null
  const changed = had && position !== room.held
  replace(room, ack.entity ?? null, ack.items ?? null, ack.next ?? null, position)
  // Asked with a position and got the whole: a resync, unless nothing at all had moved meanwhile.
  if (!had || (!changed && room.kind === 'entity')) {
    return { type: 'snapshot', entity: room.entity, items: ack.items ?? null, position, last: room.phase === 'live' }
  }
  return resync(room, ack.reason ?? 'away too long to replay', ack.items ?? null, away, now)
}

export function changed(room: Room, change: Change): RoomEvent | null {
  // A snapshot may hold what a late packet still says; a key's version only rises between resyncs.
  if (room.kind === 'entity' && room.entity && change.version <= room.entity.version && change.position !== null) {
    const seen = change.position === room.held || change.version < room.entity.version
    if (seen) return null
  }
  room.skipped += change.skipped ?? 0
  if (room.kind !== 'stream') room.entity = change
  if (room.kind === 'entity') moved(room, change.position)
  return { type: 'change', change }
}

/** The room's own position: of an entity with its change, of others in the packet's second part. */
export function moved(room: Room, position: string | null): void {
  room.held = position
  room.knows = true
  if (room.behind_since && (room.beat === null || room.held === room.beat)) settle(room)
}

/** True where the server is ahead of what is held, so that the caller asks at once. */
export function beaten(room: Room, beat: Beat, now: number): boolean {
  room.stale_s = beat.stale_s ?? 0
  if (room.phase !== 'live') return false
  room.beat = beat.position ?? null
  room.beat_at = now
  // What is sampled anew each second cannot be behind; there, silence is what tells.
  if (room.beat === room.held || room.name === SAMPLED) {
    settle(room)
    return false
  }
  if (room.behind_since) room.replays_in_vain++
  else room.behind_since = now
  return true
}

export function resynced(room: Room, message: Resync, now: number): RoomEvent {
  const position = message.position ?? message.entity?.position ?? null
  replace(room, message.entity ?? null, message.items ?? null, message.next ?? null, position)
  return resync(room, message.reason ?? 'replaced', message.items ?? null, 0, now)
}

export function paged(room: Room, page: PageAck): RoomEvent {
  const items = page.items ?? []
  room.next = page.next ?? null
  room.read += items.length
  if (room.next === null) room.phase = 'live'
  return { type: 'page', items, last: room.next === null }
}

export function cut(room: Room, now: number): void {
  if (room.phase === 'live' || room.phase === 'paging') {
    room.cut_at = now
    room.reconnects++
  }
  if (room.phase === 'paging') room.knows = false
  if (room.phase !== 'refused') room.phase = 'joining'
}

export function refused(room: Room, problem: Problem): RoomEvent {
  room.phase = 'refused'
  room.problem = problem
  return { type: 'refused', problem }
}

function replace(room: Room, entity: Entity | null, items: Entity[] | null, next: string | null, position: string | null): void {
  room.entity = entity
  room.held = position
  room.knows = true
  room.next = items ? next : null
  room.read = items?.length ?? 0
  room.phase = room.next === null ? 'live' : 'paging'
  settle(room)
}

function resync(room: Room, reason: string, items: Entity[] | null, away_ms: number, now: number): RoomEvent {
  room.resyncs++
  room.resynced_at = now
  room.resync_reason = reason
  return { type: 'resync', reason, entity: room.entity, items, position: room.held, away_ms, last: room.phase === 'live' }
}

function settle(room: Room): void {
  room.behind_since = 0
  room.replays_in_vain = 0
}
