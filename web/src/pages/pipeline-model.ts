// The shape of GET /admin/pipeline and what the page concludes from it: what is held, the one cause
// and what only waits for it. Pure. Invariant: at most one element is the cause.
import type { Held, StreamState } from '../wire'

export interface Partition { partition: number; committed: number | null; confirmed: number | null; received: number | null; end: number | null; oldest_ms: number | null; held_since: string | null; held_why?: string | null; waiting_ms?: number | null; poison_used?: number }
export interface Writer { shard: number; mailbox_used: number; mailbox_max: number; batch_records: number; batch_keys: number; cut: string | null; since_ms: number | null; stuck?: string | null }
export interface Generation { generation: number; started: string; ended: string; why: string }
export interface Pipe { stream: string; generation: number; started: string; past: Generation[]; state: StreamState; held: Held | null; partitions: Partition[]; writers: Writer[] }
export interface Store { state: 'closed' | 'open' | 'half_open'; attempt: number; next_ms: number | null; kind?: string }
export interface Broadcaster { clients: number; rooms: number; conflated: number }
export type Stage = 'kafka' | 'received' | 'writer' | 'confirmed' | 'committed' | 'stored' | 'unknown'
export interface Where { position?: string | null; key?: string | null; stage: Stage; detail?: string | null; stream?: string }
export interface Pipeline { at: string; streams: Pipe[]; store: Store | null; broadcaster?: Broadcaster | null }

const SLOW_MS = 2_000

export const lag = (p: Partition): number => Math.max(0, (p.end ?? 0) - (p.committed ?? p.confirmed ?? 0))
export const total = (s: Pipe): number => s.partitions.reduce((n, p) => n + lag(p), 0)
export const waits = (w: Writer): boolean => !!w.stuck || (w.since_ms !== null && w.since_ms > SLOW_MS && w.batch_records > 0)

/** Whether a partition pulls no more: held by its limit, or keeping a slice its writer has no place for. */
export const holds = (p: Partition): boolean => !!p.held_since || (p.waiting_ms ?? 0) > SLOW_MS
export const holdsFor = (p: Partition, now: number): number => (p.held_since ? now - Date.parse(p.held_since) : (p.waiting_ms ?? 0) > SLOW_MS ? p.waiting_ms! : 0)

export type Tone = 'current' | 'quiet' | 'held' | 'behind' | 'stopped' | 'starting'

export function tone(s: Pipe): Tone {
  if (s.state === 'held' || s.partitions.some(holds)) return 'held'
  if (s.state === 'stopped' || s.state === 'starting') return s.state
  return total(s) > 5_000 ? 'behind' : 'current'
}

/** The one cause: the store where its breaker is not closed, else the slowest writer, else a partition. */
export function cause(s: Pipe, store: Store | null): { what: 'store' | 'writer' | 'partition' | 'none'; id: number } {
  if (store && store.state !== 'closed') return { what: 'store', id: 0 }
  const slow = s.writers.filter(waits).sort((a, b) => (b.since_ms ?? 0) - (a.since_ms ?? 0))[0]
  if (slow) return { what: 'writer', id: slow.shard }
  const held = s.partitions.find(holds)
  return held ? { what: 'partition', id: held.partition } : { what: 'none', id: 0 }
}

/** Widths in per cent of one bar from a little before the commit to the end of the log. */
export function track(p: Partition): { comm: number; conf: number; recv: number } {
  const end = p.end ?? p.received ?? p.confirmed ?? p.committed ?? 0
  const committed = p.committed ?? 0
  const behind = end - committed
  if (behind <= 0) return { comm: 100, conf: 100, recv: 100 }
  const start = committed - Math.max(1, behind * 0.02)
  const at = (offset: number | null): number => Math.max(1.5, Math.min(100, (100 * ((offset ?? committed) - start)) / (end - start)))
  return { comm: at(committed), conf: at(p.confirmed), recv: at(p.received) }
}

export interface Step { state: 'done' | 'wait' | 'later'; text: string; detail: string }

const ORDER: Stage[] = ['kafka', 'received', 'writer', 'confirmed', 'committed']
const DONE = ['Appended to the log', 'Pulled and stamped', 'Offered to a shard writer', 'Confirmed by the store', 'Committed, then sent to viewers']
const WAITS = ['Waits in the log to be pulled', 'Waits for a place at its writer', 'Waits for the store to confirm', 'Waits for the commit on its beat', '']

export function steps(w: Where): Step[] {
  if (w.stage === 'unknown') return [{ state: 'later', text: 'Not known here', detail: w.detail ?? 'No partition of this instance holds it.' }]
  const reached = w.stage === 'stored' ? 4 : ORDER.indexOf(w.stage)
  const last = reached === 4
  return DONE.map((text, i): Step => {
    const detail = i === (last ? 4 : reached) ? (w.detail ?? '') : ''
    if (i <= reached) return { state: 'done', text: w.stage === 'stored' && i === 4 ? 'Stored; it is what readers see' : text, detail: last || i < reached ? detail : '' }
    if (i === reached + 1) return { state: 'wait', text: WAITS[reached]!, detail: w.detail ?? '' }
    return { state: 'later', text: `Then ${text.charAt(0).toLowerCase()}${text.slice(1)}`, detail: '' }
  })
}

/** Why batches were cut, counted from what was seen since the page opened. */
export class Cuts {
  readonly seen = new Map<string, number>()
  private last = new Map<string, string>()

  take(p: Pipeline): void {
    for (const s of p.streams) for (const w of s.writers) {
      if (!w.cut) continue
      const id = `${s.stream} ${w.shard}`
      const mark = `${w.cut} ${w.batch_records} ${w.batch_keys} ${w.since_ms !== null && w.since_ms < 1_000 ? p.at : ''}`
      if (this.last.get(id) === mark) continue
      this.last.set(id, mark)
      this.seen.set(w.cut, (this.seen.get(w.cut) ?? 0) + 1)
    }
  }

  shares(): [string, number][] {
    const all = [...this.seen.values()].reduce((a, b) => a + b, 0)
    return [...this.seen].sort((a, b) => b[1] - a[1]).map(([name, n]) => [name, Math.round((100 * n) / all)])
  }
}
