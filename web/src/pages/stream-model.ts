// What the table of keys holds: entities newest per key, the order of opening, and how far it has
// read. Two ways to be fed: the stream's room with all its pages, or a listing read on as one
// scrolls with a room per row in view. Invariant: a change never moves a row; an older version
// never replaces a newer one; however often it is painted, a listing that failed is asked again only
// after a wait, and one that was refused only by the reader. Not the rows in view: that is the page.
import { list, ProblemError } from '../api'
import { diff, firstNumber } from '../json/leaves'
import type { RoomEvent } from '../live/room'
import type { Change, Entity } from '../wire'

export type Sort = 'key' | 'updated' | 'version'
export interface Held { entity: Entity; skipped: number; path: string | null; changes: number; generation: number }

const PAGE = 200
const READ_MAX = 50_000
const AGAIN_MS = 1_000
const AGAIN_MAX_MS = 30_000

export class StreamModel {
  readonly held = new Map<string, Held>()
  order: string[] = []
  next: string | null = null
  reading = false
  problem: Error | null = null
  skipped = 0
  /** Keys whose place in the order is no longer true. */
  moved = 0
  loaded = false
  private generation = 0
  private inbox = new Map<string, Change>()
  private fresh = false
  private abort = new AbortController()
  private failures = 0
  private not_before = -Infinity

  /** `clock`: milliseconds that only grow, for the waits after a failure. */
  constructor(readonly stream: string, readonly fed: 'room' | 'list', readonly prefix: string, readonly filter: string[], readonly sort: Sort, private clock = (): number => performance.now()) {}

  /** Events of the stream's own room. */
  hear = (e: RoomEvent): void => {
    if (e.type === 'change') this.queue(e.change)
    else if (e.type === 'snapshot' || e.type === 'resync') {
      this.generation++
      this.take(e.items ?? [])
      if (e.last) this.complete()
    } else if (e.type === 'page') {
      this.take(e.items)
      if (e.last) this.complete()
    } else if (e.type === 'refused') {
      this.problem = new Error(e.problem.detail ?? e.problem.title)
      this.fresh = true
    }
  }

  /** The last page is read: what no page of this reading showed is gone. */
  complete(): void {
    for (const [key, h] of this.held) if (h.generation < this.generation && !this.inbox.has(key)) this.held.delete(key)
    this.order = this.order.filter((k) => this.held.has(k))
    if (this.sort !== 'key') this.sortAgain()
    this.loaded = true
    this.fresh = true
  }

  /** Events of the room of one row. */
  hearKey = (key: string) => (e: RoomEvent): void => {
    if (e.type === 'change') this.queue(e.change)
    else if ((e.type === 'snapshot' || e.type === 'resync') && e.entity) this.queue({ ...e.entity, room: '' })
    else if ((e.type === 'snapshot' || e.type === 'resync') && this.held.has(key)) {
      const h = this.held.get(key)!
      this.queue({ ...h.entity, value: null, deleted: true, room: '' })
    }
  }

  private queue(c: Change): void {
    const was = this.inbox.get(c.key)
    this.inbox.set(c.key, was ? { ...c, skipped: (c.skipped ?? 0) + (was.skipped ?? 0) + 1 } : c)
  }

  drain = (): boolean => {
    const did = this.fresh || this.inbox.size > 0
    this.fresh = false
    for (const [key, c] of this.inbox) {
      const h = this.held.get(key)
      this.skipped += c.skipped ?? 0
      if (!h) {
        if (c.deleted || !key.startsWith(this.prefix)) continue
        this.held.set(key, { entity: c, skipped: c.skipped ?? 0, path: firstNumber(c.value), changes: 1, generation: this.generation })
        const last = this.order[this.order.length - 1]
        if (this.sort !== 'key' || (last !== undefined && key < last)) this.moved++
        this.order.push(key)
        continue
      }
      if (c.version < h.entity.version && !c.deleted) continue
      if (c.position === h.entity.position && !c.deleted) continue
      const d = c.deleted || h.entity.deleted ? undefined : diff(h.entity.value, c.value).find((x) => x.kind !== 'gone')
      Object.assign(h, { entity: c, skipped: h.skipped + (c.skipped ?? 0), path: d?.path ?? h.path, changes: h.changes + 1 })
      if (this.sort !== 'key') this.moved++
    }
    this.inbox.clear()
    return did
  }

  private take(items: Entity[]): void {
    for (const entity of items) {
      if (!entity.key.startsWith(this.prefix)) continue
      const h = this.held.get(entity.key)
      if (h) {
        h.generation = this.generation
        if (entity.version >= h.entity.version || h.entity.deleted) h.entity = entity
      } else {
        this.held.set(entity.key, { entity, skipped: 0, path: firstNumber(entity.value), changes: 0, generation: this.generation })
        this.order.push(entity.key)
      }
    }
    this.fresh = true
  }

  sortAgain(): void {
    const by: Record<Sort, (a: Entity, b: Entity) => number> = {
      key: (a, b) => (a.key < b.key ? -1 : 1),
      updated: (a, b) => (a.updated > b.updated ? -1 : a.updated < b.updated ? 1 : 0),
      version: (a, b) => b.version - a.version
    }
    this.order = [...this.held.values()].filter((h) => !h.entity.deleted).map((h) => h.entity).sort(by[this.sort]).map((e) => e.key)
    this.moved = 0
    this.fresh = true
  }

  get full(): boolean {
    return this.order.length >= READ_MAX
  }

  /** The next page of the listing; the first where nothing was read. Each paint may call it: nothing is asked before its time. */
  async more(): Promise<void> {
    if (this.fed !== 'list' || this.reading || this.full || (this.loaded && this.next === null) || this.clock() < this.not_before) return
    this.reading = true
    this.fresh = true
    const q = new URLSearchParams({ limit: String(PAGE) })
    if (this.prefix) q.set('prefix', this.prefix)
    for (const f of this.filter) q.append('filter', f)
    if (this.sort !== 'key') q.set('sort', `-${this.sort}`)
    if (this.next !== null) q.set('after', this.next)
    try {
      const page = await list(this.stream, q, this.abort.signal)
      this.take(page.items)
      this.next = page.next
      this.loaded = true
      this.problem = null
      this.failures = 0
    } catch (e) {
      if ((e as Error).name === 'AbortError') return
      this.problem = e as Error
      this.not_before = refused(e) ? Infinity : this.clock() + Math.min(AGAIN_MAX_MS, AGAIN_MS * 2 ** this.failures++)
    } finally {
      this.reading = false
      this.fresh = true
    }
  }

  /** The reader asks, and need not wait. */
  again(): void {
    this.problem = null
    this.not_before = -Infinity
    void this.more()
  }

  stop(): void {
    this.abort.abort()
  }
}

/** Whether the server understood and says no: asked again, it would say the same. */
const refused = (e: unknown): boolean => e instanceof ProblemError && e.status >= 400 && e.status < 500 && e.status !== 408 && e.status !== 429
