/** Which records are wanted: in the address, and as the API asks for it. */

import type { LocationQuery, LocationQueryRaw } from 'vue-router'
import { LONGEST_KEYWORD, type LogsQuery } from '@/api/logs'
import { compactQuery, day, text, word } from '@/app/query'

/** What this service records; a front end's own records may be of other types. */
export const TYPES = ['data_import', 'data_export', 'cache_operation', 'system_settings', 'database_operation'] as const
export const PERIODS = ['7', '30', '90', '365'] as const
export type Period = (typeof PERIODS)[number]

const USUAL_PERIOD: Period = '30'
const LONGEST_WORD = 64

export interface LogFilters {
  type: string
  success: 'true' | 'false' | ''
  from: string
  to: string
  keyword: string
  /** The period of the statistics, in days. */
  days: Period
  /** The record that is looked at. */
  log: string
}

export const logFilterForm = {
  read: (query: LocationQuery): LogFilters => ({
    type: text(query, 'type', LONGEST_WORD),
    success: word(query, 'success', ['true', 'false'] as const),
    from: day(query, 'from'),
    to: day(query, 'to'),
    keyword: text(query, 'keyword', LONGEST_KEYWORD),
    days: word(query, 'days', PERIODS) || USUAL_PERIOD,
    log: text(query, 'log', LONGEST_WORD),
  }),
  write: ({ days, ...filters }: LogFilters): LocationQueryRaw =>
    compactQuery({ ...filters, days: days === USUAL_PERIOD ? '' : days }),
}

/** What the API is asked; nothing about what is not filtered by. */
export function logsQuery({ type, success, from, to, keyword }: LogFilters): LogsQuery {
  return {
    ...(type && { action_type: type }),
    ...(success && { success: success === 'true' }),
    ...(from && { start_date: from }),
    ...(to && { end_date: to }),
    ...(keyword.trim() && { keyword: keyword.trim() }),
  }
}

export const isFiltered = (filters: LogFilters): boolean => Object.keys(logsQuery(filters)).length > 0
