/** What the tests share. */

import type { SyncStats } from '@/api/client'

const NEVER: SyncStats = {
  job: 'stock_basics_multi_source',
  data_type: 'stock_basics',
  status: 'never_run',
  started_at: null,
  finished_at: null,
  total: 0,
  inserted: 0,
  updated: 0,
  errors: 0,
  last_trade_date: null,
  data_sources_used: [],
  source_stats: {},
  message: null,
  total_tasks: 0,
  completed_tasks: 0,
  failed_tasks: 0,
  run_id: null,
  revision: 0,
  reason: null,
  stale_since: null,
  unchanged: 0,
  trigger: null,
  phase: null,
  progress: { percent: null, rate_per_s: null, eta_seconds: null, elapsed_ms: null },
  attempts: [],
  rejects_sample: [],
}

const ENDED_AT = '2026-11-24T18:30:03.512000+08:00'

export const statsOf = (given: Partial<SyncStats>): SyncStats => ({ ...NEVER, ...given })

export const runningAt = (revision: number, given: Partial<SyncStats> = {}): SyncStats =>
  statsOf({ status: 'running', run_id: 'one', revision, started_at: '2026-11-24T18:30:00.000000+08:00', phase: 'write', ...given })

export const endedAt = (revision: number, given: Partial<SyncStats> = {}): SyncStats =>
  runningAt(revision, { status: 'success', finished_at: ENDED_AT, phase: 'done', last_trade_date: '20261124', ...given })
