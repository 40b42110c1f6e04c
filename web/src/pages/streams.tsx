// The page of streams: what is there, what is moving, what is held and why, and a box to write.
// Invariant: figures that only the server knows stop when the line is cut; ages go on. Rows are
// never re-sorted by a change. State is in streams-model.ts.
import type { JSX } from 'preact'
import { useEffect, useMemo, useState } from 'preact/hooks'
import { age, int, ms, plural, rate, time } from '../fmt'
import { catalog, catalogProblem, refreshCatalog } from '../live/catalog'
import { serverNow } from '../live/clock'
import { link } from '../live/link'
import { polling, said } from '../live/status'
import { usePaint } from '../paint'
import { Age, Cell } from '../parts/cells'
import { AsOf } from '../parts/chrome'
import { Glyph } from '../parts/glyph'
import { Comb, Spark } from '../parts/spark'
import { keyPath, streamPath } from '../router'
import { lagOf, moves, shown, StreamsModel, type Row, type Shown } from './streams-model'
import { WriteBox } from './write-box'

const WORDS: Record<Shown, [string, string]> = {
  current: ['live', 'Current'], quiet: ['quiet', 'Quiet'], held: ['held', 'Held'], behind: ['behind', 'Catching up'], stopped: ['offline', 'Stopped'], starting: ['loading', 'Starting']
}
const KINDS: Record<string, string> = { latest: 'latest', log: 'log', aggregate: 'aggregate', recent: 'recent', app: 'app' }
type Show = 'all' | 'moving' | 'quiet' | 'held'

export function Streams(): JSX.Element {
  const model = useMemo(() => new StreamsModel(), [])
  const [query, setQuery] = useState('')
  const [show, setShow] = useState<Show>('all')
  useEffect(() => { document.title = 'Streams · Statecast' }, [])
  useEffect(() => link.open('streams:summary', model.hear), [])
  const rev = usePaint(() => { model.know(catalog.value); return model.drain() })
  useEffect(() => { void refreshCatalog() }, [])
  usePolled(model.refused)
  const rows = model.rows
  const by = (s: Show): number => rows.filter((r) => keep(r, s)).length
  const seen = rows.filter((r) => keep(r, show) && `${r.stream} ${r.topics.join(' ')}`.toLowerCase().includes(query.toLowerCase()))
  const groups = [['Applications', seen.filter((r) => !r.declared)], ['Declared in configuration', seen.filter((r) => r.declared)]] as const
  return (
    <main id="main" tabIndex={-1}>
      <h1>Streams<AsOf /></h1>
      <Verdict rows={rows} rev={rev} />
      <Figures rows={rows} rev={rev} />
      <WriteBox />
      <div class="bar-row">
        <div class="field"><input data-search type="search" placeholder="Filter streams" aria-label="Filter streams" autocomplete="off" spellcheck={false} value={query} onInput={(e) => setQuery(e.currentTarget.value)} /><kbd>/</kbd></div>
        <div class="tabs" role="group" aria-label="Show">
          {(['all', 'moving', 'quiet', 'held'] as const).map((s) => (
            <button key={s} type="button" aria-pressed={show === s} onClick={() => setShow(s)}>{{ all: 'All', moving: 'Moving', quiet: 'Quiet', held: 'Held' }[s]}<span class="n">{rows.length ? by(s) : ''}</span></button>
          ))}
        </div>
        <span class="note">{model.at ? `As of ${time(model.at)} UTC` : ''}</span>
      </div>
      {catalog.value && rows.length === 0 ? <Empty /> : (
        <table class="t streams">
          <caption class="sr">Streams with their rate, lag, newest change and state</caption>
          <colgroup><col class="c-name" /><col class="c-proj" /><col class="c-keys" /><col class="c-rate" /><col class="c-spark" /><col class="c-lag" /><col class="c-new" /><col class="c-state" /></colgroup>
          <thead><tr><th scope="col">Stream</th><th scope="col">Projection</th><th scope="col" class="r">Keys</th><th scope="col" class="r">Records/s</th><th scope="col" class="p-spark">Last 60 s</th><th scope="col" class="p-lag">Lag</th><th scope="col">Newest change</th><th scope="col">State</th></tr></thead>
          {rows.length === 0
            ? <tbody>{[0, 1, 2].map((i) => <tr key={i}><td class="two"><i class="ghost w60" /></td><td /><td /><td /><td /><td /><td /><td /></tr>)}</tbody>
            : groups.map(([name, list]) => list.length > 0 && (
              <tbody key={name}>
                <tr class="group"><td colSpan={8}>{name}</td></tr>
                {list.map((r) => <Line key={r.stream} row={r} rev={rev} />)}
              </tbody>
            ))}
        </table>
      )}
      {catalogProblem.value && !catalog.value && <div class="blank err" role="alert"><h3>The list of streams did not come</h3><p>{catalogProblem.value}</p></div>}
    </main>
  )
}

