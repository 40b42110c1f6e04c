// One key, live: its stamp, its value as a tree, its number over time, its history, and the truth of
// this view. Invariant: the page keeps its slots from the first paint on; a value of another shape
// scrolls inside its well instead of moving what is below. State is in viewer-model.ts.
import type { JSX } from 'preact'
import { useEffect, useMemo, useRef, useState } from 'preact/hooks'
import { age, int } from '../fmt'
import { at, spoken } from '../json/leaves'
import { openLines } from '../json/lines'
import { LINE_PX, Tree } from '../json/tree'
import { useKeys } from '../keys'
import { writable } from '../live/catalog'
import { link } from '../live/link'
import { announce, said } from '../live/status'
import { usePaint } from '../paint'
import { Age, At, Cell } from '../parts/cells'
import { AsOf } from '../parts/chrome'
import { CopyIcon } from '../parts/glyph'
import { History } from '../parts/history'
import { copy, toast } from '../parts/toast'
import { go, streamPath } from '../router'
import type { Entity } from '../wire'
import { Editor, Remover } from './editor'
import { kept } from './stream'
import { NumberOverTime } from './viewer-chart'
import { ViewerModel } from './viewer-model'

const ABSENT_LINES = 12
const LINES_MIN = 8
const LINES_MAX = 24

export function Viewer({ stream, name }: { stream: string; name: string }): JSX.Element {
  const room = `${stream}/${name}`
  const model = useMemo(() => new ViewerModel(), [room])
  const [asked, setAsked] = useState<'edit' | 'remove' | null>(null)
  const [as, setAs] = useState<'tree' | 'raw'>('tree')
  useEffect(() => link.open(room, model.hear), [room])
  const [chosen, choose] = useState(0)
  const rev = usePaint(model.drain, 100, [model]) + chosen
  const e = model.entity
  const here = model.phase === 'here' && e !== null
  useEffect(() => { document.title = `${name} · ${stream} · Statecast` }, [room])
  const open = writable(stream)
  useKeys({
    e: () => { if (open) setAsked('edit') },
    Escape: () => go(streamPath(stream)),
    v: () => { if (e) announce(`${name}, version ${int(e.version)}: ${speak(e, model.pin)}`) }
  })
  return (
    <main id="main" tabIndex={-1} class="viewer">
      <div>
        <p class="crumb"><a href="/">Streams</a> / <a href={streamPath(stream)}>{stream}</a></p>
        <div class="key">
          <h1>{name}</h1>
          <button class="icon" type="button" aria-label="Copy key" title="Copy key" onClick={() => void copy(name, name)}><CopyIcon /></button>
          <div class="acts" style={kept(open)}>
            <button class="btn" type="button" disabled={!open} onClick={() => setAsked('edit')}>{here ? 'Edit value' : 'Set a value'} <kbd>e</kbd></button>
            <button class="btn risk" type="button" disabled={!here || !open} onClick={() => setAsked('remove')}>Remove</button>
          </div>
        </div>
        <Verdict model={model} rev={rev} />
        <Stamp model={model} rev={rev} />
        <section class="section value" aria-labelledby="h-val">
          <h2 class="sr" id="h-val">Value</h2>
          <Well model={model} rev={rev} onPin={(p) => { model.pinTo(p); choose(chosen + 1) }} as={as} setAs={setAs} room={room} onSet={open ? () => setAsked('edit') : null} />
        </section>
        <NumberOverTime model={model} rev={rev} />
      </div>
      <aside aria-label="Connection and history">
        <ThisView room={room} />
        <History entries={model.history} rev={rev} />
      </aside>
      {asked === 'edit' && <Editor stream={stream} name={name} entity={e && !e.deleted ? e : null} onClose={() => setAsked(null)} onStored={(x) => toast(`Stored as version ${int(x.version)} at ${x.position}.`)} />}
      {asked === 'remove' && here && <Remover entity={e} onClose={() => setAsked(null)} onRemoved={() => toast(`Removed ${name}.`)} />}
    </main>
  )
}

const speak = (e: Entity, pin: string | null): string => {
  const v = pin === null ? e.value : at(e.value, pin)
  return `${pin === null ? '' : `${spoken(pin)} `}${JSON.stringify(v)?.slice(0, 200) ?? 'removed'}`
}

function Verdict({ model }: { model: ViewerModel; rev: number }): JSX.Element {
  const { present, word } = said.value
  const e = model.entity
  const tail = present ? (word === 'paused' ? 'Paused by you; newer ones are taken in and wait.' : 'Newer ones appear by themselves.') : 'Newer ones wait until the line is back.'
  const words = (): JSX.Element => {
    if (model.phase === 'waiting') return <>Asking for the newest value.</>
    if (model.phase === 'refused') return <strong>{model.problem?.title}</strong>
    if (model.phase === 'absent') return <><strong>Nothing is stored under this key.</strong> It appears here with its first record.</>
    if (model.phase === 'removed') return <><strong>{present ? 'This key is removed.' : 'This key was removed.'}</strong> It appears here again with its next record.</>
    return <><strong>{present ? 'This is the newest value.' : 'This was the newest value.'}</strong> {e && tail}</>
  }
  return <p class="lead one">{words()}<AsOf /></p>
}

