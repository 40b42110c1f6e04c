// When the page is written to: one beat every 100 ms at most, in one animation frame, nothing while
// the tab is hidden, nothing but the connection's own words while the reader paused.
// Invariant: receiving never waits for painting. Not where values are kept.
import { useEffect, useReducer } from 'preact/hooks'
import { signal } from '@preact/signals'

interface Job { every: number; due: number; always: boolean; run: () => boolean | void }

export const BEAT_MS = 100
const jobs = new Set<Job>()
let timer: ReturnType<typeof setInterval> | null = null
let frame = 0

/** When the reader paused (performance clock), 0 while the page paints. */
export const pausedAt = signal(0)
/** Paints done, for the strip. */
export const paints = { count: 0 }

/** Runs `run` on the beat. It answers true where it wrote something. */
export function every(ms: number, run: () => boolean | void, o: { always?: boolean } = {}): () => void {
  const job: Job = { every: ms, due: 0, always: o.always ?? false, run }
  jobs.add(job)
  timer ??= setInterval(() => { if (!document.hidden) frame ||= requestAnimationFrame(beat) }, BEAT_MS)
  return () => { jobs.delete(job) }
}

function beat(now: number): void {
  frame = 0
  let wrote = false
  for (const job of jobs) {
    if (now < job.due || (pausedAt.value && !job.always)) continue
    job.due = now + job.every - 8
    try {
      if (job.run() === true) wrote = true
    } catch (e) {
      console.error('a paint failed', e)
    }
  }
  if (wrote) paints.count++
}

export function togglePause(): void {
  pausedAt.value = pausedAt.value ? 0 : performance.now()
}

/** Renders the calling component on the beat, whenever `drain` took in something new. The answer
 *  counts the paints: children that read a model take it as a prop, or they would be left out. */
export function usePaint(drain: () => boolean, ms = BEAT_MS, deps: unknown[] = []): number {
  const [painted, again] = useReducer((n: number) => n + 1, 0)
  useEffect(() => every(ms, () => {
    if (!drain()) return false
    again(0)
    return true
  }), deps)
  return painted
}

export const calm = (): boolean => matchMedia('(prefers-reduced-motion: reduce)').matches

let flashing = 0
const FLASH_MS = 1_400
const CROWD = 10

/** Marks what just changed. In a crowd only `strong` cells flash. */
export function flash(el: Element | null, strong = false): void {
  if (!el || document.hidden || (flashing > CROWD && !strong)) return
  if (calm()) {
    el.classList.add('changed')
    setTimeout(() => el.classList.remove('changed'), FLASH_MS)
    return
  }
  for (const a of el.getAnimations()) if (a.id === 'flash') a.cancel()
  const a = el.animate(
    [{ backgroundColor: 'var(--flash)' }, { backgroundColor: 'var(--flash)', offset: 0.15 }, { backgroundColor: 'transparent' }],
    { duration: FLASH_MS, easing: 'ease-out' })
  a.id = 'flash'
  flashing++
  let gone = false
  const end = (): void => { if (!gone) { gone = true; flashing-- } }
  a.onfinish = end
  a.oncancel = end
}
