// The last changes in fixed slots that are rewritten; nothing is inserted, so nothing shifts. The
// pointer over it stops it: what came meanwhile is shown when the pointer leaves.
import type { JSX } from 'preact'
import { useRef, useState } from 'preact/hooks'
import { int, time } from '../fmt'
import { SLOTS, type Entry } from '../pages/viewer-model'

export function History({ entries }: { entries: Entry[]; rev: number }): JSX.Element {
  const [over, setOver] = useState(false)
  const held = useRef<Entry[]>([])
  if (!over) held.current = [...entries]
  const shown = held.current
  const behind = over && entries[0] !== shown[0]
  return (
    <section class="section" aria-labelledby="h-hist">
      <div class="head"><h2 id="h-hist">History</h2><span class="note">{behind ? 'paused while you point here' : 'since you opened this page'}</span></div>
      <ol class="history" onPointerEnter={(e) => { if (e.pointerType === 'mouse') setOver(true) }} onPointerLeave={() => setOver(false)}>
        {Array.from({ length: SLOTS }, (_, i) => {
          const e = shown[i]
          return (
            <li key={i} class={e?.kind === 'gap' ? 'gap' : e?.kind === 'sync' ? 'gap sync' : e ? '' : 'empty'}>
              <span class="ver">{e && e.version > 0 ? `v${int(e.version)}` : ''}</span>
              <span class="at">{e && e.at > 0 ? time(e.at, 1) : ''}</span>
              <span class={e?.kind === 'removed' ? 'what t-fault' : 'what'} title={e?.what}>{e?.what ?? ''}</span>
            </li>
          )
        })}
      </ol>
    </section>
  )
}
