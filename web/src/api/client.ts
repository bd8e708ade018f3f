/** The one file that talks to the server. */

import createClient from 'openapi-fetch'
import type { components, paths } from './schema'

type Schemas = components['schemas']
export type SyncStats = Schemas['SyncStatsOut']
export type Attempt = Schemas['AttemptOut']
export type SourceHealth = Schemas['SourceHealthOut']
export type DatasetHealth = Schemas['DatasetHealthOut']
export type SourceTest = Schemas['SourceTestOut']
export type Recommendations = Schemas['RecommendationsOut']
export type Dataset = Schemas['Dataset']
export type Mode = 'multi' | 'single'

const LONGEST_MS = 10_000
const EVENTS = '/api/sync/stock_basics/events'

/** The server refused: `code` is the problem's, stable; the message is for people. */
export class ApiProblem extends Error {
  override readonly name = 'ApiProblem'
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
  ) {
    super(message)
  }
}

/** No answer at all: the server or the network is away. */
export class Unreachable extends Error {
  override readonly name = 'Unreachable'
}

interface Answer<Data> {
  data?: { data: Data; message: string } | undefined
  error?: unknown
  response: Response
}

export const client = createClient<paths, 'application/json'>({ baseUrl: location.origin, fetch: (request) => fetchOrExplain(request) })

async function fetchOrExplain(request: Request): Promise<Response> {
  try {
    return await fetch(request, { signal: AbortSignal.timeout(LONGEST_MS) })
  } catch (error) {
    throw new Unreachable(error instanceof Error ? error.message : String(error))
  }
}

/** Takes the data out of the envelope. Throws ApiProblem, Unreachable. */
export async function unwrap<Data>(asked: Promise<Answer<Data>>): Promise<Data> {
  return (await unwrapWithMessage(asked)).data
}

/** The data, and what the server says about them. Throws ApiProblem, Unreachable. */
export async function unwrapWithMessage<Data>(asked: Promise<Answer<Data>>): Promise<{ data: Data; message: string }> {
  const { data, error, response } = await asked
  if (data) return data
  const problem = (typeof error === 'object' && error !== null ? error : {}) as Partial<Schemas['ProblemOut']>
  throw new ApiProblem(response.status, problem.code ?? 'http_error', problem.message ?? `HTTP ${response.status}`)
}

export const getStatus = (): Promise<SyncStats> => unwrap(client.GET('/api/sync/stock_basics/status'))

export interface RunOptions {
  mode: Mode
  sources: readonly string[]
  force: boolean
}

export function startRun({ mode, sources, force }: RunOptions): Promise<{ data: SyncStats; message: string }> {
  const preferred_sources = sources.join(',') || undefined
  return unwrapWithMessage(client.POST('/api/sync/stock_basics/run', { params: { query: { mode, force, ...(preferred_sources && { preferred_sources }) } } }))
}

export const cancelRun = (): Promise<SyncStats> => unwrap(client.POST('/api/sync/stock_basics/cancel'))

export const getSourcesHealth = (): Promise<SourceHealth[]> => unwrap(client.GET('/api/sync/sources/health'))

export const getRecommendations = (): Promise<Recommendations> => unwrap(client.GET('/api/sync/multi-source/recommendations'))

/** The newest run that stored what it set out to store; null where there is none. */
export async function getLastSuccess(): Promise<SyncStats | null> {
  const query = { status: ['success', 'success_with_errors'] as SyncStats['status'][], page_size: 1 }
  const found = await unwrap(client.GET('/api/sync/runs', { params: { query } }))
  return found.records[0] ?? null
}

/** A real call to one source, or to all. */
export async function testSources(name?: string): Promise<SourceTest[]> {
  const body = name ? { source_name: name } : {}
  return (await unwrap(client.POST('/api/sync/multi-source/test-sources', { body }))).test_results
}

export interface StatusListener {
  onStatus: (stats: SyncStats) => void
  /** The stream has ended or was refused; it does not come back by itself. */
  onLost: () => void
}

/** Opens the stream of status changes after a revision; gives back what closes it. */
export function openStatusStream(after: number | null, listener: StatusListener): () => void {
  const stream = new EventSource(after === null ? EVENTS : `${EVENTS}?last_event_id=${after}`)
  stream.addEventListener('status', (event: MessageEvent<string>) => {
    listener.onStatus(JSON.parse(event.data) as SyncStats)
  })
  stream.addEventListener('error', () => {
    stream.close() // when to come back is decided in one place, not by the browser
    listener.onLost()
  })
  return () => stream.close()
}
