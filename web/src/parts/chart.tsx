// A line over time on uPlot, which gives scales, axes and the cursor; the lines are drawn here, for
// they must tell: solid is every version seen, dotted is skipped, a break is a resync, hatching is
// not known. Invariant: no line is drawn as if whole. Not where samples are kept.
import type { JSX } from 'preact'
import { useEffect, useRef } from 'preact/hooks'
import uPlot from 'uplot'
import { figure, time } from '../fmt'
import { every } from '../paint'

export interface Point { t: number; v: number; skipped?: number; gap?: boolean; version?: number; position?: string | null }
export interface Series { color: 'data' | 'data-2' | 'data-3'; points: Point[]; tag?: string }
export interface ChartData {
  series: Series[]
  marks: { t: number; label: string }[]
  from: number
  to: number
  /** The last moment known; what is later is hatched. */
  known: number
  /** Whether the last value is held until `known` (state), not only sampled. */
  holds: boolean
  /** Drawn without its colour: the page does not speak in the present. */
  quiet?: boolean
}

const REDRAW_MS = 500
const SPARSE_MS = 5_000
const family = (): string => getComputedStyle(document.body).fontFamily

type Colours = Record<'data' | 'data-2' | 'data-3' | 'line' | 'ink-3' | 'sync' | 'warn' | 'control', string>

/** A canvas cannot read var(); a probe element can. */
function colours(): Colours {
  const probe = document.createElement('i')
  document.body.append(probe)
  const read = (name: string): string => {
    probe.style.color = `var(--${name})`
    return getComputedStyle(probe).color
  }
  const out = { data: read('data'), 'data-2': read('data-2'), 'data-3': read('data-3'), line: read('line'), 'ink-3': read('ink-3'), sync: read('sync'), warn: read('warn'), control: read('control') }
  probe.remove()
  return out
}

export function Chart({ data, height, label, right = 56, zero = false, fit = 0 }: { data: () => ChartData; height: number; label: string; right?: number; zero?: boolean; fit?: number }): JSX.Element {
  const host = useRef<HTMLDivElement>(null)
  const tip = useRef<HTMLDivElement>(null)
  const source = useRef(data)
  source.current = data
  const domain = useRef<[number, number] | null>(null)
  useEffect(() => { domain.current = null }, [fit])
  useEffect(() => {
    const el = host.current!
    let c = colours()
    let d = source.current()
    const plot = new uPlot({
      width: Math.max(120, el.clientWidth), height, padding: [14, right, 0, 8], legend: { show: false },
      cursor: { y: false, points: { show: false }, drag: { x: false, y: false, setScale: false } },
      scales: { x: { time: false, range: () => [d.from, d.to] }, y: { range: () => domain.current ?? [0, 1] } },
      series: [{}, { show: true, paths: () => null, points: { show: false } }],
      axes: [
        { stroke: () => c['ink-3'], font: `11px ${family()}`, size: 24, gap: 4, space: 76, grid: { show: false }, ticks: { stroke: () => c.control, size: 4, width: 1 }, incrs: [5e3, 15e3, 30e3, 60e3, 120e3, 180e3, 300e3, 600e3, 900e3], values: (_u, at, _a, _s, step) => at.map((t) => time(t, 0, t).slice(0, step < 60e3 ? 8 : 5)) },
        { side: 1, stroke: () => c['ink-3'], font: `11px ${family()}`, size: 0, gap: 0, space: 40, splits: (u) => ticks(u.scales.y!.min!, u.scales.y!.max!), grid: { stroke: () => c.line, width: 1 }, ticks: { show: false }, values: () => [] }
      ],
      hooks: { draw: [(u) => paint(u, d, c, right)], setCursor: [(u) => point(u, d, tip.current!)] }
    }, [[0, 1], [0, 1]], el)
    const redraw = (): boolean => {
      d = source.current()
      domain.current = grow(domain.current, d, zero)
      plot.setData([[d.from, d.to], [0, 1]], false)
      plot.setScale('x', { min: d.from, max: d.to })
      return true
    }
    redraw()
    const stop = every(REDRAW_MS, redraw)
    const resize = new ResizeObserver(() => plot.setSize({ width: Math.max(120, el.clientWidth), height }))
    resize.observe(el)
    const recolour = (): void => { c = colours(); plot.redraw(false) }
    const theme = new MutationObserver(recolour)
    theme.observe(document.documentElement, { attributes: true, attributeFilter: ['data-theme'] })
    const scheme = matchMedia('(prefers-color-scheme: dark)')
    scheme.addEventListener('change', recolour)
    return () => { stop(); resize.disconnect(); theme.disconnect(); scheme.removeEventListener('change', recolour); plot.destroy() }
  }, [height, right, zero])
  return (
    <div class="plot" role="img" aria-label={label} style={{ height: `${height}px` }}>
      <div ref={host} />
      <div class="plot-tip" ref={tip} hidden />
    </div>
  )
}

