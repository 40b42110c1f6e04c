// Pages fed by HTTP: ask each second, never two at once, not while the tab is hidden. Invariant:
// such a page is called Polled, never Live; what came last stays when an answer fails.
import { useEffect, useRef } from 'preact/hooks'
import { ProblemError } from '../api'
import { heardTime } from './clock'
import { polling } from './status'

const EVERY_MS = 1_000
const REFUSED_MS = 10_000

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
    let not_before = 0
    const turn = async (): Promise<void> => {
      if (busy || document.hidden || performance.now() < not_before) return
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
        // Refused is answered: the server is there and says no.
        const refused = e instanceof ProblemError && e.status >= 400 && e.status < 500
        if (refused) not_before = performance.now() + REFUSED_MS
        if (refused) polling.value = { ok_at: performance.now(), failures: 0, answered_ms: performance.now() - sent }
        else polling.value = { ok_at: was?.ok_at ?? 0, failures: (was?.failures ?? 0) + 1, answered_ms: was?.answered_ms ?? 0 }
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
