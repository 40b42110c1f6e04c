// The shapes of GET /admin/dlq... and what the page makes of them: counts, bytes as text or hex, the
// failing byte. Pure. Invariant: bytes are shown as they are; nothing is decoded that may be lost.

export interface Limit { partition: number; used: number; limit: number; held?: boolean }
export interface StreamLetters { stream: string; topic?: string; reasons: Record<string, number>; partitions?: Limit[] }
export interface Summary { at?: string; total?: number; streams: StreamLetters[] }
export interface Letter {
  stream: string
  topic?: string
  position: string
  partition: number
  offset: number
  reason: string
  detail?: string | null
  key?: string | null
  key_base64?: string | null
  at: string
  time?: string | null
  bytes?: number
  mark?: 'replayed' | 'discarded' | null
  replayed_at?: string | null
  value_base64?: string | null
  failed_at?: number | null
  headers?: [string, string][] | Record<string, string>
}

export const id = (l: Letter): string => `${l.stream} ${l.position}`

export function reasons(s: Summary): { reason: string; count: number; streams: string[] }[] {
  const out = new Map<string, { reason: string; count: number; streams: string[] }>()
  for (const one of s.streams) for (const [reason, count] of Object.entries(one.reasons ?? {})) {
    const r = out.get(reason) ?? { reason, count: 0, streams: [] }
    r.count += count
    if (count > 0) r.streams.push(one.stream)
    out.set(reason, r)
  }
  return [...out.values()].filter((r) => r.count > 0).sort((a, b) => b.count - a.count)
}

/** The partition nearest to its limit, and those that are held by it. */
export function nearest(s: Summary): { near: (Limit & { stream: string }) | null; held: (Limit & { stream: string })[] } {
  const all = s.streams.flatMap((one) => (one.partitions ?? []).map((p) => ({ ...p, stream: one.stream })))
  const held = all.filter((p) => p.held)
  const near = all.filter((p) => p.used > 0 && p.limit > 0).sort((a, b) => b.used / b.limit - a.used / a.limit)[0] ?? null
  return { near, held }
}

export function decode(base64: string): Uint8Array {
  const text = atob(base64)
  return Uint8Array.from(text, (c) => c.charCodeAt(0))
}

export interface Run { text: string; bad: boolean }
export interface HexLine { offset: string; hex: Run[]; ascii: Run[] }

const join = (cells: Run[]): Run[] => cells.reduce<Run[]>((out, c) => {
  const last = out[out.length - 1]
  if (last && last.bad === c.bad) last.text += c.text
  else out.push({ ...c })
  return out
}, [])

/** Lines of `width` bytes, with the byte at `bad` marked in both halves. */
export function hex(bytes: Uint8Array, bad: number | null, width: number, max = 4_096): HexLine[] {
  const out: HexLine[] = []
  for (let o = 0; o < Math.min(bytes.length, max); o += width) {
    const cut = [...bytes.slice(o, Math.min(o + width, max))]
    const mark = (i: number): boolean => bad === o + i
    const cells = cut.map((b, i): Run => ({ text: `${b.toString(16).padStart(2, '0')}`, bad: mark(i) }))
    const spaced = cells.flatMap((c, i): Run[] => [c, { text: width === 16 && i === 7 ? '  ' : ' ', bad: false }])
    const missing = width - cut.length
    if (missing > 0) spaced.push({ text: '   '.repeat(missing) + (width === 16 && cut.length <= 7 ? ' ' : ''), bad: false })
    out.push({ offset: o.toString(16).padStart(4, '0'), hex: join(spaced), ascii: join(cut.map((b, i) => ({ text: b > 31 && b < 127 ? String.fromCharCode(b) : '\u00b7', bad: mark(i) }))) })
  }
  return out
}

/** The bytes as text around the failing one; what is not UTF-8 shows as the replacement sign. */
export function text(bytes: Uint8Array, bad: number | null, max = 4_096): Run[] {
  const read = (b: Uint8Array): string => new TextDecoder('utf-8', { fatal: false }).decode(b)
  const whole = bytes.slice(0, max)
  if (bad === null || bad < 0 || bad > whole.length) return [{ text: read(whole), bad: false }]
  let end = bad + 1
  while (end < whole.length && (whole[end]! & 0xc0) === 0x80) end++
  return [{ text: read(whole.slice(0, bad)), bad: false }, { text: read(whole.slice(bad, end)) || '\u00a0', bad: true }, { text: read(whole.slice(end)), bad: false }].filter((r) => r.text !== '')
}
