// The keys of one stream: a table of which only the rows in view exist, live where it is looked at.
// Invariant: a room per row in view and none for the others (or the stream's own room while it has
// few keys); the order is that of opening until the reader sorts again. State: stream-model.ts.
import type { JSX } from 'preact'
import { useEffect, useMemo, useRef, useState } from 'preact/hooks'
import { int, plural, rate, time } from '../fmt'
import { useKeys } from '../keys'
import { catalog, refreshCatalog, writable } from '../live/catalog'
import { link } from '../live/link'
import { said } from '../live/status'
import { usePaint } from '../paint'
import { AsOf } from '../parts/chrome'
import { toast } from '../parts/toast'
import { go, keyPath } from '../router'
import { filters } from '../virtual'
import type { Summary, SummaryStream } from '../wire'
import { Editor } from './editor'
import { KeyTable } from './key-table'
import { StreamModel, type Sort } from './stream-model'

const ROOM_KEYS_MAX = 5_000
const TYPING_MS = 220

export function Stream({ stream }: { stream: string }): JSX.Element {
  const [prefix, setPrefix] = useLate('')
  const [filter, setFilter] = useLate('')
  const [sort, setSort] = useState<Sort>('key')
  const [adding, setAdding] = useState(false)
  const info = catalog.value?.streams.find((s) => s.stream === stream)
  const known = catalog.value !== null
  const asked = filters(filter.now)
  const few = useRef<boolean | null>(null)
  if (few.current === null && known) few.current = info?.keys != null && info.keys <= ROOM_KEYS_MAX
  const fed = few.current && filter.late.trim() === '' ? 'room' : 'list'
  const model = useMemo(() => new StreamModel(stream, fed, prefix.late, filters(filter.late) ?? [], sort), [stream, fed, prefix.late, filter.late, sort, known])
  const summary = useRef<SummaryStream | null>(null)
  const opened = useMemo(() => Date.now(), [stream])
  useEffect(() => { document.title = `${stream} · Streams · Statecast` }, [stream])
  useEffect(() => {
    if (!known) return
    if (fed === 'room') return link.open(stream, model.hear)
    void model.more()
    return () => model.stop()
  }, [model, known])
  useEffect(() => link.open('streams:summary', (e) => {
    const value = (e.type === 'change' ? e.change.value : 'entity' in e ? e.entity?.value : null) as unknown as Summary | null
    summary.current = value?.streams?.find((s) => s.stream === stream) ?? summary.current
  }, { own: false }), [stream])
  useEffect(() => {
    void refreshCatalog()
    const timer = setInterval(() => { if (!document.hidden) void refreshCatalog() }, 10_000)
    return () => clearInterval(timer)
  }, [stream])
  const tick = usePaint(() => true, 1_000)
  const rev = usePaint(model.drain, 100, [model]) + tick
  const open = writable(stream)
  useKeys({ n: () => { if (open) setAdding(true) }, Escape: () => go('/') })

  const room = fed === 'room' ? link.room(stream) : null
  const paging = room?.phase === 'paging' || room?.phase === 'joining'
  const narrowed = prefix.late !== '' || filter.late.trim() !== ''
  const s = summary.current
  const keys = narrowed ? null : fed === 'room' && room?.phase === 'live' ? model.order.length : (s?.keys ?? info?.keys ?? null)
  const lag = (s?.lag ?? info?.lag ?? []).reduce((a, b) => a + b, 0)
  const positions = room?.held ?? info?.positions?.join(',') ?? ''
  const total = narrowed ? (model.next === null && model.loaded ? model.order.length : null) : keys
  return (
    <main id="main" tabIndex={-1}>
      <p class="crumb"><a href="/">Streams</a></p>
      <h1>{stream}<AsOf /></h1>
      <Verdict keys={keys} fed={fed} paging={paging} read={model.order.length} narrowed={narrowed} missing={known && !info} />
      <dl class="stamp stream-stamp">
        <div class="s-rate"><dt>Records in</dt><dd>{s ? rate(s.records_per_s) : '\u2013'} <small>/s</small></dd></div>
        <div class="s-lag"><dt>Lag</dt><dd>{int(lag)}</dd></div>
        <div class="wide"><dt>Position, one per partition</dt><dd title={positions}>{positions || '\u2013'}</dd></div>
        <div class="s-skip"><dt>Skipped here</dt><dd>{int(model.skipped)} <small>since {time(opened).slice(0, 5)}</small></dd></div>
      </dl>
      <div class="bar-row keys-bar">
        <div class="field f-prefix"><input data-search type="search" placeholder="Key begins with" aria-label="Key begins with" spellcheck={false} autocomplete="off" value={prefix.now} onInput={(e) => setPrefix(e.currentTarget.value)} /><kbd>/</kbd></div>
        <div class="field f-filter"><input type="search" placeholder="Filter, e.g. mode = heating" aria-label="Filter by value" aria-invalid={asked === null} spellcheck={false} autocomplete="off" value={filter.now} onInput={(e) => setFilter(e.currentTarget.value)} /></div>
        <div class="field f-sort"><select aria-label="Order" value={sort} onChange={(e) => setSort(e.currentTarget.value as Sort)}><option value="key">By key</option><option value="updated">By newest change</option><option value="version">By version</option></select></div>
        <button class="btn new" type="button" disabled={!open} style={kept(open)} onClick={() => setAdding(true)}>Set a key <kbd>n</kbd></button>
      </div>
      <KeyTable key={`${stream} ${fed} ${prefix.late} ${filter.late} ${sort}`} model={model} total={total} rev={rev}
        progress={paging && keys ? Math.min(1, model.order.length / keys) : null} wrong={asked === null ? 'A filter is a name, a sign and a value: mode = heating, version > 10, name ^= Ada.' : ''} />
      {adding && <Editor stream={stream} name="" entity={null} onClose={() => setAdding(false)} onStored={(e) => toast(`Stored ${e.key} at ${e.position}.`, { name: 'Open', run: () => go(keyPath(stream, e.key)) })} />}
    </main>
  )
}

