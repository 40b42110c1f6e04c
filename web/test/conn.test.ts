// The one word: which fact wins, and that a page which hears nothing does not speak in the present.
import { describe, expect, it } from 'vitest'
import { conclude, type Facts, type RoomFacts } from '../src/live/conn'

const NOW = 1_000_000
const room = (o: Partial<RoomFacts> = {}): RoomFacts => ({ name: 'kv/a', phase: 'live', behind_since: 0, resynced_at: 0, resync_reason: '', stale_s: 0, read: 0, ...o })
const facts = (o: Partial<Facts> = {}): Facts => ({
  now: NOW, online: true, connected: true, ever: true, cut_at: 0, attempt: 0, next_try_at: 0, goodbye: null, heard_at: NOW - 1_000,
  paused_at: 0, rooms: [room()], polled: null, utc: (t) => t, ...o
})
const down = { connected: false, cut_at: NOW - 5_000, attempt: 3, next_try_at: NOW + 2_000 }

describe('the word', () => {
  it.each([
    ['live', {}],
    ['loading', { ever: false, connected: true }],
    ['loading', { rooms: [room({ phase: 'paging', read: 200 })] }],
    ['resynced', { rooms: [room({ resynced_at: NOW - 9_000, resync_reason: 'history' })] }],
    ['live', { rooms: [room({ resynced_at: NOW - 11_000 })] }],
    ['stale', { rooms: [room({ behind_since: NOW - 1_000 })] }],
    ['stale', { heard_at: NOW - 31_000 }],
    ['stale', { rooms: [room({ stale_s: 12 })] }],
    ['reconnecting', down],
    ['offline', { ...down, online: false }],
    ['paused', { paused_at: NOW - 3_000 }],
    ['reconnecting', { ...down, paused_at: NOW - 3_000 }],
    ['polled', { polled: { ok_at: NOW - 800, failures: 0 } }],
    ['reconnecting', { polled: { ok_at: NOW - 4_000, failures: 3 } }],
    ['offline', { online: false, polled: { ok_at: NOW - 4_000, failures: 3 } }]
  ] as const)('is %s', (word, o) => expect(conclude(facts(o as Partial<Facts>)).word).toBe(word))

  it('does not flap: a cut under two seconds is not shown', () => {
    expect(conclude(facts({ connected: false, cut_at: NOW - 1_500, attempt: 1 })).word).toBe('live')
  })
  it('gives a late change a moment before it says stale', () => {
    expect(conclude(facts({ rooms: [room({ behind_since: NOW - 100 })] })).word).toBe('live')
  })
})

describe('the sentence', () => {
  it('names attempt and next try', () => expect(conclude(facts(down)).say).toMatch(/^Line cut, attempt 3, next try in 2 s\. Values are as of /))
  it('says that the server restarts', () => {
    const said = conclude(facts({ ...down, attempt: 0, goodbye: { reason: 'restart', retry_ms: 2_000, at: NOW - 5_000 } }))
    expect(said.say).toMatch(/^The server restarts, back in about 2 s/)
  })
  it('says which kind of stale', () => {
    expect(conclude(facts({ rooms: [room({ stale_s: 12 })] })).say).toMatch(/store is away for 12/)
    expect(conclude(facts({ rooms: [room({ behind_since: NOW - 1_000 })] })).say).toMatch(/ahead of this page/)
    expect(conclude(facts({ heard_at: NOW - 31_000 })).say).toMatch(/nothing was heard for 31/)
  })
  it('speaks in the present only while the line stands', () => {
    expect(conclude(facts()).present).toBe(true)
    for (const o of [down, { heard_at: NOW - 31_000 }, { rooms: [room({ stale_s: 1 })] }]) expect(conclude(facts(o)).present).toBe(false)
  })
})