const keep = (r: Row, s: Show): boolean => {
  const state = shown(r)
  const held = state === 'held' || state === 'stopped'
  return s === 'all' || (s === 'held' ? held : !held && (s === 'moving') === (moves(r) || state === 'behind'))
}

/** Where the summary room is refused, the list is asked each second and the pill says Polled. */
function usePolled(on: boolean): void {
  useEffect(() => {
    if (!on) return
    polling.value = { ok_at: performance.now(), failures: 0, answered_ms: 0 }
    const timer = setInterval(async () => {
      const sent = performance.now()
      await refreshCatalog()
      const was = polling.value
      const failed = catalogProblem.value !== ''
      polling.value = { ok_at: failed ? (was?.ok_at ?? 0) : performance.now(), failures: failed ? (was?.failures ?? 0) + 1 : 0, answered_ms: performance.now() - sent }
    }, 1_000)
    return () => { clearInterval(timer); polling.value = null }
  }, [on])
}

function Verdict({ rows }: { rows: Row[]; rev: number }): JSX.Element {
  const { present, as_of } = said.value
  if (rows.length === 0) return <p class="lead">{catalog.value ? 'No stream is configured.' : 'Asking which streams there are.'}</p>
  const fine = rows.filter((r) => ['current', 'quiet'].includes(shown(r))).length
  const held = rows.filter((r) => shown(r) === 'held')
  const behind = rows.filter((r) => ['behind', 'starting', 'stopped'].includes(shown(r)))
  const verb = present ? (rows.length === 1 ? 'is' : 'are') : rows.length === 1 ? 'was' : 'were'
  const one = held[0]
  const since = one?.held ? Date.parse(one.held.since) : NaN
  const until = present ? serverNow() : as_of
  const admin = catalog.value?.links?.admin
  return (
    <p class="lead">
      <strong>{fine === rows.length ? `${rows.length === 1 ? 'The stream' : `All ${rows.length} streams`} ${verb} current.` : `${fine} of ${rows.length} streams ${verb} current.`}</strong>{' '}
      {one && <><span class="held-word nowrap"><Glyph name="held" /> {one.stream} {present ? 'is' : 'was'} held</span>{Number.isFinite(since) && <> for <span class="nowrap">{age(until - since)}</span></>}: {why(one)}{held.length > 1 && ` ${plural(held.length - 1, 'more stream')} ${held.length > 2 ? 'are' : 'is'} held.`} {admin && <a href={`${admin.replace(/\/+$/, '')}/pipeline`}>See where</a>}</>}
      {!one && behind.length > 0 && <span class="t-sync">{behind.map((r) => `${r.stream} ${shown(r) === 'behind' ? `catches up, ${int(lagOf(r))} records to go` : shown(r) === 'starting' ? 'is starting' : 'is stopped'}`).slice(0, 2).join('; ')}.</span>}
      {!one && behind.length === 0 && (present ? 'Every record that arrived is stored and told.' : 'Newer figures wait until the line is back.')}
    </p>
  )
}

const why = (r: Row): string => {
  const text = (r.held?.why ?? '').trim()
  const where = r.held?.where ? ` at ${r.held.where}` : ''
  return text ? `${text}${/[.!?]$/.test(text) ? '' : '.'}` : `it waits${where}.`
}

