// The flow of one stream: consumers, writers, store, broadcaster, and the edges between them.
// Invariant: one element is filled (the cause); what waits for it has only a coloured edge. Edges
// are measured from the boxes, so the boxes keep their size.
import type { JSX } from 'preact'
import { useLayoutEffect, useRef } from 'preact/hooks'
import { age, int, plural } from '../fmt'
import { serverNow } from '../live/clock'
import { cause, holds, holdsFor, lag, waits, type Broadcaster, type Pipe, type Store, type Writer } from './pipeline-model'

const SLOTS_MAX = 16
const SVG = 'http://www.w3.org/2000/svg'
const secs = (ms: number | null): string => (ms === null ? '' : ms < 60_000 ? `${(ms / 1000).toFixed(1)} s` : age(ms))
const CUT: Record<string, string> = { full: 'when full', aged: 'when aged', forced: 'when forced', idle: 'when idle' }

export function Flow({ pipe, store, cast }: { pipe: Pipe; store: Store | null; cast: Broadcaster | null | undefined; rev: number }): JSX.Element {
  const box = useRef<HTMLDivElement>(null)
  const why = cause(pipe, store)
  const blocked = why.what !== 'none'
  const held = holds
  const key = `${pipe.stream} ${pipe.partitions.map((p) => +held(p)).join('')} ${pipe.writers.map((w) => +waits(w)).join('')} ${why.what}${why.id}`
  useLayoutEffect(() => {
    const draw = (): void => edges(box.current!, why.what === 'store' || why.what === 'writer')
    draw()
    const measure = new ResizeObserver(draw)
    measure.observe(box.current!)
    return () => measure.disconnect()
  }, [key, pipe.partitions.length, pipe.writers.length])
  const since = Math.max(0, ...pipe.partitions.map((p) => holdsFor(p, serverNow())), ...pipe.writers.map((w) => (waits(w) ? (w.since_ms ?? 0) : 0)))
  return (
    <div class="flow" ref={box}>
      <svg aria-hidden="true" class="edges" />
      <div class="col"><span class="cap">Partition consumers</span>
        {pipe.partitions.map((p) => (
          <div key={p.partition} title={p.held_why ?? undefined} class={`node cons ${held(p) ? 'held' : ''} ${why.what === 'partition' && why.id === p.partition ? 'cause' : ''}`} data-held={held(p)}>
            <div class="l1"><b>{pipe.stream} {p.partition}</b><span class={held(p) ? 't-warn' : 'quiet'}>{p.held_since ? 'held by its limit' : held(p) ? 'holds a slice' : lag(p) > 0 ? 'pulling' : 'at the end'}</span></div>
            <div class="l2"><span>{p.received === null || p.confirmed === null ? '' : `${int(Math.max(0, p.received - p.confirmed))} in flight`}</span><span>{secs(p.oldest_ms)}</span></div>
          </div>
        ))}
        {pipe.partitions.length === 0 && <p class="note">No partition is assigned here.</p>}
      </div><div />
      <div class="col"><span class="cap">Shard writers{pipe.writers[0] ? `, mailboxes of ${pipe.writers[0].mailbox_max}` : ''}</span>
        {pipe.writers.map((w) => <WriterNode key={w.shard} w={w} isCause={why.what === 'writer' && why.id === w.shard} />)}
      </div><div />
      <div class="col">
        <span class="cap">Store, then live</span>
        <div class={`node store ${why.what === 'store' ? 'held cause' : ''}`}>
          <div class="l1"><b>{store?.kind ?? 'Store'}</b><span class={store && store.state !== 'closed' ? 't-warn' : 'quiet'}>{store ? `breaker ${store.state.replace('_', ' ')}` : 'not told'}</span></div>
          <dl>
            <div><dt>In flight</dt><dd key={pipe.writers.map((w) => +(w.since_ms !== null)).join('')}>{plural(pipe.writers.filter((w) => w.batch_records > 0 && w.since_ms !== null).length, 'batch', 'batches')}</dd></div>
            <div><dt>Unanswered for</dt><dd class={since > 0 ? 't-warn' : ''}>{since > 0 ? secs(since) : 'none'}</dd></div>
            <div><dt>Attempt</dt><dd>{store && store.state !== 'closed' ? `${int(store.attempt)}${store.next_ms ? `, next in ${secs(store.next_ms)}` : ''}` : 'first'}</dd></div>
          </dl>
        </div>
        <div class="node store cast">
          <div class="l1"><b>Broadcaster</b><span class="quiet">{cast ? 'keeping up' : 'not told'}</span></div>
          <dl>
            <div><dt>Rooms, clients</dt><dd>{cast ? `${int(cast.rooms)}, ${int(cast.clients)}` : ''}</dd></div>
            <div><dt>Conflated</dt><dd>{cast ? int(cast.conflated) : ''}</dd></div>
          </dl>
        </div>
      </div>
      <p class="ack-note"><span>confirmed goes back: the watermark rises, offsets are committed.{blocked && since > 0 && <b> None for {secs(since)}</b>}</span></p>
    </div>
  )
}

