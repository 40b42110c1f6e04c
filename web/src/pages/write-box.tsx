// A box to write a value and watch it travel: accepted by the log, confirmed by the store, seen
// live, each with the time since the key was pressed. Invariant: each station lights only by its own
// evidence (the 202, a read at that position, the room's change, which follows the store).
import type { JSX } from 'preact'
import { useEffect, useRef, useState } from 'preact/hooks'
import { ProblemError, put, readAt } from '../api'
import { int, ms } from '../fmt'
import { link } from '../live/link'
import type { RoomEvent } from '../live/room'
import { Glyph } from '../parts/glyph'
import { ProblemText } from '../parts/problem'
import { keyPath } from '../router'
import type { Problem } from '../wire'
import { checkJson } from './editor'

interface Travel { key: string; position: string; accepted: number; stored: number; version: number; seen: number; skipped: number; problem: Problem | null }

const STREAM = 'kv'
const none: Travel = { key: '', position: '', accepted: 0, stored: 0, version: 0, seen: 0, skipped: 0, problem: null }
const JOIN_MS = 1_500

export function WriteBox(): JSX.Element {
  const [key, setKey] = useState('')
  const [text, setText] = useState('')
  const [travel, setTravel] = useState<Travel>(none)
  const [busy, setBusy] = useState(false)
  const leave = useRef<(() => void) | null>(null)
  const wrong = text.trim() ? checkJson(text) : ''
  useEffect(() => () => leave.current?.(), [])

  const write = async (e: Event): Promise<void> => {
    e.preventDefault()
    const to = key.trim()
    if (!to || !text.trim() || wrong || busy) return
    setBusy(true)
    leave.current?.()
    const t: Travel = { ...none, key: to }
    setTravel({ ...t })
    const events: { at: number; position: string | null; version: number; skipped: number }[] = []
    let sent = 0
    const look = (): void => {
      const hit = t.position && !t.seen ? events.find((x) => x.position === t.position || (t.version > 0 && x.version >= t.version)) : undefined
      // News leaves only after the store confirmed, so what is seen was stored by then.
      if (hit) Object.assign(t, { seen: hit.at - sent, stored: Math.min(t.stored || Infinity, hit.at - sent), version: t.version || hit.version, skipped: hit.skipped })
      setTravel({ ...t })
    }
    const joined = new Promise<void>((done) => {
      setTimeout(done, JOIN_MS)
      leave.current = link.open(`${STREAM}/${to}`, (x: RoomEvent) => {
        if (x.type === 'change') events.push({ at: performance.now(), position: x.change.position, version: x.change.version, skipped: x.change.skipped ?? 0 })
        else if (x.type === 'resync' && x.entity) events.push({ at: performance.now(), position: x.entity.position, version: x.entity.version, skipped: 0 })
        done()
        if (t.position) look()
      }, { own: false, linger_ms: 5_000 })
    })
    await joined
    sent = performance.now()
    try {
      const { position } = await put(STREAM, to, text)
      Object.assign(t, { position, accepted: performance.now() - sent })
      look()
      const entity = await readAt(STREAM, to, position)
      Object.assign(t, { stored: t.stored || performance.now() - sent, version: t.version || entity.version })
      look()
    } catch (x) {
      t.problem = (x as ProblemError).problem ?? { title: String(x) }
      setTravel({ ...t })
    }
    setBusy(false)
  }

  return (
    <section class="write" aria-labelledby="h-write">
      <form onSubmit={write}>
        <h2 id="h-write">Write a value</h2>
        <div class="field w-key"><input class="mono" id="write-key" aria-label="Key" placeholder="key" value={key} spellcheck={false} autocomplete="off" onInput={(e) => setKey(e.currentTarget.value)} /></div>
        <div class="field w-val"><input class="mono" id="write-value" aria-label="Value as JSON" placeholder={'{"n": 1}'} value={text} spellcheck={false} autocomplete="off" aria-invalid={!!wrong} onInput={(e) => setText(e.currentTarget.value)} /></div>
        <button class="btn first" type="submit" id="write-go" disabled={!key.trim() || !text.trim() || !!wrong || busy}>Write</button>
      </form>
      <ol class="travel" aria-label="Where the value is" aria-live="polite">
        <Station name="Accepted" on={travel.accepted > 0} busy={busy && !travel.accepted} took={travel.accepted} sub={travel.position ? <span class="mono">{travel.position}</span> : null} />
        <Station name="Stored" on={travel.stored > 0} busy={travel.accepted > 0 && !travel.stored && !travel.problem} took={travel.stored} sub={travel.stored > 0 ? `version ${int(travel.version)}` : null} />
        <Station name="Seen live" on={travel.seen > 0} busy={travel.accepted > 0 && !travel.seen && !travel.problem} took={travel.seen} sub={travel.seen > 0 ? <a href={keyPath(STREAM, travel.key)}>Open {travel.key}</a> : null} />
      </ol>
      <p class="write-say">
        {travel.problem ? <ProblemText problem={travel.problem} inline />
          : wrong ? <span class="problem">{wrong}</span>
            : <span class="note">Times count from sending the request. The key goes to stream kv as a record; the page follows its room.</span>}
      </p>
    </section>
  )
}

const Station = ({ name, on, busy, took, sub }: { name: string; on: boolean; busy: boolean; took: number; sub: JSX.Element | string | null }): JSX.Element => (
  <li class={on ? 'on' : busy ? 'busy' : ''}>
    <Glyph name={on ? 'live' : busy ? 'reconnecting' : 'quiet'} />
    <span class="st-name">{name}</span>
    <span class="st-took">{on ? <>{ms(took)}<small> ms</small></> : ''}</span>
    <span class="st-sub">{sub}</span>
  </li>
)
