// The rows of the key table: slots that are written anew as one scrolls, rooms for the rows in view,
// the selection by keyboard. Invariant: rows are placed, never pushed; the selected row has an element
// of its own, so that the focus is never recycled away. Not where entities are kept.
import type { JSX } from 'preact'
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks'
import { int } from '../fmt'
import { preview } from '../json/leaves'
import { useKeys } from '../keys'
import { link } from '../live/link'
import { every, flash } from '../paint'
import { Age, Cell } from '../parts/cells'
import { go, keyPath } from '../router'
import { reveal, slotOf, spoken, view } from '../virtual'
import type { Held, StreamModel } from './stream-model'

const AHEAD = 60
const ROOMS_MS = 200
const LINGER_MS = 5_000
const narrow = matchMedia('(max-width: 700px)')

export function KeyTable({ model, total, rev, progress, wrong }: { model: StreamModel; total: number | null; rev: number; progress: number | null; wrong: string }): JSX.Element {
  const box = useRef<HTMLDivElement>(null)
  const [scroll, setScroll] = useState(0)
  const [tall, setTall] = useState(480)
  const [size, setSize] = useState(narrow.matches ? 54 : 32)
  const [selected, setSelected] = useState(-1)
  const byKey = useRef(false)
  const read = model.order.length
  const more = model.fed === 'list' && (model.next !== null || !model.loaded) && !model.full
  const w = view(scroll, tall, size, read)
  useLayoutEffect(() => {
    const el = box.current!
    const measure = new ResizeObserver(() => setTall(el.clientHeight))
    measure.observe(el)
    const turn = (): void => setSize(narrow.matches ? 54 : 32)
    narrow.addEventListener('change', turn)
    return () => { measure.disconnect(); narrow.removeEventListener('change', turn) }
  }, [])
  useEffect(() => { if (more && w.from + w.count > read - AHEAD) void model.more() }, [w.from, w.count, read, more, model, rev])
  useRoomsInView(model, model.order.slice(w.from, w.from + w.count))

  const move = (by: number): void => {
    const to = Math.max(0, Math.min(read - 1, selected < 0 ? w.from + (by > 0 ? 0 : 1) : selected + by))
    byKey.current = true
    setSelected(to)
    box.current!.scrollTop = reveal(to, box.current!.scrollTop, tall, size)
  }
  const open = (): void => { if (model.order[selected] !== undefined) go(keyPath(model.stream, model.order[selected]!)) }
  useKeys({ j: () => move(1), k: () => move(-1), ArrowDown: () => move(1), ArrowUp: () => move(-1), Enter: open })

  const rows: { slot: number; row: number }[] = []
  for (let i = 0; i < w.count; i++) if (w.from + i !== selected) rows.push({ slot: slotOf(w.from + i, w.slots), row: w.from + i })
  rows.sort((a, b) => a.slot - b.slot)
  const chosen = model.held.get(model.order[selected] ?? '')
  const [first, last] = spoken(scroll, tall, size, read)
  const all = total ?? (model.loaded && !more ? read : null)
  return (
    <>
      <div class="keys" role="grid" aria-label="Keys" aria-rowcount={all ?? -1} aria-readonly="true">
        <div class="hd" role="row"><span role="columnheader">Key</span><span role="columnheader">Value</span><span role="columnheader">Version</span><span role="columnheader">Position</span><span role="columnheader">Age</span><span role="columnheader">Skipped</span></div>
        <div class="load" aria-hidden="true"><i style={{ width: `${(progress ?? 0) * 100}%` }} hidden={progress === null} /></div>
        <div class="view" ref={box} tabIndex={0} role="rowgroup" aria-label="j and k move, Enter opens" onScroll={(e) => setScroll(e.currentTarget.scrollTop)}>
          <div class="pad" role="presentation" style={{ height: `${(read + (more ? 1 : 0)) * size}px` }} />
          {rows.map(({ slot, row }) => {
            const key = model.order[row]!
            const h = model.held.get(key)
            return h ? <Row key={slot} h={h} row={row} size={size} onSelect={() => { byKey.current = false; setSelected(row) }} rev={rev} /> : null
          })}
          {chosen && <Row key={`selected ${selected}`} h={chosen} row={selected} size={size} selected focus={byKey.current} onSelect={() => undefined} rev={rev} />}
          {more && read > 0 && <div class="row" role="presentation" style={{ transform: `translateY(${read * size}px)` }}><span class="quiet">Reading on</span><span><i class="ghost w60" /></span></div>}
          {read === 0 && <Nothing model={model} wrong={wrong} />}
        </div>
      </div>
      <div class="under">
        <span class="u-rows">Rows <b>{read ? `${int(first)} to ${int(last)}` : 'none'}</b>{all === null ? '' : <> of <b>{int(all)}</b></>}</span>
        <span>{wrong && read > 0 ? <span class="problem">{wrong}</span> : model.problem && read > 0 ? <><span class="problem">{model.problem.message}</span> {model.fed === 'list' && <button class="btn plain" type="button" onClick={() => model.again()}>Ask again</button>}</>
          : model.moved > 0 && model.fed === 'room' ? <button class="btn plain" type="button" onClick={() => model.sortAgain()}>Sort again, {int(model.moved)} moved</button>
            : model.full ? `${int(read)} read; a prefix leads further` : more ? `${int(read)} read so far` : ''}</span>
        <span class="keysay"><kbd>j</kbd> <kbd>k</kbd> move &nbsp; <kbd>Enter</kbd> open</span>
      </div>
    </>
  )
}

