// Small shapes: each state has its own, so that colour is never the only sign. No text, no state.
import type { JSX } from 'preact'

const stroke = { fill: 'none', stroke: 'currentColor', 'stroke-width': 1.6, 'stroke-linecap': 'round', 'stroke-linejoin': 'round' } as const

const SHAPES: Record<string, JSX.Element> = {
  live: <circle cx="6" cy="6" r="4" fill="currentColor" />,
  loading: <g><circle cx="6" cy="6" r="4" {...stroke} /><path d="M6 2a4 4 0 0 1 0 8z" fill="currentColor" /></g>,
  reconnecting: <path class="turn" d="M6 1.8A4.2 4.2 0 1 1 1.8 6" {...stroke} />,
  resynced: <path d="M6 1l5 5-5 5-5-5z" fill="currentColor" />,
  stale: <path d="M6 1.5l5 9H1z" {...stroke} />,
  offline: <path d="M2.5 2.5l7 7m0-7l-7 7" {...stroke} />,
  polled: <g><circle cx="6" cy="6" r="4" {...stroke} /><path d="M6 3.6V6l1.7 1" {...stroke} /></g>,
  paused: <path d="M4 2.5v7M8 2.5v7" {...stroke} stroke-width={2} />,
  held: <rect x="2" y="2" width="8" height="8" rx="1" fill="currentColor" />,
  quiet: <path d="M2 6h8" {...stroke} />,
  behind: <path d="M2.5 7.5L6 4l3.5 3.5" {...stroke} />,
  ring: <circle cx="6" cy="6" r="3" {...stroke} />,
  diamond: <path d="M6 2l4 4-4 4-4-4z" fill="currentColor" />,
  back: <path d="M8 2L4 6l4 4" {...stroke} />
}

export const Glyph = ({ name, class: cls }: { name: string; class?: string }): JSX.Element => (
  <svg class={`glyph ${cls ?? ''}`} viewBox="0 0 12 12" width="12" height="12" aria-hidden="true">{SHAPES[name] ?? null}</svg>
)

const icon = (d: JSX.Element): JSX.Element => <svg viewBox="0 0 16 16" width="16" height="16" fill="none" stroke="currentColor" stroke-width="1.5" aria-hidden="true">{d}</svg>
export const PauseIcon = (): JSX.Element => icon(<path d="M6 4v8M10 4v8" stroke-linecap="round" />)
export const PlayIcon = (): JSX.Element => icon(<path d="M5.5 3.5v9l7-4.5z" fill="currentColor" stroke="none" />)
export const CopyIcon = (): JSX.Element => icon(<g><rect x="5.5" y="5.5" width="8" height="8" rx="1.5" /><path d="M10.5 3.5v-1h-8v8h1" /></g>)
export const ThemeIcon = ({ theme }: { theme: string }): JSX.Element => icon(
  <g><circle cx="8" cy="8" r="5.2" />{theme === 'dark' ? <circle cx="8" cy="8" r="5.2" fill="currentColor" /> : theme === 'auto' ? <path d="M8 2.8a5.2 5.2 0 0 1 0 10.4z" fill="currentColor" stroke="none" /> : null}</g>)

export const Mark = (): JSX.Element => (
  <svg viewBox="0 0 23 16" width="23" height="16" aria-hidden="true">
    <path d="M1 3.5v9" opacity=".3" /><path d="M5 3.5v9" opacity=".55" /><path d="M9 3.5v9" opacity=".85" /><circle cx="17.2" cy="8" r="4.6" />
  </svg>
)
