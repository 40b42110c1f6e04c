// The tab's one Socket.IO connection: rooms with reference counts, a position each, and reconnecting
// by its own clock so that the page can say when. Invariant: a listener that throws never stops a
// later packet, and every subscribe after the first carries the position held.
// Not a store of values beyond the newest entity of a key's room.
import { io, type Socket } from 'socket.io-client'
import type { Beat, Change, PageAck, Problem, Resync, SubscribeAck } from '../wire'
import { heardTime, overheardTime } from './clock'
import { acked, ask, beaten, changed, cut, kindOf, moved, newRoom, paged, refused, resynced, type Room, type RoomEvent } from './room'

export type Listener = (event: RoomEvent) => void
interface Open { room: Room; listeners: Set<Listener>; own: number; leaving: ReturnType<typeof setTimeout> | null }

const RETRY_MS = [500, 1_000, 2_000, 4_000, 5_000]
const ACK_MS = 15_000
const ROOMS_PER_CALL = 200

export class Link {
  readonly rooms = new Map<string, Open>()
  connected = false
  ever = false
  cut_at = performance.now()
  attempt = 0
  next_try_at = 0
  goodbye: { reason: string; retry_ms: number; at: number } | null = null
  heard_at = 0
  beat_at = 0
  packets = 0
  changes = 0
  skipped = 0
  /** Changes since the last reconnect that resumed, for "caught up, 14 changes". */
  caught_up: { at: number; changes: number } | null = null
  private socket: Socket | null = null
  private retry: ReturnType<typeof setTimeout> | null = null
  private asking = new Set<string>()
  private queued = false

  /** `url`: another server than the page's own, for tests. */
  constructor(private readonly url?: string) {}

  /** `own`: whether this room decides the view's word. The returned function leaves the room. */
  open(name: string, listener: Listener, o: { since?: string | null; own?: boolean; linger_ms?: number } = {}): () => void {
    this.start()
    let open = this.rooms.get(name)
    if (open && open.leaving) {
      clearTimeout(open.leaving)
      open.leaving = null
    }
    if (!open) {
      open = { room: newRoom(name, o.since ?? null), listeners: new Set(), own: 0, leaving: null }
      this.rooms.set(name, open)
      this.want(name)
    } else if (open.room.phase === 'live' && open.room.kind === 'entity' && !open.room.entity && open.room.held !== null) {
      // The room was asked with a position, so its value was never told; only a newcomer without one needs it.
      if (o.since === undefined) {
        open.room.knows = false
        this.want(name)
      }
    } else if (open.room.phase === 'live' && open.room.kind !== 'stream') {
      const { entity, held } = open.room
      queueMicrotask(() => guard(() => listener({ type: 'snapshot', entity, items: null, position: held })))
    } else if (open.room.kind === 'stream') {
      open.room = newRoom(name)
      this.want(name)
    } else if (open.room.phase === 'refused') {
      this.want(name)
    }
    const mine = open
    mine.listeners.add(listener)
    if (o.own !== false) mine.own++
    let left = false
    return () => {
      if (left) return
      left = true
      mine.listeners.delete(listener)
      if (o.own !== false) mine.own--
      if (mine.listeners.size === 0) mine.leaving = setTimeout(() => this.leave(name, mine), o.linger_ms ?? 0)
    }
  }

  room(name: string): Room | null {
    return this.rooms.get(name)?.room ?? null
  }

  ownRooms(): Room[] {
    return [...this.rooms.values()].filter((o) => o.own > 0 && o.listeners.size > 0).map((o) => o.room)
  }

  get transport(): string {
    return this.socket?.io.engine?.transport?.name ?? ''
  }

  /** Ends the connection for good. */
  close(): void {
    if (this.retry) clearTimeout(this.retry)
    this.socket?.off()
    this.socket?.disconnect()
  }

  /** Try at once: the device is back, or the reader asked. */
  tryNow(): void {
    if (this.connected || !this.socket) return
    this.schedule(0)
  }

