/** The runs that were, and what each of them left behind. */

import { client, unwrap, type SyncStats } from './client'
import type { components, paths } from './schema'

type Schemas = components['schemas']
export type RunStatus = Schemas['SyncStatus']
export type Job = Schemas['Job']
export type Trigger = Schemas['Trigger']
export type Runs = Schemas['RunsOut']
export type LogRecord = Schemas['LogRecordOut']
export type LogPart = Schemas['LogOut']
export type Reject = Schemas['RejectOut']
export type Rejects = Schemas['RejectsOut']
export type Change = Schemas['ChangeOut']
export type ChangeKind = Schemas['ChangeKind']
export type Changes = Schemas['ChangesOut']
export type RunsQuery = NonNullable<paths['/api/sync/runs']['get']['parameters']['query']>

export const listRuns = (query: RunsQuery): Promise<Runs> => unwrap(client.GET('/api/sync/runs', { params: { query } }))

export const getRun = (run_id: string): Promise<SyncStats> =>
  unwrap(client.GET('/api/sync/runs/{run_id}', { params: { path: { run_id } } }))

/** The lines after one; -1 begins with the first. */
export const getLog = (run_id: string, after: number): Promise<LogPart> =>
  unwrap(client.GET('/api/sync/runs/{run_id}/log', { params: { path: { run_id }, query: { after, limit: 1000 } } }))

export const getRejects = (run_id: string, page: number): Promise<Rejects> =>
  unwrap(client.GET('/api/sync/runs/{run_id}/rejects', { params: { path: { run_id }, query: { page, page_size: 50 } } }))

export const getChanges = (run_id: string, kind: ChangeKind | null, page: number): Promise<Changes> =>
  unwrap(
    client.GET('/api/sync/runs/{run_id}/changes', {
      params: { path: { run_id }, query: { page, page_size: 50, ...(kind && { kind }) } },
    }),
  )

export interface LogListener {
  onLine: (line: LogRecord) => void
  onEnd: (stats: SyncStats) => void
  /** The stream was refused, or has broken for good. */
  onLost: () => void
}

/** Follows the log of a run after a line; gives back what closes it. The browser resumes it by itself. */
export function followLog(run_id: string, after: number, listener: LogListener): () => void {
  const stream = new EventSource(`/api/sync/runs/${encodeURIComponent(run_id)}/log?follow=true&after=${after}`)
  const read = <Data>(event: MessageEvent<string>): Data => JSON.parse(event.data) as Data
  stream.addEventListener('log', (event: MessageEvent<string>) => listener.onLine(read<LogRecord>(event)))
  stream.addEventListener('end', (event: MessageEvent<string>) => {
    stream.close()
    listener.onEnd(read<SyncStats>(event))
  })
  stream.addEventListener('error', () => {
    if (stream.readyState === EventSource.CLOSED) listener.onLost()
  })
  return () => stream.close()
}
