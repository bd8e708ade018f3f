/** The operation log: who did what. */

import { client, unwrap } from './client'
import type { components, paths } from './schema'

type Schemas = components['schemas']
export type OperationLog = Schemas['OperationLogOut']
export type OperationLogs = Schemas['OperationLogsOut']
export type LogStats = Schemas['LogStatsOut']
export type Cleared = Schemas['ClearedOut']
export type LogsQuery = NonNullable<paths['/api/system/logs/list']['get']['parameters']['query']>
export type ClearRequest = Schemas['ClearLogsRequest']

export const LONGEST_KEYWORD = 64

export const listLogs = (query: LogsQuery): Promise<OperationLogs> =>
  unwrap(client.GET('/api/system/logs/list', { params: { query } }))

export const getLogRecord = (log_id: string): Promise<OperationLog> =>
  unwrap(client.GET('/api/system/logs/{log_id}', { params: { path: { log_id } } }))

export const getLogStats = (days: number): Promise<LogStats> =>
  unwrap(client.GET('/api/system/logs/stats', { params: { query: { days } } }))

export const clearLogs = (body: ClearRequest): Promise<Cleared> => unwrap(client.POST('/api/system/logs/clear', { body }))

/** Where the file is that holds just what these filters show. */
export function exportAddress(query: LogsQuery): string {
  const words = new URLSearchParams()
  for (const [name, value] of Object.entries(query)) if (value !== undefined && value !== null) words.set(name, String(value))
  return `/api/system/logs/export/csv${words.size ? `?${words.toString()}` : ''}`
}
