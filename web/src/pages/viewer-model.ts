// What the viewer of one key knows: the entity, what its last change did, the history since opening
// and the numbers for the chart. Invariant: events wait in the inbox until a paint takes them in, in
// order and bounded, so that pausing loses no truth but the steps between, and those are counted.
// Not the connection: it is told room events.
import { describe, diff, firstNumber, at, leaves } from '../json/leaves'
import { plural, age } from '../fmt'
import { serverNow } from '../live/clock'
import type { RoomEvent } from '../live/room'
import type { Entity, Json, Problem } from '../wire'

export interface Entry { id: number; kind: 'change' | 'gap' | 'sync' | 'removed' | 'opened'; version: number; at: number; what: string }
export interface Sample { t: number; version: number; position: string | null; skipped: number; gap: boolean; numbers: Map<string, number> }
export interface Mark { t: number; label: string }

const INBOX_MAX = 200
const SAMPLES_MAX = 3_000
const NUMBERS_MAX = 100
export const SLOTS = 20

export class ViewerModel {
  entity: Entity | null = null
  phase: 'waiting' | 'absent' | 'here' | 'removed' | 'refused' = 'waiting'
  problem: Problem | null = null
  /** By path: what the leaf was before the last change; undefined for a new one. */
  was = new Map<string, Json | undefined>()
  before: Json | undefined = undefined
  history: Entry[] = []
  samples: Sample[] = []
  marks: Mark[] = []
  skipped = 0
  pin: string | null = null
  pinned_by_hand = false
  readonly opened_at = serverNow()
  private inbox: RoomEvent[] = []
  private dropped = 0
  private gap_next = false
  private ids = 0

  hear = (event: RoomEvent): void => {
    this.inbox.push(event)
    if (this.inbox.length <= INBOX_MAX) return
    const oldest = this.inbox.findIndex((e) => e.type === 'change')
    if (oldest >= 0) {
      const [lost] = this.inbox.splice(oldest, 1) as [Extract<RoomEvent, { type: 'change' }>]
      this.dropped += 1 + (lost.change.skipped ?? 0)
    }
  }

  /** The reader's choice of a number; it holds while the value has it or may have it again. */
  pinTo(path: string): void {
    this.pin = path
    this.pinned_by_hand = true
    const last = this.samples[this.samples.length - 1]
    const v = this.entity ? at(this.entity.value, path) : undefined
    if (last && typeof v === 'number') last.numbers.set(path, v)
  }

  drain = (): boolean => {
    if (this.inbox.length === 0) return false
    const events = this.inbox
    this.inbox = []
    for (const e of events) this.take(e)
    return true
  }

  private take(e: RoomEvent): void {
    if (e.type === 'refused') {
      this.phase = 'refused'
      this.problem = e.problem
    } else if (e.type === 'snapshot') {
      if (!this.entity || e.entity?.position !== this.entity.position) this.open(e.entity)
    } else if (e.type === 'resync') {
      this.marks.push({ t: serverNow(), label: 'resync' })
      this.gap_next = true
      this.skipped += this.dropped
      this.dropped = 0
      this.note('sync', e.away_ms > 0 ? `resync after ${age(e.away_ms)} away` : `resync: ${e.reason}`)
      this.open(e.entity, false)
    } else if (e.type === 'change') {
      this.change(e.change, (e.change.skipped ?? 0) + this.dropped)
      this.dropped = 0
    }
  }

  private open(entity: Entity | null, first = true): void {
    if (!entity || entity.deleted) {
      if (this.entity && !this.entity.deleted) this.removed(entity)
      else this.phase = this.entity ? 'removed' : 'absent'
      return
    }
    const was = this.entity
    this.mark(was, entity)
    this.set(entity)
    this.note(first && !was ? 'opened' : 'change', was && !was.deleted ? describe(was.value, entity.value) : 'as you opened this page')
    this.sample(entity, 0)
  }

  private change(entity: Entity & { skipped?: number }, skipped: number): void {
    this.skipped += skipped
    if (skipped > 0) this.note('gap', `${plural(skipped, 'version')} skipped, newer came first`)
    if (entity.deleted) {
      this.removed(entity)
      return
    }
    const was = this.entity
    const first = !was || was.deleted
    this.mark(was, entity)
    this.set(entity)
    this.note('change', first ? (entity.version === 1 ? 'first value' : 'set') : describe(was!.value, entity.value))
    this.sample(entity, skipped)
  }

  private removed(entity: Entity | null): void {
    if (entity) this.entity = entity
    else if (this.entity) this.entity = { ...this.entity, value: null, deleted: true }
    this.phase = 'removed'
    this.was.clear()
    this.before = undefined
    this.gap_next = true
    this.note('removed', 'removed')
  }

  private mark(was: Entity | null, is: Entity): void {
    this.was.clear()
    this.before = undefined
    if (!was || was.deleted || this.phase !== 'here') return
    for (const d of diff(was.value, is.value)) {
      if (d.kind === 'gone') this.before = was.value
      else this.was.set(d.path, d.was)
    }
  }

  private set(entity: Entity): void {
    this.entity = entity
    this.phase = 'here'
    if (this.pin !== null && typeof at(entity.value, this.pin) !== 'number' && !this.pinned_by_hand) this.pin = null
    this.pin ??= firstNumber(entity.value)
  }

  private sample(entity: Entity, skipped: number): void {
    const numbers = new Map<string, number>()
    for (const l of leaves(entity.value, 2_000)) {
      if (typeof l.value === 'number' && numbers.size < NUMBERS_MAX) numbers.set(l.path, l.value)
    }
    const pinned = this.pin === null ? undefined : at(entity.value, this.pin)
    if (this.pin !== null && typeof pinned === 'number') numbers.set(this.pin, pinned)
    const t = Date.parse(entity.updated)
    const last = this.samples[this.samples.length - 1]
    this.samples.push({ t: last ? Math.max(last.t, t) : t, version: entity.version, position: entity.position, skipped, gap: this.gap_next, numbers })
    this.gap_next = false
    if (this.samples.length > SAMPLES_MAX) this.samples.splice(0, 500)
    const oldest = serverNow() - 900_000
    while (this.marks[0] && this.marks[0].t < oldest) this.marks.shift()
  }

  private note(kind: Entry['kind'], what: string): void {
    const e = this.entity
    const blank = kind === 'gap' || kind === 'sync'
    this.history.unshift({ id: ++this.ids, kind, version: blank || !e ? 0 : e.version, at: blank || !e ? 0 : Date.parse(e.updated), what })
    this.history.length = Math.min(this.history.length, SLOTS)
  }
}
