// Text that moves: a cell that flashes when its text changes, and an age that counts on by itself.
// Invariant: only text that differs is written. Neither knows where its value comes from.
import type { JSX } from 'preact'
import { useLayoutEffect, useRef } from 'preact/hooks'
import { age, fineAge, local, time } from '../fmt'
import { serverNow } from '../live/clock'
import { every, flash } from '../paint'

/** `of` names what is shown: another one takes the cell over without a flash. */
export function Cell({ text, of = '', strong = false, class: cls, title }: { text: string; of?: string; strong?: boolean; class?: string; title?: string }): JSX.Element {
  const ref = useRef<HTMLSpanElement>(null)
  const last = useRef({ text, of })
  useLayoutEffect(() => {
    if (last.current.of === of && last.current.text !== text) flash(ref.current, strong)
    last.current = { text, of }
  }, [text, of])
  return <span ref={ref} class={cls} title={title}>{text}</span>
}

interface Shown { at: number; fine: boolean; written: string }
const ages = new Map<HTMLElement, Shown>()

function write(el: HTMLElement, shown: Shown): boolean {
  const past = serverNow() - shown.at
  const text = Number.isFinite(shown.at) ? (shown.fine ? fineAge(past) : age(past)) : ''
  if (text === shown.written) return false
  el.textContent = text
  shown.written = text
  return true
}

every(200, () => {
  let wrote = false
  for (const [el, shown] of ages) if (shown.fine && serverNow() - shown.at < 10_000) wrote = write(el, shown) || wrote
  return wrote
})
every(1_000, () => {
  let wrote = false
  for (const [el, shown] of ages) wrote = write(el, shown) || wrote
  return wrote
})

/** How long ago by the server's clock. It goes on counting when the line is cut. */
export function Age({ at, fine = false, class: cls }: { at: string | undefined; fine?: boolean; class?: string }): JSX.Element {
  const ref = useRef<HTMLSpanElement>(null)
  useLayoutEffect(() => {
    const el = ref.current!
    const shown = { at: at ? Date.parse(at) : NaN, fine, written: ages.get(el)?.written ?? '' }
    ages.set(el, shown)
    write(el, shown)
  }, [at, fine])
  useLayoutEffect(() => {
    const el = ref.current!
    return () => { ages.delete(el) }
  }, [])
  return <span ref={ref} class={cls} />
}

/** A moment in UTC, with the reader's own time in the title. */
export const At = ({ at, digits = 0 }: { at: string | number | undefined; digits?: number }): JSX.Element => {
  const t = typeof at === 'number' ? at : at ? Date.parse(at) : NaN
  return <span title={local(t)}>{time(t, digits)}</span>
}