function Nothing({ model, wrong }: { model: StreamModel; wrong: string }): JSX.Element {
  const narrowed = model.prefix !== '' || model.filter.length > 0
  if (wrong) return <div role="presentation" class="nothing problem">{wrong}</div>
  if (model.problem) return <div class="nothing" role="alert"><strong>The keys did not come.</strong> {model.problem.message} <button class="btn" type="button" onClick={() => model.again()}>Ask again</button></div>
  if (!model.loaded) return <div role="presentation" class="nothing" aria-busy="true"><i class="ghost w40" /></div>
  return <div role="presentation" class="nothing">{narrowed ? 'No key here matches.' : 'No key yet. The first record of this stream brings one.'}</div>
}

function Row({ h, row, size, selected = false, focus = false, onSelect }: { h: Held; row: number; size: number; selected?: boolean; focus?: boolean; onSelect: () => void; rev: number }): JSX.Element {
  const e = h.entity
  const self = useRef<HTMLDivElement>(null)
  useEffect(() => { if (focus) self.current!.focus({ preventScroll: true }) }, [])
  const value = useRef<HTMLElement>(null)
  const last = useRef({ key: e.key, changes: h.changes })
  useLayoutEffect(() => {
    if (last.current.key === e.key && last.current.changes !== h.changes) flash(value.current)
    last.current = { key: e.key, changes: h.changes }
  }, [e.key, h.changes])
  const widest = useRef({ of: '', chars: 0 })
  const [before, leaf, after] = e.deleted ? ['', '', ''] : preview(e.value, h.path)
  const of = `${e.key}\0${h.path}`
  widest.current = { of, chars: Math.max(widest.current.of === of ? widest.current.chars : 0, leaf.length) }
  return (
    <div class="row" role="row" ref={self} tabIndex={selected ? 0 : -1} aria-rowindex={row + 1} aria-selected={selected} style={{ transform: `translateY(${row * size}px)` }} onClick={onSelect}>
      <span class="ky" role="gridcell"><a href={keyPath(e.stream, e.key)} tabIndex={-1} title={e.key}>{e.key}</a></span>
      <span class="val" role="gridcell">{e.deleted ? <span class="t-fault">removed</span> : <span key={of}>{before}<b ref={value} style={{ minWidth: `${widest.current.chars}ch` }}>{leaf}</b>{after}</span>}</span>
      <span class="ver" role="gridcell"><Cell text={int(e.version)} of={e.key} strong /></span>
      <span class="pos" role="gridcell">{e.position}</span>
      <span class="ag" role="gridcell"><Age at={e.updated} /></span>
      <span class="sk" role="gridcell">{h.skipped ? int(h.skipped) : ''}</span>
    </div>
  )
}

/** A room for each row in view, asked from the position its row holds, left five seconds after. */
function useRoomsInView(model: StreamModel, keys: string[]): void {
  const wanted = useRef(keys)
  wanted.current = keys
  useEffect(() => {
    if (model.fed !== 'list') return
    const open = new Map<string, () => void>()
    const stop = every(ROOMS_MS, () => {
      const now = new Set(wanted.current)
      for (const [key, leave] of open) {
        if (now.has(key)) continue
        leave()
        open.delete(key)
      }
      for (const key of now) {
        const h = model.held.get(key)
        if (!h || open.has(key)) continue
        open.set(key, link.open(`${model.stream}/${key}`, model.hearKey(key), { since: h.entity.position, linger_ms: LINGER_MS }))
      }
    }, { always: true })
    return () => {
      stop()
      for (const leave of open.values()) leave()
    }
  }, [model])
}