function Stamp({ model }: { model: ViewerModel; rev: number }): JSX.Element {
  const e = model.entity
  const since = new Date(model.opened_at).toISOString().slice(11, 16)
  return (
    <dl class="stamp viewer-stamp" aria-label="Freshness of this value">
      <div class="s-ver"><dt>Version</dt><dd><Cell text={e ? int(e.version) : ''} strong /></dd></div>
      <div class="s-pos"><dt>Position</dt><dd title={`${e?.position ?? ''} (to be kept as it is)`}>{e?.position ?? ''}</dd></div>
      <div class="s-at"><dt>Updated</dt><dd>{e ? <><At at={e.updated} digits={3} /> <small>UTC</small></> : ''}</dd></div>
      <div class="s-age age"><dt>Age</dt><dd>{e ? <Age at={e.updated} fine /> : ''}</dd></div>
      <div class="s-skip"><dt>Skipped, by conflation</dt><dd>{int(model.skipped)} <small>since {since}</small></dd></div>
    </dl>
  )
}

function Well({ model, as, setAs, room, onSet, onPin }: { model: ViewerModel; onPin: (path: string) => void; as: 'tree' | 'raw'; setAs: (a: 'tree' | 'raw') => void; rev: number; room: string; onSet: (() => void) | null }): JSX.Element {
  const sized = useRef<{ model: ViewerModel; lines: number } | null>(null)
  const [, again] = useState(0)
  const e = model.entity
  const have = model.phase === 'here' && e ? openLines(e.value) : 0
  if (sized.current?.model !== model) sized.current = null
  if (!sized.current && model.phase !== 'waiting') sized.current = { model, lines: have ? Math.min(LINES_MAX, Math.max(LINES_MIN, have)) : ABSENT_LINES }
  const room_lines = sized.current?.lines ?? ABSENT_LINES
  const height = `${room_lines * LINE_PX + 20}px`
  if (model.phase !== 'here' || !e) {
    return (
      <div class={`well none ${model.phase === 'removed' ? 'removed' : ''}`} style={{ height }}>
        {model.phase === 'waiting' && <p aria-busy="true"><i class="ghost w60" /><br /><i class="ghost w40" /><br /><i class="ghost w80" /></p>}
        {model.phase === 'refused' && <div role="alert"><h3>{model.problem?.title}</h3><p>{model.problem?.detail}</p></div>}
        {model.phase === 'absent' && <div><h3>{room} is not there</h3><p>Never written, or removed. This page stays subscribed and shows the key when it comes.</p>{onSet && <div class="acts"><button class="btn" type="button" onClick={onSet}>Set a value</button></div>}</div>}
        {model.phase === 'removed' && <div><h3>Removed</h3><p>The key was removed{e ? <> <Age at={e.updated} /> ago</> : ''}. This page stays subscribed and shows the key when it comes again.</p></div>}
      </div>
    )
  }
  const raw = as === 'raw' ? JSON.stringify(e.value, null, 2) : ''
  const scalar = typeof e.value === 'string' || typeof e.value === 'boolean' || e.value === null
  return (
    <div class="well">
      <div class="tools tabs" role="group" aria-label="Value as">
        <button type="button" aria-pressed={as === 'tree'} onClick={() => setAs('tree')}>Tree</button>
        <button type="button" aria-pressed={as === 'raw'} onClick={() => setAs('raw')}>Raw</button>
        <button type="button" onClick={() => void copy(JSON.stringify(e.value, null, 2), `the value of version ${int(e.version)}`)}>Copy</button>
      </div>
      <div class="scroll" tabIndex={0} aria-label="Value" style={{ height }}>
        {as === 'raw' ? <pre class="raw">{raw}</pre>
          : scalar ? <p class={`scalar ${String(e.value).length > 60 ? 'long' : ''}`}><Cell text={typeof e.value === 'string' ? e.value : JSON.stringify(e.value)} strong /></p>
            : <Tree value={e.value} before={model.before} was={model.was} version={e.version} pin={model.pin} onPin={onPin} />}
      </div>
      {have > room_lines && <button type="button" class="btn more" onClick={() => { sized.current = { model, lines: Math.min(have, 200) }; again((n) => n + 1) }}>Show all {int(have)} lines</button>}
    </div>
  )
}

/** What this view itself knows of its line: nothing here is the server's word. */
function ThisView({ room }: { room: string }): JSX.Element {
  usePaint(() => true, 1_000)
  const r = link.room(room)
  const { name, word } = said.value
  const ago = (t: number): string => (t > 0 ? `${age(performance.now() - t)}${performance.now() - t < 1000 ? '' : ' ago'}` : 'not yet')
  const state = word === 'reconnecting' ? `Reconnecting, attempt ${Math.max(1, link.attempt)}` : word === 'stale' ? 'Stale' : word === 'paused' ? 'Paused by you' : word === 'resynced' ? 'Resynced, then live' : name
  return (
    <section class="section" aria-labelledby="h-conn">
      <div class="head"><h2 id="h-conn">This view</h2></div>
      <dl class="facts">
        <div><dt>Room</dt><dd title={room}>{room}</dd></div>
        <div><dt>State</dt><dd class="say" key={state}>{state}</dd></div>
        <div><dt>Position held</dt><dd>{r?.held ?? 'none'}</dd></div>
        <div><dt>Confirmed by heartbeat</dt><dd>{r && r.beat_at && !r.behind_since ? ago(r.beat_at) : r?.behind_since ? 'the server is ahead' : 'not yet'}</dd></div>
        <div><dt>Reconnects, resyncs</dt><dd>{int(r?.reconnects ?? 0)}, {int(r?.resyncs ?? 0)}</dd></div>
      </dl>
    </section>
  )
}

export const numberAt = (e: Entity | null, pin: string | null): number | null => {
  const v = e && pin !== null ? at(e.value, pin) : undefined
  return typeof v === 'number' ? v : null
}
