// The agents' dashboard: figures, each agent over a day, routing times, the latest actions, who hands
// to whom. Invariant: fixed slots that are rewritten; the pointer over the actions stops them; what
// the server does not tell is left out. State: agents-model.ts.
import type { JSX } from 'preact'
import { useEffect, useMemo, useRef, useState } from 'preact/hooks'
import { call } from '../api'
import { int, ms, plural, rate, time } from '../fmt'
import { catalog } from '../live/catalog'
import { serverNow } from '../live/clock'
import { link } from '../live/link'
import { said } from '../live/status'
import { usePaint } from '../paint'
import { Age, Cell } from '../parts/cells'
import { Chart, type ChartData } from '../parts/chart'
import { AsOf } from '../parts/chrome'
import { Glyph } from '../parts/glyph'
import { Spark } from '../parts/spark'
import type { Json } from '../wire'
import { AgentsModel, PARTS, perSecond, URLS, type Action, type Agent, type Pair, type Performance } from './agents-model'

const SLOTS = 19
const ACTIVE_MS = 60_000
const PAINT_MS = 500
const HOUR_MS = 3_600_000
const HOURS = 24
const SINCE_START = 'Processed since this server started; the other figures come back after a restart'
const SHAPES: Record<string, [string, string]> = { tool_call: ['ring', ''], decision: ['diamond', 't-data'], success: ['live', 't-live'], error: ['offline', 't-fault'] }

export function Agents(): JSX.Element {
  const model = useMemo(() => new AgentsModel(), [])
  // Once a second also where nothing came: what is said of the last minute goes on.
  const tick = usePaint(() => true, 1_000)
  const rev = usePaint(() => model.drain(serverNow()), PAINT_MS) + tick
  useEffect(() => { document.title = 'Agents · Statecast' }, [])
  useEffect(() => {
    const abort = new AbortController()
    for (const part of PARTS) void call<Json>('GET', URLS[part], { signal: abort.signal }).then(({ body }) => { if (!model.loaded.has(part)) model.put(part, body) }).catch(() => { if (!abort.signal.aborted) model.fail(part) })
    const health = (): void => void call<{ eventsProcessed?: number }>('GET', '/api/intelligence/health', { signal: abort.signal, ok: [503] }).then(({ body }) => { model.events = body.eventsProcessed ?? null }).catch(() => undefined)
    health()
    const timer = setInterval(() => { if (!document.hidden) health() }, 10_000)
    const leave = PARTS.map((part) => link.open(`agents:${part}`, model.hear(part)))
    return () => { abort.abort(); clearInterval(timer); for (const l of leave) l() }
  }, [])
  const { agents, actions, performance: p } = model
  const { present, as_of } = said.value
  const now = present ? serverNow() : as_of
  const active = agents.filter((a) => now - Date.parse(a.last) < ACTIVE_MS).length
  if (!model.ready || !model.loaded.has('summary')) {
    return (
      <main id="main" tabIndex={-1}>
        <h1>Agents<AsOf /></h1>
        {model.failed.has('summary') ? <div class="blank err" role="alert"><h3>The agents do not answer</h3><p>Their figures come from the agents application of this server; it may not be configured. This page stays subscribed and shows them when they come.</p></div>
          : <p class="lead" key="ask" aria-busy="true">Asking what the agents did.</p>}
      </main>
    )
  }
  return (
    <main id="main" tabIndex={-1}>
      <h1>Agents<AsOf /></h1>
      {model.nothing ? <p class="lead"><strong>No agent {present ? 'has done' : 'had done'} anything in the last 24 hours.</strong> {present ? 'This page shows the first event when it comes.' : 'Newer events wait until the line is back.'}</p>
        : <p class="lead"><strong>{plural(agents.length, 'agent')}, {int(active)} {present ? '' : 'then '}active in the last minute.</strong> Every figure is over the last 24 hours, sliding, and answered from memory.</p>}
      <Figures agents={agents} p={p} events={model.events} actions={actions} speed={perSecond(actions, now)} present={present} rev={rev} />
      <div class="agents">
        <section aria-labelledby="h-ag">
          <div class="head"><h2 id="h-ag">Agents</h2><span class="note">ordered by requests when you opened the page</span></div>
          <div class="ag-all">{agents.length > 0 ? <Table agents={agents} rev={rev} /> : <Nothing />}</div>
          <div class="head times"><h2>Routing time</h2><span class="note">ms, since you opened this page</span></div>
          <Times model={model} />
        </section>
        <Latest actions={actions} rev={rev} />
      </div>
      <div class="low">
        <Matrix pairs={model.pairs} rev={rev} />
        <section aria-labelledby="h-st"><div class="head"><h2 id="h-st">Trigger match</h2><span class="note">share of decisions</span></div><Shares all={p?.strategies ?? []} rev={rev} /></section>
        <section aria-labelledby="h-mem"><div class="head"><h2 id="h-mem">Held in memory</h2></div>
          <dl class="facts">
            <div><dt>Events since start</dt><dd title={SINCE_START}>{model.events === null ? '\u2013' : int(model.events)}</dd></div>
            <div><dt>Latest actions held</dt><dd>{int(actions.length)}</dd></div>
            <div><dt>Position</dt><dd title={link.room('agents:summary')?.held ?? ''}>{link.room('agents:summary')?.held ?? '\u2013'}</dd></div>
          </dl></section>
      </div>
    </main>
  )
}

