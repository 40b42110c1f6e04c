// The shapes that cross the wire, as the server's contract names them. Invariant: a position is an
// opaque string here; nothing in web/ takes one apart. Not a validator: what is missing is undefined.

export type Json = null | boolean | number | string | Json[] | { [name: string]: Json }

export interface Entity {
  stream: string
  key: string
  value: Json
  version: number
  created?: string
  updated: string
  position: string | null
  deleted?: boolean
  stale_s?: number
}

export interface Change extends Entity {
  room: string
  skipped?: number
}

export interface Problem {
  type?: string
  title: string
  status?: number
  detail?: string
  errors?: { field?: string; pointer?: string; room?: string; detail?: string; remedy?: string }[]
  retry_ms?: number
  entity?: Entity | null
}

export interface RoomAck {
  room: string
  resumed?: boolean
  reason?: string
  entity?: Entity | null
  position?: string | null
  items?: Entity[]
  next?: string | null
  stale_s?: number
  feed?: string
  /** The entity did not fit into the answer and is the first change. */
  follows?: boolean
  at?: string
}

export interface SubscribeAck {
  ok: boolean
  rooms?: RoomAck[]
  problem?: Problem
  at?: string
  stale_s?: number
}

export interface PageAck {
  ok: boolean
  room?: string
  items?: Entity[]
  next?: string | null
  problem?: Problem
  at?: string
}

export interface Resync {
  room: string
  reason?: string
  entity?: Entity | null
  items?: Entity[]
  next?: string | null
  position?: string | null
}

export interface Beat {
  room: string
  position: string | null
  at?: string
  stale_s?: number
}

export interface Held {
  since: string
  where?: string
  why?: string
}

export type Kind = 'latest' | 'log' | 'aggregate' | 'recent' | 'app'
export type StreamState = 'running' | 'held' | 'starting' | 'stopped'

export interface StreamInfo {
  stream: string
  kind: Kind
  /** By PUT and DELETE of a key; where not, these answer 405. */
  writable: boolean
  app?: string | null
  declared: boolean
  topics: string[]
  keys: number | null
  positions: string[]
  lag: number[]
  state: StreamState
  held?: Held | null
}

export interface StreamsAnswer {
  streams: StreamInfo[]
  apps: string[]
  links?: { admin?: string | null; public?: string | null }
  at?: string
}

export interface Newest {
  key: string
  version: number
  position: string
  updated: string
}

export interface SummaryStream {
  stream: string
  kind?: Kind
  keys: number | null
  records_per_s: number
  stored_per_s: number
  lag: number[]
  newest: Newest | null
  state: StreamState
  held?: Held | null
  latency_ms?: { store_p50?: number; store_p99?: number; socket_p50?: number; socket_p99?: number }
}

export interface Summary {
  at: string
  streams: SummaryStream[]
}
