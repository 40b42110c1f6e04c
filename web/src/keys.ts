// The keyboard: single keys of the page in view, `g` then a letter to go, and the switch that turns
// single keys off (WCAG 2.1.4). Invariant: nothing is taken while the reader types in a field.
import { signal } from '@preact/signals'
import { useLayoutEffect } from 'preact/hooks'

export type Keys = Record<string, (e: KeyboardEvent) => void>

const STORED = 'statecast-single-keys'
const CHORD_MS = 1_200
const layers: Keys[] = []
let chord_until = 0

export const singleKeys = signal(recall() !== 'off')

function recall(): string | null {
  try {
    return localStorage.getItem(STORED)
  } catch {
    return null
  }
}

export function setSingleKeys(on: boolean): void {
  singleKeys.value = on
  try {
    localStorage.setItem(STORED, on ? 'on' : 'off')
  } catch { /* a private window: it holds until it closes */ }
}

/** Keys of the calling component, before those of what is around it; at once after each render, so
 *  that a quick second press acts on what the first one did. */
export function useKeys(keys: Keys): void {
  useLayoutEffect(() => {
    layers.push(keys)
    return () => { layers.splice(layers.indexOf(keys), 1) }
  })
}

const typing = (el: Element | null): boolean => !!el?.closest('input:not([type=checkbox]), select, textarea, [contenteditable]')

export function startKeys(): void {
  document.addEventListener('keydown', (e) => {
    if (e.ctrlKey || e.metaKey || e.altKey || e.defaultPrevented) return
    const el = e.target as HTMLElement | null
    if (typing(el)) {
      if (e.key === 'Escape') el!.blur()
      return
    }
    if (document.querySelector('dialog[open]')) return
    const single = e.key.length === 1
    if (single && !singleKeys.value && e.key !== '?') return
    if ((e.key === 'Enter' || e.key === ' ') && el?.closest('a, button')) return
    let name = e.key
    if (performance.now() < chord_until) {
      chord_until = 0
      name = `g ${e.key}`
    } else if (e.key === 'g') {
      chord_until = performance.now() + CHORD_MS
      return
    }
    for (let i = layers.length - 1; i >= 0; i--) {
      const run = layers[i]![name]
      if (!run) continue
      e.preventDefault()
      run(e)
      return
    }
  })
}
