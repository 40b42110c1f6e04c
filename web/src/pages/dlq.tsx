// Dead letters: how many by reason, how near a partition is to its limit, each record byte for byte,
// and replaying or discarding it. Invariant: the list changes only when it is asked for; after an
// order the row says what came of it. Shapes: dlq-model.ts.
import type { JSX } from 'preact'
import { useEffect, useRef, useState } from 'preact/hooks'
import { call, type ProblemError } from '../api'
import { bytes as size, int, plural } from '../fmt'
import { useKeys } from '../keys'
import { taken, usePoll } from '../live/poll'
import { usePaint } from '../paint'
import { Age } from '../parts/cells'
import { AsOf } from '../parts/chrome'
import { Glyph } from '../parts/glyph'
import { PollProblem } from '../parts/problem'
import { toast } from '../parts/toast'
import { Detail } from './dlq-detail'
import { id, nearest, reasons, type Letter, type Summary } from './dlq-model'

const PAGE = 50
const path = (l: Letter): string => `/admin/dlq/${encodeURIComponent(l.stream)}/${encodeURIComponent(l.position)}`
const ask = async (signal: AbortSignal): Promise<Summary> => {
  const { body } = await call<Summary>('GET', '/admin/dlq', { signal })
  return { ...body, streams: body.streams ?? [] }
}

