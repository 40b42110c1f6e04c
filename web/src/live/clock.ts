// The server's time, as far as this device can know it: the offset of the sample with the shortest
// round trip among the recent ones. Not the client's clock: an age is server time minus `updated`.

interface Sample { offset: number; doubt: number; taken: number }

const KEEP_MS = 120_000
let samples: Sample[] = []

const ONE_WAY_MS = 80

/** A word without a question: how long it was on its way is a guess, so a doubtful sample. */
export const overheardTime = (at: string | undefined, received: number): void => heardTime(at, received - ONE_WAY_MS, received)

/** `at` was said by the server between the two moments of our clock. */
export function heardTime(at: string | undefined, sent: number, received: number): void {
  const said = at ? Date.parse(at) : NaN
  if (!Number.isFinite(said)) return
  const doubt = Math.max(0, received - sent)
  samples = samples.filter((s) => received - s.taken < KEEP_MS).slice(-15)
  samples.push({ offset: said - (sent + received) / 2, doubt, taken: received })
}

export function clockOffset(): number | null {
  let best: Sample | null = null
  for (const s of samples) if (!best || s.doubt < best.doubt) best = s
  return best && Math.round(best.offset)
}

export const serverNow = (): number => Date.now() + (clockOffset() ?? 0)

export function forgetTime(): void {
  samples = []
}
