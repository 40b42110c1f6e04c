// A JSON value as the lines of a tree: what a line shows, where it belongs, whether it can fold.
// Pure. Invariant: one line per leaf and two per open branch, in the value's own order; leaves that
// are gone keep their line among their neighbours until the caller lets go of them.
import type { Json } from '../wire'
import { isBranch } from './leaves'

export interface Line {
  path: string
  depth: number
  kind: 'open' | 'close' | 'leaf' | 'folded'
  /** null for an element of a list or the whole value. */
  name: string | null
  value: Json
  comma: boolean
  gone: boolean
}

const MANY = 2_000
const escape = (name: string): string => name.replace(/~/g, '~0').replace(/\//g, '~1')

export function countLines(value: Json): number {
  if (!isBranch(value)) return 1
  let n = 2
  for (const v of Object.values(value)) n += countLines(v)
  return n
}

/** Which branches start closed: none while the value is short, else all below the level that fits. */
export function folds(value: Json): Set<string> {
  const out = new Set<string>()
  if (countLines(value) <= MANY) return out
  const walk = (v: Json, path: string, depth: number): void => {
    if (!isBranch(v)) return
    if (depth > 0 && countLines(v) > 12) out.add(path)
    if (depth < 3) for (const [name, x] of Object.entries(v)) walk(x as Json, `${path}/${escape(name)}`, depth + 1)
  }
  walk(value, '', 0)
  return out
}

/** Lines of the tree as it opens, with what starts closed closed. */
export function openLines(value: Json): number {
  const closed = folds(value)
  return closed.size > 0 ? lines(value, closed).length : countLines(value)
}

export function lines(value: Json, folded: ReadonlySet<string>, before: Json | undefined = undefined): Line[] {
  const out: Line[] = []
  const walk = (v: Json, was: Json | undefined, path: string, depth: number, name: string | null, comma: boolean): void => {
    if (!isBranch(v)) {
      out.push({ path, depth, kind: 'leaf', name, value: v, comma, gone: false })
      return
    }
    if (folded.has(path)) {
      out.push({ path, depth, kind: 'folded', name, value: v, comma, gone: false })
      return
    }
    out.push({ path, depth, kind: 'open', name, value: v, comma: false, gone: false })
    const list = Array.isArray(v)
    const names = Object.keys(v)
    const held = was !== undefined && isBranch(was) && Array.isArray(was) === list ? (was as Record<string, Json>) : null
    const lost = held ? Object.keys(held).filter((n) => !Object.hasOwn(v, n)) : []
    const order = lost.length === 0 ? names : merge(Object.keys(held!), names)
    const last = names[names.length - 1]
    for (const n of order) {
      const p = `${path}/${escape(n)}`
      if (Object.hasOwn(v, n)) walk((v as Record<string, Json>)[n]!, held?.[n], p, depth + 1, list ? null : n, n !== last)
      else out.push({ path: p, depth: depth + 1, kind: 'leaf', name: list ? null : n, value: held![n]!, comma: false, gone: true })
    }
    out.push({ path, depth, kind: 'close', name: null, value: v, comma, gone: false })
  }
  walk(value, before, '', 0, null, false)
  return out
}

/** The new order, with each lost name after the neighbour it had. */
function merge(was: string[], is: string[]): string[] {
  const out = [...is]
  was.forEach((name, i) => {
    if (is.includes(name)) return
    const after = i > 0 ? out.indexOf(was[i - 1]!) : -1
    out.splice(after + 1, 0, name)
  })
  return out
}
