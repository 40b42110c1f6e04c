// Inside the pipeline, asked each second: which stream is held and by what, how records flow, how
// far each partition is, why batches were cut, and where one record is. Invariant: one cause, many
// effects; what the server does not tell is not filled in. Conclusions: pipeline-model.ts.
import type { JSX } from 'preact'
import { useEffect, useMemo, useRef, useState } from 'preact/hooks'
import { call, type ProblemError } from '../api'
import { age, int, plural, time } from '../fmt'
import { serverNow } from '../live/clock'
import { taken, usePoll } from '../live/poll'
import { said } from '../live/status'
import { usePaint } from '../paint'
import { AsOf } from '../parts/chrome'
import { Glyph } from '../parts/glyph'
import { PollProblem } from '../parts/problem'
import { Flow } from './pipeline-flow'
import { Cuts, holds, lag, steps, tone, total, track, type Pipe, type Pipeline as Answer, type Where } from './pipeline-model'

const GLYPH: Record<string, string> = { current: 'live', held: 'held', behind: 'behind', stopped: 'offline', starting: 'loading', quiet: 'quiet' }

const ask = async (signal: AbortSignal): Promise<Answer> => {
  const { body } = await call<Answer>('GET', '/admin/pipeline', { signal })
  return { ...body, streams: (body.streams ?? []).map((s) => ({ ...s, partitions: s.partitions ?? [], writers: s.writers ?? [], past: s.past ?? [] })) }
}

export function Pipeline(): JSX.Element {
  const poll = usePoll(ask)
  const cuts = useMemo(() => new Cuts(), [])
  const [chosen, setChosen] = useState('')
  const rev = usePaint(() => { const fresh = taken(poll); if (fresh && poll.data) cuts.take(poll.data); return fresh })
  useEffect(() => { document.title = 'Pipeline · Statecast' }, [])
  const p = poll.data
  const pipe = p?.streams.find((s) => s.stream === chosen) ?? p?.streams.find((s) => tone(s) === 'held') ?? p?.streams[0]
  const lines = useRef<HTMLDivElement>(null)
  useEffect(() => {
    const on = lines.current?.querySelector<HTMLElement>('[aria-current]')
    if (on) lines.current!.scrollLeft = on.offsetLeft - lines.current!.offsetLeft - 16
  }, [pipe?.stream])
  if (!p) {
    return (
      <main id="main" tabIndex={-1}>
        <h1>Pipeline<AsOf /></h1>
        {poll.problem ? <PollProblem what="The pipeline does not answer" problem={poll.problem} /> : <p class="lead" aria-busy="true">Asking what is inside.</p>}
      </main>
    )
  }
  return (
    <main id="main" tabIndex={-1}>
      <h1>Pipeline<AsOf /></h1>
      <Verdict p={p} rev={rev} />
      <div class="pipe">
        <nav aria-label="Pipelines">
          <div class="head"><h2>Streams</h2><span class="note right">generation</span></div>
          <div class="lines" ref={lines}>
            {p.streams.map((s) => (
              <button key={s.stream} type="button" aria-current={s === pipe ? 'true' : undefined} onClick={() => setChosen(s.stream)}>
                <span class="state" data-s={tone(s)}><Glyph name={GLYPH[tone(s)]!} /></span>{s.stream}<span class="n">{int(s.generation)}</span>
              </button>
            ))}
          </div>
          <div class="hide-s">
            <div class="head gap"><h2>Why batches were cut</h2></div>
            <div class="bars cuts">{cuts.shares().map(([name, share]) => <div key={name}><span class="quiet mono">{name}</span><span class="bar"><i style={{ width: `${share}%` }} /></span><span class="n">{share} %</span></div>)}</div>
            <p class="note">{cuts.seen.size ? 'seen since you opened this page' : 'none seen since you opened this page'}</p>
            <div class="head gap"><h2>Generations</h2></div>
            <ol class="steps gens">
              {pipe && <li><b>{int(pipe.generation)}</b><span>runs since {time(Date.parse(pipe.started))}</span></li>}
              {pipe?.past.slice(0, 5).map((g) => <li key={g.generation}><b>{int(g.generation)}</b><span class="quiet">ended {time(Date.parse(g.ended))}<small>{g.why}</small></span></li>)}
            </ol>
          </div>
        </nav>
        <div class="inside">
          <div class="head">
            <h2>{pipe?.stream ?? '\u00a0'}</h2>
            <span class="note">{pipe && <>generation {int(pipe.generation)}, running since {time(Date.parse(pipe.started))}, {plural(pipe.partitions.length, 'partition')} here</>}</span>
            <div class="right legend hide-s"><span><svg width="22" height="8"><path class="edge on" d="M1 4h20" /></svg>lossless: full means hold</span><span><svg width="22" height="8"><path class="edge lossy" d="M1 4h20" /></svg>lossy: keeps the newest</span></div>
          </div>
          {pipe && <Flow pipe={pipe} store={p.store} cast={p.broadcaster} rev={rev} />}
          <div class="grid2">
            <Partitions pipe={pipe} rev={rev} />
            <WhereIs />
          </div>
        </div>
      </div>
    </main>
  )
}