export function DeadLetters(): JSX.Element {
  const poll = usePoll(ask)
  const rev = usePaint(() => taken(poll))
  const [reason, setReason] = useState('')
  const [query, setQuery] = useState('')
  const [letters, setLetters] = useState<Letter[] | null>(null)
  const [chosen, setChosen] = useState('')
  const [open, setOpen] = useState(false)
  const [as, setAs] = useState<'text' | 'hex'>('text')
  const [marked, setMarked] = useState<ReadonlySet<string>>(new Set())
  const [said, setSaid] = useState<ReadonlyMap<string, string>>(new Map())
  const known = useRef('')
  useEffect(() => { document.title = 'Dead letters · Statecast' }, [])
  const s = poll.data
  const streams = s?.streams.map((x) => x.stream).join(' ') ?? ''
  const count = s ? (s.total ?? s.streams.reduce((n, x) => n + Object.values(x.reasons).reduce((a, b) => a + b, 0), 0)) : 0

  const read = async (): Promise<void> => {
    if (!s) return
    known.current = String(count)
    const pages = await Promise.allSettled(s.streams.map(async ({ stream }) => {
      const { body } = await call<{ items: Letter[] }>('GET', `/admin/dlq/${encodeURIComponent(stream)}?limit=${PAGE}${reason ? `&reason=${reason}` : ''}`)
      return (body.items ?? []).map((l) => ({ ...l, stream: l.stream ?? stream }))
    }))
    const all = pages.flatMap((p) => (p.status === 'fulfilled' ? p.value : []))
    setLetters(all.sort((a, b) => (a.at < b.at ? 1 : -1)))
  }
  useEffect(() => { void read() }, [reason, streams, s !== null])
  const shown = (letters ?? []).filter((l) => `${l.key ?? ''} ${l.stream} ${l.topic ?? ''} ${l.position}`.includes(query))
  const current = shown.find((l) => id(l) === chosen) ?? shown[0]
  useEffect(() => {
    if (!current || current.value_base64 != null) return
    let off = false
    void call<Letter>('GET', path(current)).then(({ body }) => {
      if (!off) setLetters((all) => all?.map((l) => (id(l) === id(current) ? { ...l, ...body, stream: l.stream } : l)) ?? all)
    }).catch((e: Error) => say(id(current), e.message))
    return () => { off = true }
  }, [current && id(current)])

  const say = (which: string, what: string): void => setSaid((was) => new Map(was).set(which, what))
  const stamp = (which: string, mark: Letter['mark']): void => setLetters((all) => all?.map((l) => (id(l) === which ? { ...l, mark } : l)) ?? all)
  const replay = async (l: Letter): Promise<void> => {
    say(id(l), 'Replaying.')
    try {
      const { body } = await call<{ position: string }>('POST', `${path(l)}/replay`)
      stamp(id(l), 'replayed')
      say(id(l), `Appended again at ${body.position}.`)
    } catch (e) {
      const p = e as ProblemError
      say(id(l), p.status === 409 ? `Not replayed: ${p.problem.detail ?? 'the key has since taken a newer record'}.` : `Not replayed: ${p.message}`)
    }
  }
  const discard = async (l: Letter): Promise<void> => {
    try {
      await call('POST', `${path(l)}/discard`)
      stamp(id(l), 'discarded')
      say(id(l), 'Discarded.')
    } catch (e) {
      say(id(l), `Not discarded: ${(e as Error).message}`)
    }
  }
  const release = async (stream: string, partition: number): Promise<void> => {
    try {
      await call('POST', `/admin/partitions/${encodeURIComponent(stream)}/${partition}/release`)
      toast(`${stream} ${partition} goes on.`)
    } catch (e) {
      toast((e as Error).message)
    }
  }
  const move = (by: number): void => {
    const to = shown[Math.max(0, Math.min(shown.length - 1, shown.indexOf(current!) + by))]
    if (to) { setChosen(id(to)); document.getElementById(`dl ${id(to)}`)?.scrollIntoView({ block: 'nearest' }) }
  }
  const toggle = (l: Letter): void => { const next = new Set(marked); if (!next.delete(id(l))) next.add(id(l)); setMarked(next) }
  useKeys({
    j: () => move(1), k: () => move(-1), h: () => setAs(as === 'hex' ? 'text' : 'hex'), Escape: () => setOpen(false), Enter: () => setOpen(true),
    r: () => { if (current && !current.mark) void replay(current) }, x: () => { if (current) toggle(current) }
  })
  const ready = shown.filter((l) => marked.has(id(l)) && !l.mark)
  if (!s) {
    return (
      <main id="main" tabIndex={-1}>
        <h1>Dead letters<AsOf /></h1>
        {poll.problem ? <PollProblem what="The dead letters do not answer" problem={poll.problem} /> : <p class="lead" aria-busy="true">Asking what was refused.</p>}
      </main>
    )
  }
  return (
    <main id="main" tabIndex={-1} class={open ? 'open' : ''}>
      <h1>Dead letters<AsOf /></h1>
      <Verdict s={s} count={count} rev={rev} onRelease={release} />
      <div class="reasons" role="group" aria-label="Reason">
        <button type="button" aria-pressed={reason === ''} onClick={() => setReason('')}><b>{int(count)}</b><span>All</span><span>in {plural(s.streams.filter((x) => Object.values(x.reasons).some((n) => n > 0)).length, 'stream')}</span></button>
        {reasons(s).map((r) => <button key={r.reason} type="button" aria-pressed={reason === r.reason} onClick={() => setReason(r.reason)}><b>{int(r.count)}</b><span class="mono">{r.reason}</span><span>{r.streams.join(', ')}</span></button>)}
      </div>
      {letters === null ? <p class="quiet" aria-busy="true">Reading the newest.</p> : count === 0 && shown.length === 0 ? <div class="blank"><h3>No record was refused</h3><p>What cannot be read or fails its schema comes here with its original bytes, and the stream goes on.</p></div> : (
        <div class="dlq">
          <section class="list-side" aria-labelledby="h-list">
            <div class="head"><h2 id="h-list">Records</h2><span class="note">newest first</span>
              {known.current !== String(count) && letters && <button class="btn plain" type="button" onClick={() => void read()}>Read again</button>}
              <div class="right"><div class="field"><input data-search type="search" placeholder="Key, stream or position" aria-label="Filter records" spellcheck={false} value={query} onInput={(e) => setQuery(e.currentTarget.value)} /><kbd>/</kbd></div></div></div>
            <table class="t list"><caption class="sr">Dead letters</caption>
              <colgroup><col class="w-c" /><col class="w-w" /><col /><col class="w-x" /></colgroup>
              <thead><tr><th><input class="check" type="checkbox" aria-label="Mark all" checked={shown.length > 0 && shown.every((l) => marked.has(id(l)))} onChange={(e) => setMarked(e.currentTarget.checked ? new Set(shown.map(id)) : new Set())} /></th><th scope="col">Refused</th><th scope="col">Reason and record</th><th scope="col" class="r">Bytes</th></tr></thead>
              <tbody>
                {shown.map((l) => (
                  <tr key={id(l)} id={`dl ${id(l)}`} aria-selected={l === current} class={l.mark ? 'done' : ''} onClick={() => { setChosen(id(l)); setOpen(true); if (innerWidth < 700) scrollTo(0, 0) }}>
                    <td onClick={(e) => e.stopPropagation()}><input class="check" type="checkbox" aria-label={`Mark ${l.position}`} checked={marked.has(id(l))} onChange={() => toggle(l)} /></td>
                    <td class="dim"><Age at={l.at} /></td>
                    <td class="two"><span class="reason">{l.reason}</span> <span class="dim">{l.mark ?? ''}</span><small>{l.stream} at {l.position}{l.key != null ? <>, key <span class="mono">{l.key}</span></> : ', no key'}</small></td>
                    <td class="r">{size(l.bytes ?? 0).replace(' bytes', '')}</td>
                  </tr>
                ))}
              </tbody></table>
            {letters && shown.length === 0 && <p class="none quiet">No record here matches.</p>}
            <div class="bulk"><span>{marked.size ? `${int(marked.size)} marked` : 'None marked'}</span><button class="btn" type="button" disabled={ready.length === 0} onClick={() => { for (const l of ready) void replay(l) }}>Replay marked</button><span class="note"><kbd>j</kbd> <kbd>k</kbd> move &nbsp; <kbd>x</kbd> mark &nbsp; <kbd>h</kbd> hex</span></div>
          </section>
          {current && <Detail key={id(current)} letter={current} as={as} setAs={setAs} said={said.get(id(current)) ?? ''} onReplay={() => void replay(current)} onDiscard={() => void discard(current)} onBack={() => setOpen(false)} />}
        </div>
      )}
    </main>
  )
}

function Verdict({ s, count, onRelease }: { s: Summary; count: number; rev: number; onRelease: (stream: string, partition: number) => void }): JSX.Element {
  const { near, held } = nearest(s)
  const one = held[0]
  return (
    <p class="lead roomy">
      <strong>{count === 0 ? 'No record is refused.' : `${plural(count, 'record')} ${count === 1 ? 'was' : 'were'} refused`}</strong>{count > 0 && <> and {count === 1 ? 'is' : 'are'} kept byte for byte.</>}{' '}
      {one ? <><span class="held-word"><Glyph name="held" /> {one.stream} {one.partition} is held by its limit.</span> <button class="btn" type="button" onClick={() => onRelease(one.stream, one.partition)}>Let it go on</button></>
        : <>No partition is stopped{near ? <>; nearest to its limit is <span class="nowrap">{near.stream} {near.partition}, {int(near.used)} of {int(near.limit)}.</span></> : '.'}</>}
    </p>
  )
}