/** What a stream does not offer keeps its place, so that nothing moves once the server has said so. */
export const kept = (offered: boolean): { visibility: 'visible' | 'hidden' } => ({ visibility: offered ? 'visible' : 'hidden' })

/** What is typed at once, and what it is once the typing rests. */
function useLate(first: string): [{ now: string; late: string }, (v: string) => void] {
  const [now, setNow] = useState(first)
  const [late, setLate] = useState(first)
  useEffect(() => {
    const timer = setTimeout(() => setLate(now), TYPING_MS)
    return () => clearTimeout(timer)
  }, [now])
  return [{ now, late }, setNow]
}

function Verdict({ keys, fed, paging, read, narrowed, missing }: { keys: number | null; fed: string; paging: boolean; read: number; narrowed: boolean; missing: boolean }): JSX.Element {
  const { present } = said.value
  const rows = present ? 'The rows you see are live; the others are read when you come to them.' : 'The rows you see were live then; the others wait for the line.'
  if (missing && read === 0) return <p class="lead"><strong>There is no such stream.</strong> It may be named otherwise, or not be configured.</p>
  if (narrowed) return <p class="lead"><strong>{plural(read, 'key')} read.</strong> {rows}</p>
  if (fed === 'room') {
    if (keys === 0 && !paging) return <p class="lead"><strong>No key yet.</strong> {present ? 'The first record brings one.' : 'The line was cut.'}</p>
    const all = keys === 1 ? 'It' : 'Every one of them'
    return <p class="lead"><strong>{keys === null ? 'Reading the keys.' : `${plural(keys, 'key')}.`}</strong> {paging && present ? `${int(read)} read so far; what is shown is current, the rest follows.` : `${all} ${present ? 'is live here' : 'was live then'}.`}</p>
  }
  return <p class="lead"><strong>{keys === null ? 'Keys.' : `${plural(keys, 'key')}.`}</strong> {rows}</p>
}