  private start(): void {
    if (this.socket) return
    const how = { transports: ['websocket', 'polling'], tryAllTransports: true, reconnection: false, autoConnect: false, forceNew: true, timeout: 8_000 }
    const socket = this.url ? io(this.url, how) : io(how)
    this.socket = socket
    socket.on('connect', () => guard(() => this.onConnect()))
    socket.on('disconnect', () => guard(() => this.onCut()))
    socket.on('connect_error', () => guard(() => this.schedule()))
    socket.on('changes', (list: Change[], positions?: Record<string, string>) => guard(() => this.onChanges(list, positions)))
    socket.on('resync', (message: Resync) => guard(() => this.onResync(message)))
    socket.on('heartbeat', (...args: unknown[]) => guard(() => this.onHeartbeat(args)))
    socket.on('goodbye', (word: { reason?: string; retry_ms?: number }) => guard(() => {
      this.goodbye = { reason: word?.reason ?? '', retry_ms: word?.retry_ms ?? 2_000, at: performance.now() }
    }))
    globalThis.addEventListener?.('online', () => this.tryNow())
    this.attempt = 1
    socket.connect()
  }

  private onConnect(): void {
    const back = this.ever
    this.connected = true
    this.ever = true
    this.attempt = 0
    this.goodbye = null
    this.heard()
    if (back) this.caught_up = { at: performance.now(), changes: 0 }
    for (const [name, open] of this.rooms) if (open.room.phase !== 'refused') this.want(name)
  }

  private onCut(): void {
    const now = performance.now()
    if (this.connected) this.cut_at = now
    this.connected = false
    for (const open of this.rooms.values()) cut(open.room, now)
    this.schedule(this.goodbye ? this.goodbye.retry_ms * (0.8 + Math.random() * 0.4) : undefined)
  }

  private schedule(after?: number): void {
    if (this.retry) clearTimeout(this.retry)
    const base = RETRY_MS[Math.min(this.attempt, RETRY_MS.length - 1)]!
    const wait = after ?? base * (0.75 + Math.random() * 0.5)
    this.next_try_at = performance.now() + wait
    this.retry = setTimeout(() => {
      this.attempt++
      this.socket?.connect()
    }, wait)
  }

  private heard(): void {
    this.heard_at = performance.now()
  }

  private want(name: string): void {
    this.asking.add(name)
    if (this.queued || !this.connected) return
    this.queued = true
    setTimeout(() => guard(() => this.flush()), 0)
  }

  private flush(): void {
    this.queued = false
    if (!this.connected) return
    const names = [...this.asking].filter((n) => this.rooms.has(n))
    this.asking.clear()
    for (let i = 0; i < names.length; i += ROOMS_PER_CALL) this.subscribe(names.slice(i, i + ROOMS_PER_CALL))
  }

  private subscribe(names: string[]): void {
    const since: Record<string, string> = {}
    for (const name of names) {
      const position = ask(this.rooms.get(name)!.room)
      if (position !== null) since[name] = position
    }
    const sent = Date.now()
    this.socket!.timeout(ACK_MS).emit('subscribe', { rooms: names, since }, (late: Error | null, ack?: SubscribeAck) => guard(() => {
      if (late || !ack) return this.connected ? this.again(names, 1_000) : undefined
      heardTime(ack.at, sent, Date.now())
      this.heard()
      if (!ack.ok) return this.onRefused(names, ack.problem ?? { title: 'Refused' })
      for (const one of ack.rooms ?? []) guard(() => {
        const open = this.rooms.get(one.room)
        if (!open) return
        const event = acked(open.room, { ...one, stale_s: one.stale_s ?? ack.stale_s }, performance.now())
        this.tell(open, event)
        if (open.room.phase === 'paging') this.page(open)
      })
    }))
  }