/** An axis grows at once and never shrinks by itself. */
function grow(was: [number, number] | null, d: ChartData, zero: boolean): [number, number] {
  let lo = Infinity
  let hi = -Infinity
  for (const s of d.series) {
    s.points.forEach((p, i) => {
      const next = s.points[i + 1]
      if (p.t > d.to || (p.t < d.from && next && next.t < d.from)) return
      lo = Math.min(lo, p.v)
      hi = Math.max(hi, p.v)
    })
  }
  if (!Number.isFinite(lo)) return was ?? [0, 1]
  if (zero) lo = Math.min(0, lo)
  if (was && lo >= was[0] && hi <= was[1]) return was
  const room = (hi - lo) * 0.12 || Math.abs(hi) * 0.05 || 1
  const next: [number, number] = [zero && lo === 0 ? 0 : lo - room, hi + room]
  return was ? [Math.min(was[0], lo < was[0] ? next[0] : was[0]), Math.max(was[1], hi > was[1] ? next[1] : was[1])] : next
}

function paint(u: uPlot, d: ChartData, c: Colours, right: number): void {
  const ctx = u.ctx
  const k = devicePixelRatio || 1
  const { left, top, width, height } = u.bbox
  const x = (t: number): number => u.valToPos(t, 'x', true)
  const y = (v: number): number => u.valToPos(v, 'y', true)
  ctx.save()
  ctx.font = `${11 * k}px ${family()}`
  ctx.textBaseline = 'middle'
  ctx.fillStyle = c['ink-3']
  const tagged = d.series.some((s) => s.tag)
  for (const v of ticks(u.scales.y!.min!, u.scales.y!.max!)) {
    if (tagged) ctx.fillText(figure(v), left, y(v) - 7 * k)
    else ctx.fillText(figure(v), left + width + 8 * k, y(v))
  }
  ctx.beginPath()
  ctx.rect(left, 0, width + right * k, top + height)
  ctx.clip()
  hatch(ctx, d, c, x, top, height, k)
  for (const m of d.marks) {
    if (m.t < d.from || m.t > d.to) continue
    ctx.strokeStyle = c.sync
    ctx.lineWidth = k
    ctx.setLineDash([3 * k, 3 * k])
    ctx.beginPath()
    ctx.moveTo(x(m.t), top - 10 * k)
    ctx.lineTo(x(m.t), top + height)
    ctx.stroke()
    ctx.fillStyle = c.sync
    ctx.fillText(m.label, x(m.t) + 5 * k, top - 5 * k)
  }
  for (const s of d.series) line(ctx, s, d, d.quiet ? c['ink-3'] : c[s.color], x, y, left, k)
  ctx.restore()
}

