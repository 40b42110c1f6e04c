// The arithmetic of a list of which only the rows in view exist. Pure. Invariant: row r always lives
// in slot r mod slots, so that scrolling by one row writes one slot.

export interface Window { from: number; count: number; slots: number }

export function view(scroll: number, height: number, row: number, total: number): Window {
  const slots = Math.ceil(height / row) + 2
  const most = Math.max(0, Math.ceil(total - height / row))
  const from = Math.min(most, Math.max(0, Math.floor(scroll / row)))
  return { from, count: Math.max(0, Math.min(slots, total - from)), slots }
}

export const slotOf = (row: number, slots: number): number => row % slots

/** Where to scroll so that `row` is whole in view; the same place if it is already. */
export function reveal(row: number, scroll: number, height: number, size: number): number {
  const top = row * size
  if (top < scroll) return top
  if (top + size > scroll + height) return top + size - height
  return scroll
}

/** Rows wholly in view, counted from one, for people. */
export function spoken(scroll: number, height: number, row: number, total: number): [number, number] {
  if (total === 0) return [0, 0]
  const first = Math.min(total, Math.ceil(scroll / row) + 1)
  return [first, Math.max(first, Math.min(total, Math.floor((scroll + height) / row)))]
}

/** What people type to filter, as the server's `POINTER:OP:VALUE`; null where it is not that. */
export function filters(text: string): string[] | null {
  const out: string[] = []
  for (const part of text.split(/\s+and\s+|\s*&\s*/i)) {
    if (!part.trim()) continue
    const m = /^\s*([^\s=<>!^]+)\s*(!=|<=|>=|\^=|=|<|>)\s*(.+?)\s*$/.exec(part)
    if (!m) return null
    const [, name, sign, value] = m as unknown as [string, string, string, string]
    const op = { '=': 'eq', '!=': 'ne', '<': 'lt', '<=': 'le', '>': 'gt', '>=': 'ge', '^=': 'prefix' }[sign]!
    const pointer = name.startsWith('/') || name === 'version' || name === 'updated' ? name : `/${name.replace(/\[(\d+)\]/g, '.$1').split('.').join('/')}`
    out.push(`${pointer}:${op}:${value.replace(/^"(.*)"$/, '$1')}`)
  }
  return out
}