  private onRefused(names: string[], problem: Problem): void {
    if (problem.retry_ms || problem.status === 503 || problem.status === 429) return this.again(names, problem.retry_ms ?? 2_000)
    // One bad room refuses the call: it is named, or counted, or found by asking for each alone.
    const named = (problem.errors ?? []).flatMap((e) => [e.room, e.field, e.pointer]).filter((f): f is string => !!f)
    const counted = named.map((f) => names[Number(/rooms?[[/.](\d+)/.exec(f)?.[1] ?? -1)])
    const bad = names.length === 1 ? names : names.filter((n) => named.includes(n) || counted.includes(n))
    for (const name of bad) {
      const open = this.rooms.get(name)
      // A position the server does not take is given up; the whole is asked for instead.
      if (open && open.room.asked_since !== null && named.some((f) => f.startsWith('since'))) {
        open.room.knows = false
        this.want(name)
      } else if (open) this.tell(open, refused(open.room, problem))
    }
    for (const name of names) {
      if (bad.includes(name)) continue
      if (bad.length > 0) this.want(name)
      else if (this.rooms.has(name)) this.subscribe([name])
    }
  }

  private again(names: string[], after: number): void {
    setTimeout(() => { for (const name of names) if (this.rooms.has(name)) this.want(name) }, after)
  }

  /** Page after page, until there is no next; a cut or a resync meanwhile ends this walk. */
  private page(open: Open): void {
    const { room } = open
    const after = room.next
    if (after === null || !this.connected) return
    this.socket!.timeout(ACK_MS).emit('page', { room: room.name, after }, (late: Error | null, ack?: PageAck) => guard(() => {
      if (room.phase !== 'paging' || room.next !== after || this.rooms.get(room.name) !== open) return
      if (late || !ack) return this.connected ? this.page(open) : undefined
      this.heard()
      if (!ack.ok) {
        room.knows = false
        return this.again([room.name], ack.problem?.retry_ms ?? 1_000)
      }
      this.tell(open, paged(room, ack))
      if (room.phase === 'paging') this.page(open)
    }))
  }

  private onChanges(list: Change[], positions?: Record<string, string>): void {
    this.heard()
    this.packets++
    for (const change of list) guard(() => {
      this.changes++
      this.skipped += change.skipped ?? 0
      if (this.caught_up && kindOf(change.room) !== 'app' && performance.now() - this.caught_up.at < 3_000) this.caught_up.changes++
      const open = this.rooms.get(change.room)
      const event = open && changed(open.room, change)
      if (open && event) this.tell(open, event)
    })
    for (const [name, position] of Object.entries(positions ?? {})) {
      const open = this.rooms.get(name)
      if (open) moved(open.room, position)
    }
  }

  private onResync(message: Resync): void {
    this.heard()
    const open = this.rooms.get(message.room)
    if (!open) return
    this.tell(open, resynced(open.room, message, performance.now()))
    if (open.room.phase === 'paging') this.page(open)
  }

  /** A list of rooms; `at` and `stale_s` stand on the list's wrapper, beside it, or on each room. */
  private onHeartbeat(args: unknown[]): void {
    this.heard()
    this.beat_at = this.heard_at
    const [first, second] = args as [Beat[] | { rooms?: Beat[]; at?: string; stale_s?: number }, { at?: string; stale_s?: number } | undefined]
    const wrapper = Array.isArray(first) ? (second ?? {}) : (first ?? {})
    const list = Array.isArray(first) ? first : (first?.rooms ?? [])
    overheardTime(wrapper.at ?? list[0]?.at, Date.now())
    for (const beat of list) guard(() => {
      const open = this.rooms.get(beat.room)
      if (open && beaten(open.room, { ...beat, stale_s: beat.stale_s ?? wrapper.stale_s }, this.heard_at)) this.want(beat.room)
    })
  }

  private tell(open: Open, event: RoomEvent): void {
    for (const listener of [...open.listeners]) guard(() => listener(event))
  }

  private leave(name: string, open: Open): void {
    if (this.rooms.get(name) !== open || open.listeners.size > 0) return
    this.rooms.delete(name)
    this.asking.delete(name)
    if (this.connected) this.socket!.emit('unsubscribe', { rooms: [name] }, () => undefined)
  }
}

/** Runs what may throw, tells the console, and goes on: the next packet must not pay for this one. */
export function guard(run: () => void): void {
  try {
    run()
  } catch (e) {
    console.error('a listener failed', e)
  }
}

export const link = new Link()
