// Gathers the facts of the connection four times a second and publishes the word the page shows.
// Invariant: one word per view, decided only by the view's own rooms (or its own polling).
// Not the conclusion itself: that is conn.ts.
import { signal } from '@preact/signals'
import { every, paints, pausedAt } from '../paint'
import { int, plural } from '../fmt'
import { clockOffset } from './clock'
import { conclude, type Said } from './conn'
import { link } from './link'

export interface Strip {
  transport: string
  beat_s: number | null
  per_s: number
  paints_s: number
  skipped: number
  clock: string
  answered_ms: number | null
  note: string
}

export interface Polling { ok_at: number; failures: number; answered_ms: number }

/** Set by a polled page while it is open. */
export const polling = signal<Polling | null>(null)
export const said = signal<Said>({ word: 'loading', name: 'Loading', say: '', present: true, as_of: Date.now() })
export const heardMs = signal(0)
export const strip = signal<Strip>({ transport: '', beat_s: null, per_s: 0, paints_s: 0, skipped: 0, clock: '', answered_ms: null, note: '' })
/** The polite live region: at most one message in five seconds. */
export const announced = signal('')

const QUIET_MS = 5_000
let last_word = ''
let last_said_at = 0
let waiting = ''
let counted = { at: 0, changes: 0, paints: 0 }

const utc = (now: number): number => Date.now() + (clockOffset() ?? 0) - (performance.now() - now)

export function refresh(): void {
  const now = performance.now()
  const poll = polling.value
  const rooms = link.ownRooms()
  const next = conclude({
    now, online: navigator.onLine, connected: link.connected, ever: link.ever, cut_at: link.cut_at, attempt: link.attempt,
    next_try_at: link.next_try_at, goodbye: link.goodbye, heard_at: link.heard_at, paused_at: pausedAt.value, rooms,
    polled: poll && { ok_at: poll.ok_at, failures: poll.failures }, utc
  })
  const before = said.value
  if (before.word !== next.word || before.say !== next.say || before.present !== next.present || !next.present || pausedAt.value) said.value = next
  document.body.dataset.conn = next.word
  if (next.word !== last_word) {
    if (last_word && (next.say || last_word !== 'loading')) announce(next.say || `${next.name}.`)
    last_word = next.word
  }
  if (waiting && now - last_said_at >= QUIET_MS) announce(waiting)
  const heard = poll ? poll.ok_at : link.heard_at
  heardMs.value = heard ? Math.floor((now - heard) / 1000) * 1000 : 0
  if (now - counted.at >= 1000) count(now)
}

export function announce(text: string): void {
  const now = performance.now()
  if (now - last_said_at < QUIET_MS) {
    waiting = text
    return
  }
  waiting = ''
  last_said_at = now
  announced.value = text
}

function count(now: number): void {
  const dt = Math.max(1, now - counted.at) / 1000
  const offset = clockOffset()
  const caught = link.caught_up
  strip.value = {
    transport: polling.value ? 'HTTP, each second' : link.transport || 'connecting',
    beat_s: link.beat_at ? Math.floor((now - link.beat_at) / 1000) : null,
    per_s: counted.at ? Math.round((link.changes - counted.changes) / dt) : 0,
    paints_s: counted.at ? Math.round((paints.count - counted.paints) / dt) : 0,
    skipped: link.skipped,
    clock: offset === null ? '' : `${offset < 0 ? '\u2212' : '+'}${int(Math.abs(offset))} ms`,
    answered_ms: polling.value?.answered_ms ?? null,
    note: caught && now - caught.at < 8_000 && caught.changes > 0 ? `caught up, ${plural(caught.changes, 'change')}` : ''
  }
  counted = { at: now, changes: link.changes, paints: paints.count }
}

every(250, refresh, { always: true })
addEventListener('offline', refresh)
addEventListener('online', refresh)
