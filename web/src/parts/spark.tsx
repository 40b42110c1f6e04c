// Sparkline of the last sixty seconds (or of as many steps as `span` says) and the comb of lag, one tooth a partition. Invariant: both
// keep their size whatever the values. No axes: the figures stand beside them.
import type { JSX } from 'preact'
import { int, rate } from '../fmt'

export const SECONDS = 60

export function Spark({ values, tone = '', label, width = 132, height = 26, span = SECONDS }: { values: number[]; span?: number; tone?: '' | 'held' | 'still'; label?: string; width?: number; height?: number }): JSX.Element {
  const top = Math.max(1, ...values) * 1.15
  const x = (i: number): number => 1 + ((span - values.length + i) * (width - 6)) / (span - 1)
  const y = (v: number): number => height - 2 - (v / top) * (height - 5)
  const line = values.map((v, i) => `${i ? 'L' : 'M'}${x(i).toFixed(1)} ${y(v).toFixed(1)}`).join('')
  const last = values.length - 1
  return (
    <svg class={`spark ${tone}`} width={width} height={height} viewBox={`0 0 ${width} ${height}`} role="img"
      aria-label={label ?? `records per second, last minute: now ${rate(values[last] ?? 0)}, most ${rate(Math.max(0, ...values))}`}>
      <path class="base" d={`M1 ${height - 1.5}H${width - 5}`} />
      <path class="line" d={line} />
      {last >= 0 && <circle r={tone === 'held' ? 3 : 2} cx={x(last).toFixed(1)} cy={y(values[last]!).toFixed(1)} />}
    </svg>
  )
}

const TOOTH = 7
const FAR = 1_000

export function Comb({ lags, held }: { lags: number[]; held: boolean }): JSX.Element {
  const shown = lags.slice(0, 12)
  const height = 22
  const tall = (lag: number): number => (lag < 1 ? 2 : 2 + Math.min(20, Math.log10(lag + 1) * 4))
  return (
    <svg class="comb" width={shown.length * TOOTH} height={height} viewBox={`0 0 ${Math.max(1, shown.length * TOOTH)} ${height}`} role="img"
      aria-label={`lag per partition: ${lags.map(int).join(', ')}`}>
      <title>One tooth per partition, log scale</title>
      {shown.map((lag, i) => (
        <rect key={i} x={i * TOOTH} y={(height - tall(lag)).toFixed(1)} width="5" height={tall(lag).toFixed(1)} rx="1"
          class={held && lag > 0 ? 'held' : lag > FAR ? 'far' : lag < 1 ? 'zero' : ''} />
      ))}
    </svg>
  )
}