function WriterNode({ w, isCause }: { w: Writer; isCause: boolean }): JSX.Element {
  const stuck = waits(w)
  const slots = Math.min(SLOTS_MAX, w.mailbox_max)
  const on = Math.ceil((w.mailbox_used / Math.max(1, w.mailbox_max)) * slots)
  const busy = w.since_ms !== null && w.batch_records > 0
  return (
    <div class={`node writer ${stuck ? 'held' : ''} ${isCause ? 'cause' : ''}`} data-held={stuck} title={w.stuck ?? undefined}>
      <div class="l1"><b>Shard writer {w.shard}</b><span key={`${stuck} ${busy}`} class={stuck ? 't-warn' : 'quiet'}>{stuck ? `writing, ${secs(w.since_ms)}` : busy ? 'writing' : 'idle'}</span></div>
      <div class="slots" role="img" aria-label={`mailbox: ${w.mailbox_used} of ${w.mailbox_max}`}>{Array.from({ length: slots }, (_, i) => <i key={i} class={i < on ? 'on' : ''} />)}</div>
      <div class="l2"><span>{w.mailbox_used >= w.mailbox_max && w.mailbox_max > 0 ? 'full: ' : ''}{int(w.mailbox_used)} of {int(w.mailbox_max)}</span><span key={`${w.batch_records} ${w.batch_keys} ${w.cut}`}>{w.batch_records > 0 ? `${plural(w.batch_records, 'record')}, ${plural(w.batch_keys, 'key')}${w.cut ? `, cut ${CUT[w.cut] ?? w.cut}` : ''}` : 'no batch yet'}</span></div>
    </div>
  )
}

/** Curves from each consumer to each writer to the store; held ones last, so that they lie on top. */
function edges(box: HTMLElement, hot: boolean): void {
  const svg = box.querySelector('svg.edges')!
  const base = box.getBoundingClientRect()
  const rect = (el: Element): { l: number; r: number; t: number; b: number; y: number } => {
    const r = el.getBoundingClientRect()
    return { l: r.left - base.left, r: r.right - base.left, t: r.top - base.top, b: r.bottom - base.top, y: r.top - base.top + r.height / 2 }
  }
  const paths: [string, string][] = []
  const late: [string, string][] = []
  const curve = (x1: number, y1: number, x2: number, y2: number): string => { const m = ((x1 + x2) / 2).toFixed(1); return `M${x1.toFixed(1)} ${y1.toFixed(1)}C${m} ${y1.toFixed(1)} ${m} ${y2.toFixed(1)} ${x2.toFixed(1)} ${y2.toFixed(1)}` }
  const all = (s: string): HTMLElement[] => [...box.querySelectorAll<HTMLElement>(s)]
  const cons = all('.cons')
  const writers = all('.writer')
  const store = box.querySelector('.store')
  const cast = box.querySelector('.cast')
  for (const c of cons) for (const w of writers) {
    const on = c.dataset.held === 'true' && w.dataset.held === 'true'
    ;(on ? late : paths).push([curve(rect(c).r, rect(c).y, rect(w).l, rect(w).y), on ? 'edge held' : 'edge'])
  }
  if (store && cast) {
    const s = rect(store)
    writers.forEach((w, i) => {
      const on = hot && w.dataset.held === 'true'
      ;(on ? late : paths).push([curve(rect(w).r, rect(w).y, s.l, s.t + ((i + 1) * (s.b - s.t)) / (writers.length + 1)), on ? 'edge cause' : 'edge on'])
    })
    const x = (s.l + s.r) / 2
    paths.push([`M${x} ${s.b}V${rect(cast).t}`, 'edge lossy'])
    const first = cons[cons.length - 1]
    if (first) {
      const f = rect(first)
      const y = base.height - 10
      const xc = (f.l + f.r) / 2
      const xa = s.l - 17
      paths.push([`M${s.l} ${s.b - 10}H${xa + 8}q-8 0 -8 8V${y - 8}q0 8 -8 8H${xc + 8}q-8 0 -8 -8V${f.b + 6}`, 'edge on'])
      paths.push([`M${xc - 4} ${f.b + 8}l4 -6l4 6z`, 'tip'])
    }
  }
  svg.replaceChildren(...[...paths, ...late].map(([d, cls]) => {
    const p = document.createElementNS(SVG, 'path')
    p.setAttribute('d', d)
    p.setAttribute('class', cls)
    return p
  }))
}
