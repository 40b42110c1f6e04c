// What the agents' page knows: one reading of each part, from HTTP first and then from its room, and
// an hour of routing times gathered while the page is open. Invariant: names are taken in either
// spelling, and what is absent stays absent. Not the connection.
import type { Point } from '../parts/chart'
import type { RoomEvent } from '../live/room'
import type { Json } from '../wire'

export interface Agent { agent: string; requests: number; routing_ms: number | null; confidence: number | null; last: string; hours: number[] }
export interface Action { id: string; agent: string; type: string; name: string; ms: number | null; at: string }
export interface Pair { from: string; to: string; count: number }
export interface Performance { requests: number; p50: number | null; p90: number | null; p99: number | null; cache: number | null; candidates: number | null; per_min: number | null; strategies: [string, number][] }

export const PARTS = ['summary', 'actions', 'transformations', 'performance'] as const
export type Part = (typeof PARTS)[number]
export const URLS: Record<Part, string> = {
  summary: '/api/intelligence/agents/summary', actions: '/api/intelligence/actions/recent?limit=100',
  transformations: '/api/intelligence/transformations', performance: '/api/intelligence/performance'
}

const HOUR_MS = 3_600_000
const MINUTE_MS = 60_000
const POINT_MS = 900
/** So many actions are shown at most; fewer are all there were in the window. */
const ACTIONS_MAX = 100

type Fields = Record<string, unknown>
const fields = (v: unknown): Fields => (v && typeof v === 'object' ? (v as Fields) : {})
const one = (f: Fields, ...names: string[]): unknown => { for (const n of names) if (f[n] !== undefined && f[n] !== null) return f[n]; return undefined }
const number = (v: unknown): number | null => (typeof v === 'number' && Number.isFinite(v) ? v : null)
const numbers = (v: unknown): number[] => (Array.isArray(v) ? v.map((n) => number(n) ?? 0) : [])
const text = (v: unknown): string => (typeof v === 'string' ? v : '')

/** A list, or the first list inside an object. */
function list(v: unknown): Fields[] {
  if (Array.isArray(v)) return v.map(fields)
  const inside = Object.values(fields(v)).find(Array.isArray)
  return inside ? (inside as unknown[]).map(fields) : []
}

export const readAgents = (v: unknown): Agent[] => list(v).map((f) => ({
  agent: text(one(f, 'agent', 'agentName', 'agent_name')), requests: number(one(f, 'totalRequests', 'total_requests')) ?? 0,
  routing_ms: number(one(f, 'avgRoutingTime', 'avg_routing_time')), confidence: number(one(f, 'avgConfidence', 'avg_confidence')), last: text(one(f, 'lastSeen', 'last_seen')),
  hours: numbers(one(f, 'requestsPerHour', 'requests_per_hour'))
}))

export const readActions = (v: unknown): Action[] => list(v).map((f) => ({
  id: text(one(f, 'id')), agent: text(one(f, 'agentName', 'agent_name')), type: text(one(f, 'actionType', 'action_type')), name: text(one(f, 'actionName', 'action_name')),
  ms: number(one(f, 'durationMs', 'duration_ms')), at: text(one(f, 'createdAt', 'created_at', 'timestamp'))
}))

export const readPairs = (v: unknown): Pair[] => list(v).map((f) => ({
  from: text(one(f, 'sourceAgent', 'source_agent', 'from')), to: text(one(f, 'targetAgent', 'target_agent', 'to')), count: number(one(f, 'count', 'total', 'transformations')) ?? 0
})).filter((p) => p.from && p.to)

