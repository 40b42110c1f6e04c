// Pages fed by HTTP: ask each second, never two at once, not while the tab is hidden. Invariant:
// such a page is called Polled, never Live; what came last stays when an answer fails.
import { useEffect, useRef } from 'preact/hooks'
import { heardTime } from './clock'
import { polling } from './status'

const EVERY_MS = 1_000

export interface Polled<T> { data: T | null; fresh: boolean; problem: Error | null }

/** Asks `ask` each second while the calling page is open. The page paints when `fresh` is set. */
export function usePoll<T extends { at?: string }>(ask: (signal: AbortSignal) => Promise<T>): Polled<T> {
  const state = useRef<Polled<T>>({ data: null, fresh: false, problem: null })
  const how = useRef(ask)
  how.current = ask
  useEffect(() => {
    const abort = new AbortController()
    polling.value = { ok_at: 0, failures: 0, answered_ms: 0 }
    let busy = false
    const turn = async (): Promise<void> => {
      if (busy || document.hidden) return
      busy = true
      const sent = performance.now()
      const said = Date.now()
      try {
        const data = await how.current(abort.signal)
        heardTime(data.at, said, Date.now())
        Object.assign(state.current, { data, fresh: true, problem: null })
        polling.value = { ok_at: performance.now(), failures: 0, answered_ms: performance.now() - sent }
      } catch (e) {
        if (abort.signal.aborted) return
        Object.assign(state.current, { problem: e as Error, fresh: true })
        const was = polling.value
        polling.value = { ok_at: was?.ok_at ?? 0, failures: (was?.failures ?? 0) + 1, answered_ms: was?.answered_ms ?? 0 }
      } finally {
        busy = false
      }
    }
    void turn()
    const timer = setInterval(() => void turn(), EVERY_MS)
    return () => { clearInterval(timer); abort.abort(); polling.value = null }
  }, [])
  return state.current
}

export const taken = <T,>(p: Polled<T>): boolean => {
  const fresh = p.fresh
  p.fresh = false
  return fresh
}
