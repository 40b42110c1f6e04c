// HTTP, with problem+json as an Error that carries it. Invariant: an answer that is not 2xx never
// looks like a value. Not a cache.
import type { Entity, Json, Problem, StreamsAnswer } from './wire'
import { heardTime } from './live/clock'

export class ProblemError extends Error {
  constructor(readonly problem: Problem, readonly status: number) {
    super(problem.detail ?? problem.title)
  }
}

export interface Answer<T> { status: number; body: T; headers: Headers }

export async function call<T>(method: string, path: string, o: { body?: string; headers?: Record<string, string>; signal?: AbortSignal; ok?: number[] } = {}): Promise<Answer<T>> {
  let answer: Response
  try {
    answer = await fetch(path, { method, body: o.body, signal: o.signal, headers: { accept: 'application/json', ...(o.body === undefined ? {} : { 'content-type': 'application/json' }), ...o.headers } })
  } catch (e) {
    if ((e as Error).name === 'AbortError') throw e
    throw new ProblemError({ title: 'No answer', detail: 'The server could not be reached. Nothing is known about this request.' }, 0)
  }
  const text = await answer.text()
  let body: unknown = null
  try {
    body = text ? JSON.parse(text) : null
  } catch {
    body = text
  }
  if (!answer.ok && !o.ok?.includes(answer.status)) {
    const p = body && typeof body === 'object' ? (body as Problem) : null
    throw new ProblemError(p && p.title ? p : { title: answer.statusText || `Answer ${answer.status}`, detail: typeof body === 'string' ? body.slice(0, 300) : undefined }, answer.status)
  }
  return { status: answer.status, body: body as T, headers: answer.headers }
}

const entityPath = (stream: string, key: string): string => `/api/streams/${encodeURIComponent(stream)}/${encodeURIComponent(key)}`

export async function streams(signal?: AbortSignal): Promise<StreamsAnswer> {
  const sent = Date.now()
  const { body } = await call<StreamsAnswer>('GET', '/api/streams', { signal })
  heardTime(body.at, sent, Date.now())
  return { ...body, streams: body.streams ?? [], apps: body.apps ?? [] }
}

export interface Listing { items: Entity[]; next: string | null }

export async function list(stream: string, query: URLSearchParams, signal?: AbortSignal): Promise<Listing> {
  const { body } = await call<Listing>('GET', `/api/streams/${encodeURIComponent(stream)}?${query}`, { signal })
  return { items: body.items ?? [], next: body.next ?? null }
}

/** A write by plain PUT: the log took it, the store not yet. */
export async function put(stream: string, key: string, body: string): Promise<{ position: string }> {
  return (await call<{ position: string }>('PUT', entityPath(stream, key), { body })).body
}

/** Answers once the store is at `position` or beyond. */
export async function readAt(stream: string, key: string, position: string, signal?: AbortSignal): Promise<Entity> {
  return (await call<Entity>('GET', `${entityPath(stream, key)}?min_position=${encodeURIComponent(position)}`, { signal })).body
}

/** A write that holds only for `version` (0: only if the key is not there); answers once stored. */
export async function putIf(stream: string, key: string, body: string, version: number): Promise<Entity> {
  const headers: Record<string, string> = version > 0 ? { 'if-match': `"${version}"` } : { 'if-none-match': '*' }
  return (await call<Entity>('PUT', `${entityPath(stream, key)}?wait=stored`, { body, headers })).body
}

export async function removeIf(stream: string, key: string, version: number): Promise<void> {
  await call<unknown>('DELETE', `${entityPath(stream, key)}?wait=stored`, { headers: { 'if-match': `"${version}"` } })
}

export const compact = (value: Json): string => JSON.stringify(value)
