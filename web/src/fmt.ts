// Numbers, ages and times in words of a fixed shape, so that a column never changes its width by
// surprise. Pure. Not a place for sentences: those stand with the page that says them.

const WHOLE = new Intl.NumberFormat('en-US', { maximumFractionDigits: 0 })
const NB = '\u00a0'

export const int = (n: number): string => WHOLE.format(Math.round(n))

/** A rate: one decimal while it is small, none once it is large. */
export const rate = (n: number): string => (n >= 100 ? int(n) : n.toFixed(1))

/** Milliseconds: three figures at most, so 0.42, 4.2, 42, 420. */
export const ms = (n: number): string => (n < 1 ? n.toFixed(2) : n < 10 ? n.toFixed(1) : int(n))

export function age(milliseconds: number): string {
  const t = Math.max(0, milliseconds)
  if (t < 1_000) return 'now'
  if (t < 60_000) return `${Math.floor(t / 1_000)}${NB}s`
  if (t < 3_600_000) return `${Math.floor(t / 60_000)}${NB}min`
  if (t < 172_800_000) return `${Math.floor(t / 3_600_000)}${NB}h`
  return `${Math.floor(t / 86_400_000)}${NB}d`
}

/** An age with a decimal below ten seconds, where a tenth can still be read. */
export function fineAge(milliseconds: number): string {
  const t = Math.max(0, milliseconds)
  return t < 10_000 ? `${(t / 1_000).toFixed(1)}${NB}s` : age(t)
}

/** Time of day in UTC, with `digits` decimals of a second. Another day shows its date. */
export function time(at: number, digits = 0, today = Date.now()): string {
  if (!Number.isFinite(at)) return ''
  const iso = new Date(at).toISOString()
  const clock = iso.slice(11, digits ? 20 + digits : 19)
  return Math.abs(today - at) < 64_800_000 || iso.slice(0, 10) === new Date(today).toISOString().slice(0, 10)
    ? clock
    : `${iso.slice(5, 10)} ${iso.slice(11, 16)}`
}

/** The same moment where the reader is, for a title. */
export const local = (at: number): string => (Number.isFinite(at) ? new Date(at).toLocaleString() : '')

export function bytes(n: number): string {
  if (n < 1_024) return `${int(n)} bytes`
  if (n < 1_048_576) return `${(n / 1_024).toFixed(n < 10_240 ? 1 : 0)} KiB`
  return `${(n / 1_048_576).toFixed(n < 10_485_760 ? 1 : 0)} MiB`
}

export const plural = (n: number, one: string, many = `${one}s`): string => `${int(n)} ${n === 1 ? one : many}`

/** A number as a leaf or a big figure shows it: as JSON has it, unless that is unreadably long. */
export function figure(n: number): string {
  const exact = String(n)
  if (exact.length <= 10) return exact
  return Number.isInteger(n) && Math.abs(n) < 1e15 ? int(n) : String(Number(n.toPrecision(7)))
}
