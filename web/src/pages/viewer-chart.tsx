// The number of a value over time: the figure, its path, the range, the line, and the same as a
// table. Invariant: its place is kept once a number was seen. Drawing is in parts/chart.tsx.
import type { JSX } from 'preact'
import { useLayoutEffect, useRef, useState } from 'preact/hooks'
import { figure, int, plural, time } from '../fmt'
import { at, spoken } from '../json/leaves'
import { useKeys } from '../keys'
import { serverNow } from '../live/clock'
import { said } from '../live/status'
import { flash } from '../paint'
import { Chart, type ChartData, type Point } from '../parts/chart'
import type { ViewerModel } from './viewer-model'

const RANGES = [1, 5, 15]
const ROWS = 12

function points(model: ViewerModel, path: string): Point[] {
  const out: Point[] = []
  let gap = false
  for (const s of model.samples) {
    const v = s.numbers.get(path)
    gap = gap || s.gap
    if (v === undefined) {
      gap = true
      continue
    }
    out.push({ t: s.t, v, skipped: s.skipped, gap, version: s.version, position: s.position })
    gap = false
  }
  return out
}

export function NumberOverTime({ model }: { model: ViewerModel; rev: number }): JSX.Element | null {
  const [range, setRange] = useState(1)
  const [table, setTable] = useState(false)
  const [fit, setFit] = useState(0)
  const seen = useRef<ViewerModel | null>(null)
  useKeys({ t: () => setTable(!table) })
  const path = model.pin
  if (path !== null) seen.current = model
  if (path === null && seen.current !== model) {
    // A key that is not there yet may bring a number: its place is kept, so that nothing moves then.
    return model.phase === 'waiting' || model.phase === 'absent' ? <div class="section number kept" aria-hidden="true" /> : null
  }
  const shown = path ?? ''
  const all = points(model, shown)
  const now = model.entity && !model.entity.deleted ? at(model.entity.value, shown) : undefined
  const last = all[all.length - 1]
  const was = all[all.length - 2]
  const data = (): ChartData => {
    const to = serverNow()
    const s = said.value
    return {
      series: [{ color: 'data', points: points(model, shown) }], marks: model.marks, from: to - range * 60_000, to,
      known: s.present && s.word !== 'paused' ? to : s.word === 'paused' ? to : s.as_of, holds: model.phase === 'here', quiet: !s.present
    }
  }
  const values = all.map((p) => p.v)
  const label = last ? `${spoken(shown) || 'value'}, last ${range} minutes: latest ${last.v}, least ${Math.min(...values)}, most ${Math.max(...values)} of ${plural(all.length, 'version')}` : 'no number yet'
  return (
    <section class="section number" aria-labelledby="h-chart">
      <div class="hero">
        <Big text={typeof now === 'number' ? figure(now) : '\u2013'} of={shown} />
        <h2 id="h-chart" class="path">{spoken(shown) || 'value'}</h2>
        <span class="was">{was && last && was.v !== last.v ? `was ${figure(was.v)}` : ''}</span>
        <div class="tabs" role="group" aria-label="Range">
          {RANGES.map((r) => <button key={r} type="button" aria-pressed={r === range} onClick={() => { setRange(r); setFit(fit + 1) }}>{r} min</button>)}
          <button type="button" onClick={() => setFit(fit + 1)} title="The axis grows by itself and shrinks only here">Fit</button>
          <button type="button" aria-pressed={table} onClick={() => setTable(!table)} title="t">Table</button>
        </div>
      </div>
      {table ? <Table all={all} name={spoken(shown) || 'value'} /> : <Chart data={data} height={204} label={label} fit={fit} />}
      <div class="legend" aria-hidden="true">
        <span><svg width="22" height="8"><path class="ln-data" d="M1 4h20" /></svg>every version</span>
        <span><svg width="22" height="8"><path class="ln-dots" d="M1 4h20" /></svg>versions skipped between two points</span>
        <span><svg width="12" height="10"><path class="ln-sync" d="M6 0v10" /></svg>resync</span>
        <span><svg width="16" height="10"><path class="ln-hatch" d="M0 10L10 0M6 10L16 0" /></svg>not known</span>
      </div>
    </section>
  )
}

function Big({ text, of }: { text: string; of: string }): JSX.Element {
  const ref = useRef<HTMLOutputElement>(null)
  const last = useRef({ text, of })
  const widest = useRef(0)
  widest.current = Math.max(last.current.of === of ? widest.current : 0, text.length)
  useLayoutEffect(() => {
    if (last.current.of === of && last.current.text !== text) flash(ref.current, true)
    last.current = { text, of }
  }, [text, of])
  return <output ref={ref} id="big" aria-live="off" style={{ minWidth: `${widest.current + 0.4}ch` }}>{text}</output>
}

const Table = ({ all, name }: { all: Point[]; name: string }): JSX.Element => (
  <div class="as-table">
    <table class="t"><caption class="sr">{name} by version, newest first</caption>
      <thead><tr><th scope="col">Time, UTC</th><th scope="col" class="r">Version</th><th scope="col" class="r">{name}</th><th scope="col" class="r">Skipped before</th></tr></thead>
      <tbody>{all.slice(-ROWS * 5).reverse().map((p) => <tr key={p.version}><td>{time(p.t, 3)}</td><td class="r">{int(p.version ?? 0)}</td><td class="r">{figure(p.v)}</td><td class="r">{p.gap ? 'resync' : p.skipped ? int(p.skipped) : ''}</td></tr>)}</tbody>
    </table>
  </div>
)