/** Below one a second it was counted over a whole minute, and the count says more than 0.0. */
function pace(speed: number | null, present: boolean): string {
  if (speed === null) return ''
  if (speed >= 1) return `${rate(speed)} actions/s ${present ? 'now' : 'then'}`
  return `${plural(Math.round(speed * 60), 'action')} in the ${present ? 'last minute' : 'minute before'}`
}

interface FiguresProps { agents: Agent[]; actions: Action[]; p: Performance | null; events: number | null; speed: number | null; present: boolean; rev: number }

function Figures({ agents, actions, p, events, speed, present }: FiguresProps): JSX.Element {
  const errors = actions.length ? (100 * actions.filter((a) => a.type === 'error').length) / actions.length : null
  const dash = '\u2013'
  return (
    <dl class="figures">
      <div><dt>Routing decisions</dt><dd>{agents.length ? int(agents.reduce((n, a) => n + a.requests, 0)) : dash}</dd><dd class="sub">{p?.per_min != null ? `${rate(p.per_min / 60)} /s in the last minutes` : 'in 24 h'}</dd></div>
      <div><dt>Events since start</dt><dd title={SINCE_START}>{events === null ? dash : int(events)}</dd><dd class="sub">{pace(speed, present)}</dd></div>
      <div><dt>Routing time, p99</dt><dd>{p?.p99 != null ? ms(p.p99) : dash}<small>ms</small></dd><dd class="sub">{p?.p50 != null ? `p50 ${ms(p.p50)} ms` : ''}</dd></div>
      <div><dt>Cache hits</dt><dd>{p?.cache != null ? (p.cache <= 1 ? p.cache * 100 : p.cache).toFixed(1) : dash}<small>%</small></dd><dd class="sub">{p?.candidates != null ? `${p.candidates.toFixed(1)} candidates a decision` : ''}</dd></div>
      <div><dt>Errors</dt><dd>{errors === null ? dash : errors.toFixed(1)}<small>%</small></dd><dd class="sub">of the latest {int(actions.length)} actions</dd></div>
    </dl>
  )
}

function Table({ agents }: { agents: Agent[]; rev: number }): JSX.Element {
  const most = Math.max(1, ...agents.map((a) => a.requests))
  return (
    <table class="t ag"><caption class="sr">Agents over the last 24 hours</caption>
      <colgroup><col class="w-n" /><col class="w-r" /><col class="w-s" /><col class="w-m" /><col class="w-k" /><col class="w-l" /></colgroup>
      <thead><tr><th scope="col">Agent</th><th scope="col" class="r">Requests</th><th scope="col" class="c-share">Last 24 h</th><th scope="col" class="r">Mean routing</th><th scope="col" class="r">Mean confidence</th><th scope="col" class="r">Last seen</th></tr></thead>
      <tbody>
        {agents.map((a) => (
          <tr key={a.agent}>
            <td class="name13">{a.agent}</td>
            <td class="r"><Cell text={int(a.requests)} strong /></td>
            <td class="c-share">{a.hours.length > 0 ? <Spark values={a.hours} span={HOURS} label={`requests per hour, last 24 hours: now ${int(a.hours[a.hours.length - 1]!)}, most ${int(Math.max(...a.hours))}`} /> : <span class="share"><i style={{ width: `${(100 * a.requests) / most}%` }} /></span>}</td>
            <td class="r">{a.routing_ms === null ? '' : `${ms(a.routing_ms)} ms`}</td>
            <td class="r">{a.confidence !== null && <><span class="dotline" aria-hidden="true"><i style={{ left: `${Math.min(1, a.confidence) * 100}%` }} /></span> <span class="conf-n">{a.confidence.toFixed(3)}</span></>}</td>
            <td class="r dim"><Age at={a.last} /></td>
          </tr>
        ))}
      </tbody>
    </table>
  )
}