function Verdict({ p }: { p: Answer; rev: number }): JSX.Element {
  const { present } = said.value
  const held = p.streams.filter((s) => tone(s) === 'held')
  const one = held[0]
  if (!one) {
    const behind = p.streams.reduce((n, s) => n + total(s), 0)
    return <p class="lead roomy"><strong>{p.streams.length === 1 ? 'The stream' : `All ${p.streams.length} streams`} {present ? (p.streams.length === 1 ? 'flows' : 'flow') : 'flowed'}.</strong> {behind > 0 ? `${plural(behind, 'record')} between the commit and the end of the log.` : 'Everything in the log is stored and committed.'} {p.store && p.store.state !== 'closed' && <span class="held-word">The store's breaker is {p.store.state.replace('_', ' ')}.</span>}</p>
  }
  const since = one.held ? Date.parse(one.held.since) : NaN
  const why = one.held?.why ?? ''
  return (
    <p class="lead roomy">
      <span class="held-word"><Glyph name="held" /> {one.stream} {present ? 'is' : 'was'} held{one.held?.where ? ` at ${one.held.where}` : ''}{Number.isFinite(since) ? <> for {age(serverNow() - since)}</> : ''}.</span>{' '}
      {why && `${why}${/[.!?]$/.test(why) ? '' : '.'} `}
      {plural(one.partitions.filter(holds).length, 'partition')} of {one.partitions.length} {present ? 'keep' : 'kept'} a slice and pull no more; what they do not pull waits in the log.
      {held.length > 1 && ` ${plural(held.length - 1, 'more stream')} held.`}
    </p>
  )
}

function Partitions({ pipe }: { pipe: Pipe | undefined; rev: number }): JSX.Element {
  return (
    <section aria-labelledby="h-parts">
      <div class="head"><h2 id="h-parts">Partitions</h2>
        <div class="right legend"><span><i class="key comm" />committed</span><span><i class="key conf" />confirmed</span><span><i class="key recv" />received</span><span><i class="key tail" />in the log</span></div></div>
      <table class="t parts"><caption class="sr">Partitions: committed offset, end of log, lag, the way between, oldest unconfirmed record</caption>
        <colgroup><col class="w-p" /><col class="w-n" /><col class="w-n" /><col class="w-l" /><col /><col class="w-a" /></colgroup>
        <thead><tr><th scope="col">Partition</th><th scope="col" class="r">Committed</th><th scope="col" class="r">End of log</th><th scope="col" class="r">Lag</th><th scope="col" class="c-track">Committed to end</th><th scope="col" class="r">Oldest</th></tr></thead>
        <tbody>
          {pipe?.partitions.map((x) => {
            const w = track(x)
            const held = holds(x)
            return (
              <tr key={x.partition}>
                <td>{pipe.stream} {x.partition}</td>
                <td class="r">{x.committed === null ? 'none' : int(x.committed)}</td>
                <td class="r">{x.end === null ? '\u2013' : int(x.end)}</td>
                <td class={`r ${held ? 't-warn' : ''}`}>{int(lag(x))}</td>
                <td class="c-track"><div class="track"><i class="tail" /><i class="recv" style={{ width: `${w.recv}%` }} /><i class="conf" style={{ width: `${w.conf}%` }} /><i class="comm" style={{ width: `${w.comm}%` }} /></div></td>
                <td class={`r ${held ? 't-warn' : ''}`}>{x.oldest_ms === null ? '' : x.oldest_ms < 60_000 ? `${(x.oldest_ms / 1000).toFixed(1)} s` : age(x.oldest_ms)}</td>
              </tr>
            )
          })}
        </tbody></table>
    </section>
  )
}

const POSITION = /^\d+\.\d+\.\d+$/

/** Where one record is. A text of the form of a position is asked as one, all else as a key. */
function WhereIs(): JSX.Element {
  const [text, setText] = useState('')
  const [found, setFound] = useState<Where[] | null>(null)
  const [problem, setProblem] = useState('')
  const asked = useRef('')
  const look = async (): Promise<void> => {
    const what = asked.current
    if (!what) return
    try {
      const { body } = await call<{ where?: Where; found?: { stream: string; where: Where | null }[] }>('GET', `/admin/pipeline?${POSITION.test(what) ? 'position' : 'key'}=${encodeURIComponent(what)}`)
      if (asked.current !== what) return
      const all = body.found?.filter((f) => f.where).map((f) => ({ ...f.where!, stream: f.stream })) ?? (body.where ? [body.where] : [])
      const known = all.filter((w) => w.stage !== 'unknown')
      setFound(known.length ? known : all.slice(0, 1))
      setProblem('')
    } catch (e) {
      setProblem((e as ProblemError).message)
    }
  }
  useEffect(() => {
    const timer = setInterval(() => { if (!document.hidden) void look() }, 1_000)
    return () => clearInterval(timer)
  }, [])
  return (
    <section aria-labelledby="h-rec" class="where">
      <div class="head"><h2 id="h-rec">Where is a record?</h2></div>
      <form class="field" onSubmit={(e) => { e.preventDefault(); asked.current = text.trim(); setFound(null); void look() }}>
        <input data-search class="mono" aria-label="Key or position" placeholder="Key or position, then Enter" value={text} onInput={(e) => setText(e.currentTarget.value)} spellcheck={false} autocomplete="off" /><kbd>/</kbd>
      </form>
      {problem && <p class="problem">{problem}</p>}
      {(found ?? []).slice(0, 3).map((w) => (
        <div key={w.stream ?? ''}>
          <p class="note">{[w.stream, w.key, w.position].filter(Boolean).join(', ')}</p>
          <ol class="steps">
            {steps(w).map((s, i) => <li key={i} class={s.state}><span class={s.state === 'done' ? 't-live' : ''}><Glyph name={s.state === 'done' ? 'live' : s.state === 'wait' ? 'held' : 'quiet'} /></span><span>{s.text}{s.detail && <small>{s.detail}</small>}</span></li>)}
          </ol>
        </div>
      ))}
      {found?.length === 0 && <p class="note">No record is known under that.</p>}
      {!found && !problem && <p class="note">It says whether a record waits in the log, at a writer or for the store, and follows it.</p>}
    </section>
  )
}
