/** Which runs are wanted: in the address, and as the API asks for it. */

import type { LocationQuery, LocationQueryRaw } from 'vue-router'
import type { Job, RunsQuery, RunStatus, Trigger } from '@/api/runs'
import { compactQuery, day, word, words } from '@/app/query'

export const STATUSES = ['success', 'success_with_errors', 'failed', 'running'] as const satisfies readonly RunStatus[]
export const JOBS = ['stock_basics_multi_source', 'stock_basics'] as const satisfies readonly Job[]
export const TRIGGERS = ['api', 'cli', 'schedule', 'startup', 'rescue'] as const satisfies readonly Trigger[]

export interface RunFilters {
  status: RunStatus[]
  job: Job | ''
  trigger: Trigger | ''
  from: string
  to: string
  trend: boolean
}

export const runFilterForm = {
  read: (query: LocationQuery): RunFilters => ({
    status: words<RunStatus>(query, 'status', STATUSES),
    job: word<Job>(query, 'job', JOBS),
    trigger: word<Trigger>(query, 'trigger', TRIGGERS),
    from: day(query, 'from'),
    to: day(query, 'to'),
    trend: query.trend === '1',
  }),
  write: ({ trend, ...filters }: RunFilters): LocationQueryRaw => compactQuery({ ...filters, trend: trend ? '1' : '' }),
}

/** What the API is asked; nothing about what is not filtered by. */
export function runsQuery({ status, job, trigger, from, to }: RunFilters): RunsQuery {
  return {
    ...(status.length && { status }),
    ...(job && { job }),
    ...(trigger && { trigger: [trigger] }),
    ...(from && { start_date: from }),
    ...(to && { end_date: to }),
  }
}

export const isFiltered = (filters: RunFilters): boolean => Object.keys(runsQuery(filters)).length > 0
