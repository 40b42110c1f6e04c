// What happened, with at most one action, for six seconds. Never for what the page already shows.
import { signal } from '@preact/signals'
import type { JSX } from 'preact'

interface Toast { id: number; text: string; act?: { name: string; run: () => void } }

const LASTS_MS = 6_000
const toasts = signal<Toast[]>([])
let ids = 0

const drop = (id: number): void => { toasts.value = toasts.value.filter((t) => t.id !== id) }

export function toast(text: string, act?: Toast['act']): void {
  const id = ++ids
  toasts.value = [...toasts.value.slice(-2), { id, text, act }]
  setTimeout(() => drop(id), LASTS_MS)
}

export async function copy(text: string, what: string): Promise<void> {
  try {
    await navigator.clipboard.writeText(text)
    toast(`Copied ${what}.`)
  } catch {
    toast('This browser does not let a page copy here.')
  }
}

export const Toasts = (): JSX.Element => (
  <div class="toasts" role="status">
    {toasts.value.map((t) => (
      <div class="toast" key={t.id}>
        <span>{t.text}</span>
        {t.act && <button type="button" onClick={() => { t.act!.run(); drop(t.id) }}>{t.act.name}</button>}
      </div>
    ))}
  </div>
)
