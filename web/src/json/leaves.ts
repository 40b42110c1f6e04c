// A JSON value as a list of leaves by path, and what differs between two values. Pure. Invariant: a
// path is a JSON pointer, so that names with dots or slashes stay apart. Not a renderer.
import type { Json } from '../wire'

export interface Leaf { path: string; value: Json }
export interface Difference { path: string; kind: 'changed' | 'new' | 'gone'; was: Json | undefined; is: Json | undefined }

const escape = (name: string): string => name.replace(/~/g, '~0').replace(/\//g, '~1')
const unescape = (name: string): string => name.replace(/~1/g, '/').replace(/~0/g, '~')

export const isBranch = (v: Json): v is Json[] | { [name: string]: Json } => typeof v === 'object' && v !== null && Object.keys(v).length > 0

export function leaves(value: Json, max = 5_000): Leaf[] {
  const out: Leaf[] = []
  const walk = (v: Json, path: string): void => {
    if (out.length >= max) return
    if (!isBranch(v)) {
      out.push({ path, value: v })
      return
    }
    for (const name of Object.keys(v)) walk((v as Record<string, Json>)[name]!, `${path}/${escape(name)}`)
  }
  walk(value, '')
  return out
}

export function at(value: Json | undefined, path: string): Json | undefined {
  let v: Json | undefined = value
  for (const name of path.split('/').slice(1)) {
    if (typeof v !== 'object' || v === null) return undefined
    v = (v as Record<string, Json>)[unescape(name)]
  }
  return v
}

const same = (a: Json, b: Json): boolean => a === b || (typeof a === 'object' && typeof b === 'object' && JSON.stringify(a) === JSON.stringify(b))

export function diff(was: Json, is: Json): Difference[] {
  const before = new Map(leaves(was).map((l) => [l.path, l.value]))
  const out: Difference[] = []
  for (const { path, value } of leaves(is)) {
    if (!before.has(path)) out.push({ path, kind: 'new', was: undefined, is: value })
    else if (!same(before.get(path)!, value)) out.push({ path, kind: 'changed', was: before.get(path), is: value })
    before.delete(path)
  }
  for (const [path, value] of before) out.push({ path, kind: 'gone', was: value, is: undefined })
  return out
}

/** A path as people say it: `burner.flame`, `lines[2].qty`, and the whole value has no name. */
export function spoken(path: string): string {
  return path.split('/').slice(1).map(unescape).reduce((out, name) => (/^\d+$/.test(name) ? `${out}[${name}]` : out ? `${out}.${name}` : name), '')
}

const short = (v: Json | undefined): string => {
  const text = v === undefined ? '' : JSON.stringify(v)
  return text.length > 40 ? `${text.slice(0, 39)}\u2026` : text
}

/** What a change did, in one line: the first difference, and how many more. */
export function describe(was: Json, is: Json): string {
  const all = diff(was, is)
  if (all.length === 0) return 'the same value again'
  const d = all.find((x) => x.kind === 'changed') ?? all[0]!
  const name = spoken(d.path)
  const head = d.kind === 'new' ? `${name} ${short(d.is)}, new` : d.kind === 'gone' ? `${name} gone` : `${name} ${short(d.was)} \u2192 ${short(d.is)}`
  return (head + (all.length > 1 ? ` +${all.length - 1}` : '')).trim()
}

export const firstNumber = (value: Json): string | null => leaves(value, 2_000).find((l) => typeof l.value === 'number')?.path ?? null

/** Compact JSON in three parts, the middle one being the leaf at `path`; cut at `limit`. */
export function preview(value: Json, path: string | null, limit = 240): [string, string, string] {
  const parts: [string, string, string] = ['', '', '']
  let where: 0 | 1 | 2 = 0
  let length = 0
  const add = (text: string): void => {
    if (length > limit) return
    parts[where] += text
    length += text.length
    if (length > limit) parts[where] = `${parts[where].slice(0, Math.max(0, parts[where].length - (length - limit)))}\u2026`
  }
  const walk = (v: Json, here: string): void => {
    if (length > limit) return
    if (here === path && where === 0) {
      where = 1
      add(JSON.stringify(v))
      where = 2
    } else if (!isBranch(v)) {
      add(JSON.stringify(v))
    } else {
      const list = Array.isArray(v)
      add(list ? '[' : '{')
      Object.keys(v).forEach((name, i) => {
        if (length > limit) return
        add((i ? ',' : '') + (list ? '' : `${JSON.stringify(name)}:`))
        walk((v as Record<string, Json>)[name]!, `${here}/${escape(name)}`)
      })
      add(list ? ']' : '}')
    }
  }
  walk(value, '')
  return parts
}