/** What fills the table: an event of the topic, from any producer. */
function Nothing(): JSX.Element {
  const topic = catalog.value?.streams.find((s) => s.stream === 'agents-routing')?.topics[0] ?? 'agent-routing-decisions'
  return (
    <div class="blank">
      <h3>No agent yet</h3>
      <p>An agent comes with the first decision of the router that names it, a record of the topic <code>{topic}</code> from any Kafka producer:</p>
      <pre>{`echo '{"selected_agent":"coder","routing_time_ms":12,"confidence_score":0.9}' |\n  kafka-console-producer.sh --bootstrap-server HOST:9092 \\\n  --topic ${topic}`}</pre>
      <p>Without Kafka a declared stream of that topic takes it by PUT: config/examples/agents-by-hand.toml.</p>
    </div>
  )
}

function Times({ model }: { model: AgentsModel }): JSX.Element {
  const opened = useMemo(() => serverNow(), [])
  const data = (): ChartData => {
    const to = serverNow()
    const tag = (name: 'p50' | 'p90' | 'p99'): string => { const all = model.times[name]; return all.length ? `${name} ${Math.round(all[all.length - 1]!.v)}` : name }
    return {
      series: [
        { color: 'data-3', points: model.times.p99, tag: tag('p99') }, { color: 'data-2', points: model.times.p90, tag: tag('p90') }, { color: 'data', points: model.times.p50, tag: tag('p50') }],
      marks: [], from: to - Math.min(HOUR_MS, Math.max(ACTIVE_MS, to - opened)), to, known: said.value.present ? to : said.value.as_of, holds: false, quiet: !said.value.present
    }
  }
  return <Chart data={data} height={164} right={64} zero label="routing time p50, p90, p99 since you opened this page" />
}

function Latest({ actions }: { actions: Action[]; rev: number }): JSX.Element {
  const [over, setOver] = useState(false)
  const held = useRef<Action[]>([])
  if (!over) held.current = actions
  return (
    <section aria-labelledby="h-acts">
      <div class="head"><h2 id="h-acts">Latest actions</h2><span class="note">{over ? 'paused' : ''}</span>
        <div class="right legend">{Object.entries(SHAPES).map(([name, [shape, tone]]) => <span key={name}><span class={tone}><Glyph name={shape} /></span>{name.replace('_', ' ')}</span>)}</div></div>
      <ol class="actions" onPointerEnter={(e) => { if (e.pointerType === 'mouse') setOver(true) }} onPointerLeave={() => setOver(false)}>
        {Array.from({ length: SLOTS }, (_, i) => {
          const a = held.current[i]
          const [shape, tone] = SHAPES[a?.type ?? ''] ?? ['quiet', '']
          return (
            <li key={i}>
              <span class="at">{a ? time(Date.parse(a.at), 1) : ''}</span>
              <span class={tone} title={a?.type}>{a && <Glyph name={shape} />}</span>
              <span class="who">{a?.agent}</span>
              <span class={`nm ${a?.type === 'error' ? 't-fault' : ''}`}>{a?.name}</span>
              <span class="took" key={a?.id}>{a?.ms != null ? `${int(a.ms)} ms` : ''}</span>
            </li>
          )
        })}
      </ol>
    </section>
  )
}

function Matrix({ pairs }: { pairs: Pair[]; rev: number }): JSX.Element {
  const order = useRef<string[]>([])
  for (const p of [...pairs].sort((a, b) => b.count - a.count)) for (const n of [p.from, p.to]) if (!order.current.includes(n) && order.current.length < 7) order.current.push(n)
  const names = order.current
  const most = Math.max(1, ...pairs.map((p) => p.count))
  return (
    <section aria-labelledby="h-tr"><div class="head"><h2 id="h-tr">Transformations</h2><span class="note">from row to column, 24 h</span></div>
      {names.length === 0 ? <p class="quiet">None in the last 24 hours.</p> : (
        <table class="matrix"><thead><tr><th><span class="sr">from</span></th>{names.map((n) => <th scope="col" key={n} title={n}>{n}</th>)}</tr></thead>
          <tbody>{names.map((from) => <tr key={from}><th scope="row" title={from}>{from}</th>{names.map((to) => {
            const n = pairs.find((p) => p.from === from && p.to === to)?.count ?? 0
            return <td key={to} class={n ? '' : 'none'} style={{ '--h': n ? `${Math.round(6 + 38 * Math.sqrt(n / most))}%` : '0%' }}>{n ? int(n) : '\u00b7'}</td>
          })}</tr>)}</tbody></table>
      )}
    </section>
  )
}

function Shares({ all }: { all: [string, number][]; rev: number }): JSX.Element {
  const sum = all.reduce((n, [, c]) => n + c, 0)
  if (sum === 0) return <p class="quiet">No decision yet.</p>
  return <div class="bars">{all.slice(0, 8).map(([name, n]) => <div key={name}><span class="quiet mono">{name}</span><span class="bar"><i style={{ width: `${(100 * n) / sum}%` }} /></span><span class="n">{Math.round((100 * n) / sum)} %</span></div>)}</div>
}
