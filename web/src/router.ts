// Which page a path names, and going there without a reload. Invariant: every path the server
// answers with the page is known here; an unknown one says so. Not a store of page state.
import { signal } from '@preact/signals'

export type Page = 'streams' | 'viewer' | 'stream' | 'pipeline' | 'dlq' | 'agents' | 'unknown'
export interface Route { page: Page; stream: string; key: string; path: string }

export function parse(path: string): Route {
  const at = (page: Page, stream = '', key = ''): Route => ({ page, stream, key, path })
  const parts = path.split('/').filter((p, i) => p !== '' || i > 2).map(decode)
  const [head, second] = parts
  if (head === undefined || head === 'index.html') return at('streams')
  if (head === 'viewer' && second !== undefined) return at('viewer', 'kv', decode(path.slice('/viewer/'.length)))
  if (head === 'streams' && second !== undefined) {
    const rest = path.slice(path.indexOf('/', '/streams/'.length) + 1)
    return parts.length > 2 && rest ? at('viewer', second, decode(rest)) : at('stream', second)
  }
  if (head === 'streams') return at('streams')
  if (parts.length === 1 && (head === 'pipeline' || head === 'dlq' || head === 'agents')) return at(head)
  return at('unknown')
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}

export const keyPath = (stream: string, key: string): string =>
  stream === 'kv' ? `/viewer/${encodeURIComponent(key)}` : `/streams/${encodeURIComponent(stream)}/${encodeURIComponent(key)}`
export const streamPath = (stream: string): string => `/streams/${encodeURIComponent(stream)}`

export const route = signal<Route>(parse(typeof location === 'undefined' ? '/' : location.pathname))

export function go(href: string): void {
  const url = new URL(href, location.href)
  if (url.origin !== location.origin) {
    location.assign(url)
    return
  }
  if (url.pathname + url.search === location.pathname + location.search) return
  history.pushState(null, '', url)
  arrive()
  scrollTo(0, 0)
}

function arrive(): void {
  route.value = parse(location.pathname)
  // A new page is read from its start, also by who does not see it.
  requestAnimationFrame(() => document.getElementById('main')?.focus({ preventScroll: true }))
}

/** Plain clicks on our own links stay in this page; all else is the browser's. */
export function startRouter(): void {
  addEventListener('popstate', arrive)
  document.addEventListener('click', (e) => {
    if (e.defaultPrevented || e.button !== 0 || e.metaKey || e.ctrlKey || e.shiftKey || e.altKey) return
    const a = (e.target as Element | null)?.closest?.('a')
    if (!a || !a.href || a.target || a.hasAttribute('download') || a.getAttribute('href')!.startsWith('#')) return
    const url = new URL(a.href)
    if (url.origin !== location.origin || parse(url.pathname).page === 'unknown') return
    e.preventDefault()
    go(a.href)
  })
}
