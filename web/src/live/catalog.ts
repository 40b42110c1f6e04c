// Which streams, apps and pages the server has: what the bar at the top offers and what "go to"
// understands. Asked again every half minute. Not the rates: those come by the summary room.
import { signal } from '@preact/signals'
import { streams } from '../api'
import { route } from '../router'
import type { StreamsAnswer } from '../wire'

const AGAIN_MS = 30_000

export const catalog = signal<StreamsAnswer | null>(null)
export const catalogProblem = signal<string>('')

export async function refreshCatalog(): Promise<void> {
  try {
    catalog.value = await streams()
    catalogProblem.value = ''
  } catch (e) {
    catalogProblem.value = (e as Error).message
  }
}

/** Whether a key of this stream can be set here. While the server has not said it counts as so: a PUT that is refused says why. */
export function writable(stream: string): boolean {
  if (catalog.value === null) return true
  return catalog.value.streams.find((s) => s.stream === stream)?.writable ?? false
}

export function startCatalog(): void {
  void refreshCatalog()
  setInterval(() => { if (!document.hidden) void refreshCatalog() }, AGAIN_MS)
}

/** Pages of the admin listener can only be read there: its origin is another one. */
export const onAdmin = (): boolean => route.value.page === 'pipeline' || route.value.page === 'dlq'

export interface NavItem { id: string; name: string; href: string }

/** Where the public pages are: here, or where the admin listener was told; null where it was not. */
export function publicBase(): string | null {
  if (!onAdmin()) return ''
  const told = catalog.value?.links?.public
  return told ? told.replace(/\/+$/, '') : null
}

export function nav(): { pages: NavItem[]; admin: NavItem[] } {
  const c = catalog.value
  const base = publicBase()
  const pages: NavItem[] = base === null ? [] : [{ id: 'streams', name: 'Streams', href: `${base}/` }]
  if (base !== null && c?.apps.includes('agents')) pages.push({ id: 'agents', name: 'Agents', href: `${base}/agents` })
  const far = onAdmin() ? '' : (c?.links?.admin?.replace(/\/+$/, '') ?? null)
  const admin = far === null ? [] : [{ id: 'pipeline', name: 'Pipeline', href: `${far}/pipeline` }, { id: 'dlq', name: 'Dead letters', href: `${far}/dlq` }]
  return { pages, admin }
}
