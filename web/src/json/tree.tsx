// The tree of a JSON value: one line per leaf, the changed leaf flashes and says what it was.
// Invariant: lines are placed, never pushed, so a change of shape moves nothing else on the page;
// only lines in view exist. Folding and pinning are the reader's.
import type { JSX } from 'preact'
import { useLayoutEffect, useMemo, useRef, useState } from 'preact/hooks'
import type { Json } from '../wire'
import { flash } from '../paint'
import { folds, lines, type Line } from './lines'

export const LINE_PX = 21
const PAD_PX = 10
const SPARE = 12
const TEXT_MAX = 2_000

const shown = (v: Json): string => {
  const text = JSON.stringify(v)
  const wide = typeof v === 'number' && Number.isInteger(v) && !Number.isSafeInteger(v) ? '\u2248' : ''
  return wide + (text.length > TEXT_MAX ? `${text.slice(0, TEXT_MAX)}\u2026` : text)
}

function Leaf({ line, was, version }: { line: Line; was: { value: Json | undefined } | null; version: number }): JSX.Element {
  const ref = useRef<HTMLSpanElement>(null)
  useLayoutEffect(() => { if (was) flash(ref.current, true) }, [version, !!was])
  const v = line.value
  const text = shown(v)
  // As wide as its widest text so far, so that what stands behind it keeps its place.
  const widest = useRef(0)
  widest.current = typeof v === 'number' ? Math.max(widest.current, text.length) : 0
  return (
    <>
      <span ref={ref} class={`v ${typeof v === 'string' ? 's' : typeof v === 'boolean' ? 'b' : ''}`} style={{ minWidth: widest.current ? `${widest.current}ch` : '' }}>{text}</span>
      {line.comma && <span class="p">,</span>}
      {line.gone ? <span class="was">gone</span> : was && <span class="was">{was.value === undefined ? 'new' : `was ${shown(was.value).slice(0, 60)}`}</span>}
    </>
  )
}

export function Tree({ value, before, was, version, pin, onPin }: {
  value: Json; before: Json | undefined; was: ReadonlyMap<string, Json | undefined>; version: number; pin: string | null; onPin: (path: string) => void
}): JSX.Element {
  const [folded, setFolded] = useState<Set<string>>(() => folds(value))
  const [top, setTop] = useState(0)
  const [tall, setTall] = useState(600)
  const box = useRef<HTMLDivElement>(null)
  const all = useMemo(() => lines(value, folded, before), [value, folded, before])
  useLayoutEffect(() => {
    const el = box.current!.parentElement!
    const look = (): void => { setTop(el.scrollTop); setTall(el.clientHeight) }
    look()
    el.addEventListener('scroll', look, { passive: true })
    const size = new ResizeObserver(look)
    size.observe(el)
    return () => { el.removeEventListener('scroll', look); size.disconnect() }
  }, [])
  const from = Math.max(0, Math.floor(top / LINE_PX) - SPARE)
  const to = Math.min(all.length, Math.ceil((top + tall) / LINE_PX) + SPARE)
  const toggle = (path: string): void => {
    const next = new Set(folded)
    if (!next.delete(path)) next.add(path)
    setFolded(next)
  }
  const wide = all.reduce((n, l) => Math.max(n, l.depth * 2 + (l.name?.length ?? 0) + (l.kind === 'leaf' ? Math.min(TEXT_MAX, JSON.stringify(l.value).length) : 20)), 0)
  return (
    <div class="tree" ref={box} style={{ height: `${all.length * LINE_PX + 2 * PAD_PX}px`, minWidth: wide > 60 ? `${wide + 14}ch` : '' }}>
      <ol class="json">
        {all.slice(from, to).map((line, i) => {
          const n = from + i
          const number = line.kind === 'leaf' && typeof line.value === 'number' && !line.gone
          const has = line.kind === 'leaf' && was.has(line.path)
          return (
            <li key={`${line.path} ${line.kind}`} data-n={n + 1} style={{ transform: `translateY(${n * LINE_PX + PAD_PX}px)` }}
              class={`${number ? 'num' : ''} ${line.gone ? 'gone' : ''} ${number && line.path === pin ? 'hot' : ''}`}
              title={number ? 'Show this number in the chart' : undefined} onClick={number ? () => onPin(line.path) : undefined}>
              <span>{'  '.repeat(line.depth)}</span>
              {line.name !== null && <><span class="k">{JSON.stringify(line.name)}</span><span class="p">: </span></>}
              {line.kind === 'leaf' && <Leaf line={line} was={has ? { value: was.get(line.path) } : null} version={version} />}
              {line.kind === 'open' && <span class="p">{Array.isArray(line.value) ? '[' : '{'}</span>}
              {line.kind === 'close' && <span class="p">{Array.isArray(line.value) ? ']' : '}'}{line.comma ? ',' : ''}</span>}
              {line.kind === 'folded' && <><button type="button" class="fold" onClick={() => toggle(line.path)}>{Array.isArray(line.value) ? `[ ${line.value.length} elements ]` : `{ ${Object.keys(line.value as object).length} names }`}</button>{line.comma && <span class="p">,</span>}</>}
            </li>
          )
        })}
      </ol>
    </div>
  )
}
