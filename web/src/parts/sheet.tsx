// The sheet behind the status pill: each room, the position held, the heartbeat's, cuts, resyncs.
import { signal } from '@preact/signals'
import type { JSX } from 'preact'
import { int, plural } from '../fmt'
import { link } from '../live/link'
import { polling, said, strip } from '../live/status'
import { usePaint } from '../paint'
import { Dialog } from './dialog'
import { Glyph } from './glyph'

export const sheetOpen = signal(false)

const SHOWN = 8

export function RoomSheet(): JSX.Element {
  usePaint(() => true, 1_000)
  const rooms = [...link.rooms.values()].map((o) => o.room)
  const { name, word, say } = said.value
  return (
    <Dialog label="Connection" class="sheet" onClose={() => { sheetOpen.value = false }}>
      <h2><Glyph name={word} /> {name}</h2>
      <p class="quiet">{say || (polling.value ? 'This page asks over HTTP each second; it is not pushed.' : `Heard over ${strip.value.transport}; every position held is the newest the server named.`)}</p>
      {rooms.slice(0, SHOWN).map((r) => (
        <dl class="facts room" key={r.name}>
          <div><dt class="mono">{r.name}</dt><dd class="say">{r.phase === 'refused' ? (r.problem?.title ?? 'Refused') : r.behind_since ? 'Behind' : r.phase}</dd></div>
          <div><dt>Position held</dt><dd title={r.held ?? ''}>{r.held ?? 'none'}</dd></div>
          <div><dt>Heartbeat's</dt><dd title={r.beat ?? ''}>{r.beat_at ? (r.beat ?? 'none') : 'not yet'}</dd></div>
          <div><dt>Reconnects, resyncs, skipped</dt><dd>{int(r.reconnects)}, {int(r.resyncs)}, {int(r.skipped)}</dd></div>
        </dl>
      ))}
      {rooms.length > SHOWN && <p class="note">and {plural(rooms.length - SHOWN, 'room')} more</p>}
      {rooms.length === 0 && <p class="note">No rooms: this page is asked over HTTP.</p>}
    </Dialog>
  )
}