function Figures({ rows }: { rows: Row[]; rev: number }): JSX.Element {
  const have = rows.some((r) => r.rate !== null)
  const sum = (pick: (r: Row) => number | null): number => rows.reduce((n, r) => n + (pick(r) ?? 0), 0)
  const most = (pick: (r: Row) => number | undefined): number | null => {
    const all = rows.map(pick).filter((v): v is number => typeof v === 'number' && v > 0)
    return all.length ? Math.max(...all) : null
  }
  const p99 = most((r) => r.latency?.socket_p99)
  const stored = most((r) => r.latency?.store_p99)
  const lag = sum(lagOf)
  const held = rows.find((r) => r.held)
  const newest = rows.reduce<Row | null>((a, r) => (r.newest && (!a?.newest || r.newest.updated > a.newest.updated) ? r : a), null)
  return (
    <dl class="figures">
      <div><dt>Keys held</dt><dd>{rows.length ? int(sum((r) => r.keys)) : '\u2013'}</dd><dd class="sub">in {plural(rows.length, 'stream')}, {plural(rows.reduce((n, r) => n + r.lag.length, 0), 'partition')}</dd></div>
      <div><dt>Records in</dt><dd>{have ? rate(sum((r) => r.rate)) : '\u2013'}<small>/s</small></dd><dd class="sub">{have ? `${rate(sum((r) => r.stored))} stored/s, coalesced` : ''}</dd></div>
      <div><dt>Produced to seen, p99</dt><dd>{p99 === null ? '\u2013' : ms(p99)}<small>ms</small></dd><dd class="sub">{stored === null ? 'nothing seen yet' : `stored after ${ms(stored)} ms`}</dd></div>
      <div><dt>Waiting in the log</dt><dd class={held ? 't-warn' : ''}>{rows.length ? int(lag) : '\u2013'}</dd><dd class="sub">{held?.held ? <>{held.stream}, held for <Age at={held.held.since} /></> : 'records not yet stored'}</dd></div>
      <div><dt>Newest change</dt><dd>{newest?.newest ? <Age at={newest.newest.updated} /> : '\u2013'}</dd><dd class="sub">{newest?.newest ? `${newest.stream}/${newest.newest.key}` : ''}</dd></div>
    </dl>
  )
}

function Line({ row: r }: { row: Row; rev: number }): JSX.Element {
  const state = shown(r)
  const [glyph, word] = WORDS[state]
  const n = r.newest
  return (
    <tr class={state === 'held' ? 'warn' : ''} data-stream={r.stream}>
      <td class="two"><a class="name" href={streamPath(r.stream)}>{r.stream}</a><small class="mono">{r.topics.join(', ')}</small></td>
      <td class="quiet">{KINDS[r.kind ?? ''] ?? ''}</td>
      <td class="r">{r.keys === null ? '\u2013' : int(r.keys)}</td>
      <td class="r">{r.rate === null ? '\u2013' : rate(r.rate)}</td>
      <td class="p-spark"><Spark values={[...r.rates]} tone={state === 'held' ? 'held' : state === 'quiet' ? 'still' : ''} /></td>
      <td><div class="with"><span class="lag">{int(lagOf(r))}</span><Comb lags={r.lag} held={state === 'held'} /></div></td>
      <td><div class="newest">{n && <><a href={keyPath(r.stream, n.key)} title={n.key}><Cell text={n.key} /></a><Cell class="dim" key={n.key} text={`v${int(n.version)}`} strong /><Age class="a" at={n.updated} /></>}</div></td>
      <td><span class="state" data-s={state}><Glyph name={glyph} /><span>{word}</span></span></td>
    </tr>
  )
}

const Empty = (): JSX.Element => (
  <div class="blank">
    <h3>No streams yet</h3>
    <p>The kv stream starts with the first record. From a shell:</p>
    <pre>{`curl -d '{"key":"hello","value":1}' ${location.origin}/add`}</pre>
  </div>
)
