// One word for the connection, and the sentence that explains it. Invariant: "Live" is said only
// while the server was heard in the last 30 s and no room of the view is known to be behind.
// Pure: facts in, words out. The facts are gathered by link.ts and poll.ts.
import { age, int, plural, time } from '../fmt'

export type Word = 'live' | 'loading' | 'resynced' | 'stale' | 'reconnecting' | 'offline' | 'paused' | 'polled'

export interface RoomFacts {
  name: string
  phase: 'new' | 'joining' | 'paging' | 'live' | 'refused'
  behind_since: number
  resynced_at: number
  resync_reason: string
  stale_s: number
  read: number
}

export interface Facts {
  now: number
  online: boolean
  connected: boolean
  ever: boolean
  cut_at: number
  attempt: number
  next_try_at: number
  goodbye: { reason: string; retry_ms: number; at: number } | null
  heard_at: number
  paused_at: number
  rooms: RoomFacts[]
  /** Where the view is fed by HTTP: when it last answered (0: never) and failures in a row. */
  polled: { ok_at: number; failures: number } | null
  /** Server time minus the clock of `now`, to say a moment in UTC. */
  utc: (now: number) => number
}

export interface Said {
  word: Word
  name: string
  /** Empty while there is nothing to explain. */
  say: string
  /** Whether the page may speak in the present. */
  present: boolean
  /** The moment up to which what is shown is known. */
  as_of: number
}

export const SILENT_MS = 30_000
export const RESYNC_MS = 10_000
export const FLAP_MS = 2_000

const NAMES: Record<Word, string> = {
  live: 'Live', loading: 'Loading', resynced: 'Resynced', stale: 'Stale', reconnecting: 'Reconnecting',
  offline: 'Offline', paused: 'Paused', polled: 'Polled'
}

export function conclude(f: Facts): Said {
  const heard = f.polled ? f.polled.ok_at : f.heard_at
  const as_of = f.utc(heard || f.now)
  const at = time(as_of)
  const said = (word: Word, say: string, present: boolean): Said => ({ word, name: NAMES[word], say, present, as_of })

  const down = f.polled ? f.polled.failures > 1 : !f.connected
  const down_for = f.polled ? f.now - heard : f.now - f.cut_at
  const shown = f.polled ? f.polled.ok_at > 0 : f.ever
  const values = shown ? `Values are as of ${at} UTC` : 'Nothing was received yet'
  if (!f.online && (down || f.polled) && (down_for > FLAP_MS || !shown)) return said('offline', `This device has no network. ${values}.`, false)
  if (down && (down_for > FLAP_MS)) return said('reconnecting', lineCut(f, values), false)

  if (!f.polled && f.connected) {
    const memory = Math.max(0, ...f.rooms.map((r) => r.stale_s))
    if (memory > 0) {
      return said('stale', `The store is away for ${age(memory * 1000)}. What you see is what the server remembers; it may be older than the newest record.`, false)
    }
    const behind = f.rooms.filter((r) => r.behind_since > 0 && f.now - r.behind_since > 300)
    if (behind.length > 0) {
      const since = time(f.utc(Math.min(...behind.map((r) => r.behind_since))))
      return said('stale', `The server is ahead of this page since ${since} UTC. Asking for what is missing.`, false)
    }
    if (f.ever && f.now - f.heard_at > SILENT_MS && f.rooms.length > 0) {
      return said('stale', `Connected, but nothing was heard for ${age(f.now - f.heard_at)}. ${values}.`, false)
    }
  }
  if (f.paused_at) {
    return { ...said('paused', `Paused by you at ${time(f.utc(f.paused_at))} UTC. Changes are still taken in; p shows the newest.`, true), as_of: f.utc(f.paused_at) }
  }
  if (f.polled) return shown ? said('polled', '', true) : said('loading', '', true)

  const paging = f.rooms.filter((r) => r.phase === 'paging')
  if (paging.length > 0) {
    const read = paging.reduce((n, r) => n + r.read, 0)
    return said('loading', `The first pages are still coming: ${plural(read, 'key')} so far. What is shown is current, the rest follows.`, true)
  }
  // A room joins again within the two seconds that are not shown; before the first answer it loads.
  if (!f.ever || f.rooms.some((r) => r.phase === 'new')) return said('loading', '', true)
  const fresh = f.rooms.filter((r) => r.resynced_at > 0 && f.now - r.resynced_at < RESYNC_MS)
  if (fresh.length > 0) {
    const why = fresh.length === 1 ? fresh[0]!.resync_reason : `${int(fresh.length)} rooms`
    return said('resynced', `Resynced: ${why}. What was shown is replaced by the current value; versions between are not shown.`, true)
  }
  return said('live', '', true)
}

function lineCut(f: Facts, values: string): string {
  if (f.goodbye && f.attempt <= 2) {
    const left = Math.max(0, Math.ceil((f.next_try_at - f.now) / 1000))
    return `The server restarts, ${left > 0 ? `back in about ${left} s` : 'back any moment'}. ${values}.`
  }
  if (f.polled) return `No answer, attempt ${int(f.polled.failures)}. ${values}; it is asked again each second.`
  const left = Math.max(0, Math.ceil((f.next_try_at - f.now) / 1000))
  const next = left > 0 ? `next try in ${left} s` : 'trying now'
  return f.ever
    ? `Line cut, attempt ${int(Math.max(1, f.attempt))}, ${next}. ${values}; newer ones wait until it is back.`
    : `The live line does not open, attempt ${int(Math.max(1, f.attempt))}, ${next}. Nothing here moves until it does.`
}