export function readPerformance(v: unknown): Performance {
  const f = fields(v)
  const quantiles = fields(one(f, 'quantiles', 'latency', 'routingMs', 'routing_ms', 'latencyMs', 'latency_ms'))
  const q = (n: string): number | null => number(one(f, n, `${n}Ms`, `${n}_ms`)) ?? number(one(quantiles, n))
  const shares = one(f, 'strategies', 'triggerMatchStrategies', 'trigger_match_strategies', 'triggerMatch', 'trigger_match')
  const strategies: [string, number][] = Array.isArray(shares)
    ? shares.map(fields).map((s): [string, number] => [text(one(s, 'strategy', 'name')), number(one(s, 'count', 'share')) ?? 0])
    : Object.entries(fields(shares)).map(([n, c]): [string, number] => [n, number(c) ?? 0])
  return {
    requests: number(one(f, 'requests')) ?? 0, p50: q('p50'), p90: q('p90') ?? q('p95'), p99: q('p99'), cache: number(one(f, 'cacheHitRate', 'cache_hit_rate')), candidates: number(one(f, 'avgCandidates', 'avg_candidates', 'avgCandidatesEvaluated')),
    per_min: number(one(f, 'requestsPerMin', 'requests_per_min', 'ratePerMinute', 'rate_per_minute')), strategies: strategies.filter(([n, c]) => n && c > 0).sort((a, b) => b[1] - a[1])
  }
}

/** Actions per second over the minute before `now`, or since the oldest of them where that many are not held; `null` before the first. */
export function perSecond(actions: Action[], now: number): number | null {
  if (actions.length === 0) return null
  const times = actions.map((a) => Date.parse(a.at)).filter(Number.isFinite)
  const oldest = Math.min(...times)
  if (actions.length < ACTIONS_MAX || oldest < now - MINUTE_MS) return (1000 * times.filter((t) => t > now - MINUTE_MS).length) / MINUTE_MS
  return (1000 * (times.length - 1)) / Math.max(1000, now - oldest)
}

export class AgentsModel {
  agents: Agent[] = []
  actions: Action[] = []
  pairs: Pair[] = []
  performance: Performance | null = null
  events: number | null = null
  readonly loaded = new Set<Part>()
  /** Parts that neither HTTP nor the room gave: the page does not wait for them. */
  readonly failed = new Set<Part>()
  readonly times: Record<'p50' | 'p90' | 'p99', Point[]> = { p50: [], p90: [], p99: [] }
  private order: string[] = []
  private inbox = new Map<Part, unknown>()
  private fresh = false

  hear = (part: Part) => (e: RoomEvent): void => {
    if (e.type === 'change') this.put(part, e.change.value)
    else if ((e.type === 'snapshot' || e.type === 'resync') && e.entity && !e.entity.deleted) this.put(part, e.entity.value)
  }

  fail(part: Part): void {
    this.failed.add(part)
    this.fresh = true
  }

  /** Every part was told, and there is nothing in any of them. */
  get nothing(): boolean {
    const told = PARTS.every((p) => this.loaded.has(p))
    return told && this.agents.length + this.actions.length + this.pairs.length + (this.performance?.requests ?? 0) === 0
  }

  get ready(): boolean {
    return PARTS.every((p) => this.loaded.has(p) || this.failed.has(p))
  }

  put(part: Part, value: Json): void {
    this.inbox.set(part, value)
  }

  /** Takes in what came; rows keep the order of opening, and new agents come last. */
  drain(now: number): boolean {
    const did = this.fresh || this.inbox.size > 0
    this.fresh = false
    for (const [part, value] of this.inbox) {
      this.loaded.add(part)
      if (part === 'actions') this.actions = readActions(value)
      else if (part === 'transformations') this.pairs = readPairs(value)
      else if (part === 'performance') this.time(readPerformance(value), now)
      else {
        const all = readAgents(value)
        if (this.order.length === 0) this.order = [...all].sort((a, b) => b.requests - a.requests).map((a) => a.agent)
        for (const a of all) if (!this.order.includes(a.agent)) this.order.push(a.agent)
        this.agents = this.order.flatMap((n) => all.find((a) => a.agent === n) ?? [])
      }
    }
    this.inbox.clear()
    return did
  }

  private time(p: Performance, now: number): void {
    this.performance = p
    for (const name of ['p50', 'p90', 'p99'] as const) {
      const v = p[name]
      const points = this.times[name]
      const last = points[points.length - 1]
      if (v === null) continue
      // One point a second, which has the newest of it: what comes last may be all for long.
      if (last && now - last.t < POINT_MS) last.v = v
      else points.push({ t: now, v })
      while (points[0] && points[0].t < now - HOUR_MS) points.shift()
    }
  }
}
