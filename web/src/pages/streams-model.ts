// What the page of streams knows: the catalogue (names, topics) joined with the newest summary, and
// a minute of rates. Invariant: rows keep the order of opening; a stream that comes later is added
// at the end of its group. Not the connection.
import type { RoomEvent } from '../live/room'
import type { Held, Kind, Newest, StreamInfo, StreamsAnswer, StreamState, Summary, SummaryStream } from '../wire'
import { SECONDS } from '../parts/spark'

export type Shown = 'current' | 'quiet' | 'held' | 'behind' | 'stopped' | 'starting'

export interface Row {
  stream: string
  declared: boolean
  topics: string[]
  kind: Kind | undefined
  keys: number | null
  rate: number | null
  stored: number | null
  lag: number[]
  newest: Newest | null
  state: StreamState
  held: Held | null
  latency: SummaryStream['latency_ms']
  rates: number[]
}

const QUIET_SECONDS = 10
const BEHIND = 5_000

export class StreamsModel {
  rows: Row[] = []
  at = 0
  /** Whether the room answers; without it the page polls. */
  refused = false
  private pending: Summary | null = null
  private catalog: StreamsAnswer | null = null
  private fresh = false

  hear = (e: RoomEvent): void => {
    if (e.type === 'refused') {
      this.refused = true
      this.fresh = true
    } else if (e.type === 'change') this.summary(e.change.value as unknown as Summary)
    else if (e.type === 'snapshot' || e.type === 'resync') this.summary(e.entity?.value as unknown as Summary | undefined)
  }

  /** Rates are taken each second even while painting is paused, so that the minute has no hole. */
  private summary(s: Summary | undefined): void {
    if (!s?.streams) return
    this.pending = s
    for (const x of s.streams) {
      const row = this.row(x.stream)
      row.rates.push(Math.max(0, x.records_per_s ?? 0))
      if (row.rates.length > SECONDS) row.rates.shift()
    }
  }

  know(c: StreamsAnswer | null): void {
    if (!c || c === this.catalog) return
    this.catalog = c
    for (const info of c.streams) this.info(info)
    this.fresh = true
  }

  drain = (): boolean => {
    const s = this.pending
    this.pending = null
    if (s) {
      this.at = Date.parse(s.at) || Date.now()
      for (const x of s.streams) {
        const row = this.row(x.stream)
        Object.assign(row, { keys: x.keys, rate: x.records_per_s, stored: x.stored_per_s, lag: x.lag ?? [], newest: x.newest ?? row.newest, state: x.state, held: x.held ?? null, latency: x.latency_ms })
        row.kind ??= x.kind
      }
    }
    const did = s !== null || this.fresh
    this.fresh = false
    return did
  }

  private info(i: StreamInfo): void {
    const row = this.row(i.stream)
    Object.assign(row, { declared: i.declared, topics: i.topics ?? [], kind: i.kind })
    if (row.rate !== null) return
    Object.assign(row, { keys: i.keys, lag: i.lag ?? [], state: i.state, held: i.held ?? null })
  }

  private row(stream: string): Row {
    let row = this.rows.find((r) => r.stream === stream)
    if (!row) {
      row = { stream, declared: false, topics: [], kind: undefined, keys: null, rate: null, stored: null, lag: [], newest: null, state: 'running', held: null, latency: undefined, rates: [] }
      this.rows.push(row)
    }
    return row
  }
}

export const lagOf = (r: Row): number => r.lag.reduce((a, b) => a + b, 0)

/** Whether a record came within the last seconds, as far as this page has heard. */
export const moves = (r: Row): boolean => r.rates.slice(-QUIET_SECONDS).some((x) => x > 0)

export function shown(r: Row): Shown {
  if (r.state === 'held' || r.state === 'stopped' || r.state === 'starting') return r.state
  if (lagOf(r) > BEHIND) return 'behind'
  const recent = r.rates.slice(-QUIET_SECONDS)
  return recent.length >= QUIET_SECONDS && recent.every((x) => x === 0) ? 'quiet' : 'current'
}