function line(ctx: CanvasRenderingContext2D, s: Series, d: ChartData, colour: string, x: (t: number) => number, y: (v: number) => number, left: number, k: number): void {
  ctx.strokeStyle = colour
  ctx.fillStyle = colour
  ctx.lineJoin = 'round'
  ctx.lineCap = 'round'
  const draw = (from: Point, to: Point, dotted: boolean): void => {
    ctx.setLineDash(dotted ? [k, 4 * k] : [])
    ctx.lineWidth = (dotted ? 1.8 : 1.6) * k
    ctx.beginPath()
    ctx.moveTo(Math.max(left, x(from.t)), y(from.v))
    if (d.holds && to.t - from.t > SPARSE_MS) ctx.lineTo(x(to.t), y(from.v))
    ctx.lineTo(x(to.t), y(to.v))
    ctx.stroke()
  }
  const dot = (p: Point, r: number): void => {
    ctx.beginPath()
    ctx.arc(x(p.t), y(p.v), r * k, 0, 7)
    ctx.fill()
  }
  for (let i = 0; i < s.points.length; i++) {
    const p = s.points[i]!
    const was = s.points[i - 1]
    if (p.t < d.from) continue
    if (!was || p.gap) dot(p, 2)
    else draw(was.t < d.from ? { ...was, t: d.from, v: d.holds || p.t === was.t ? was.v : was.v + ((p.v - was.v) * (d.from - was.t)) / (p.t - was.t) } : was, p, (p.skipped ?? 0) > 0)
  }
  const last = s.points[s.points.length - 1]
  if (!last) return
  const end = d.holds ? { ...last, t: Math.min(d.to, Math.max(last.t, d.known)) } : last
  if (d.holds && end.t > last.t) draw({ ...last, t: Math.max(last.t, d.from) }, end, false)
  dot(end, 3)
  if (s.tag) {
    ctx.font = `600 ${12 * k}px ${family()}`
    ctx.fillText(s.tag, x(end.t) + 9 * k, y(end.v))
  }
}

function hatch(ctx: CanvasRenderingContext2D, d: ChartData, c: Colours, x: (t: number) => number, top: number, height: number, k: number): void {
  const from = x(Math.max(d.known, d.from))
  const to = x(d.to)
  if (to - from < 2 * k) return
  ctx.save()
  ctx.beginPath()
  ctx.rect(from, top, to - from, height)
  ctx.clip()
  ctx.strokeStyle = c.warn
  ctx.globalAlpha = 0.45
  ctx.lineWidth = k
  ctx.beginPath()
  for (let s = from - height; s < to; s += 8 * k) {
    ctx.moveTo(s, top + height)
    ctx.lineTo(s + height, top)
  }
  ctx.stroke()
  ctx.restore()
}

function ticks(lo: number, hi: number): number[] {
  const raw = (hi - lo) / 4
  if (!(raw > 0)) return []
  const power = 10 ** Math.floor(Math.log10(raw))
  const step = [1, 2, 2.5, 5, 10].map((m) => m * power).find((s) => s >= raw) ?? raw
  const out: number[] = []
  for (let v = Math.ceil(lo / step) * step; v <= hi; v += step) out.push(Number(v.toPrecision(12)))
  return out
}

function point(u: uPlot, d: ChartData, tip: HTMLDivElement): void {
  const at = u.cursor.left ?? -1
  const series = d.series[0]
  if (at < 0 || !series || series.points.length === 0) {
    tip.hidden = true
    return
  }
  const t = u.posToVal(at, 'x')
  const near = d.holds
    ? (series.points.findLast((p) => p.t <= t) ?? series.points[0]!)
    : series.points.reduce((a, b) => (Math.abs(b.t - t) < Math.abs(a.t - t) ? b : a))
  const same = d.series.map((s) => s.points.find((p) => p.t === near.t)?.v).filter((v) => v !== undefined)
  tip.hidden = false
  tip.textContent = `${same.map(figure).join(', ')}${near.version ? `  v${near.version}` : ''}${near.position ? `  ${near.position}` : ''}  ${time(near.t, 1)}`
  const wide = tip.offsetWidth
  tip.style.transform = `translateX(${Math.round(Math.min(Math.max(0, at - wide / 2), u.width - wide))}px)`
}
