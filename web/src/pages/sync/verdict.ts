/** One glance: can the data be trusted now? */

import type { SyncStats } from '@/api/client'
import type { Tone } from '@/components/tone'
import { expectedTradeDay } from './freshness'

export type Kind =
  | 'unknown'
  | 'unreachable'
  | 'never'
  | 'running'
  | 'fresh'
  | 'aging'
  | 'errors'
  | 'failed'
  | 'failedKept'
  | 'cancelled'
  | 'cancelledKept'

export interface Verdict {
  kind: Kind
  tone: Tone
  /** The trading day of the stored data, "YYYYMMDD"; null where unknown. */
  tradeDay: string | null
}

const TONES: Record<Kind, Tone> = {
  unknown: 'calm',
  unreachable: 'calm',
  never: 'calm',
  running: 'busy',
  fresh: 'good',
  aging: 'warn',
  errors: 'warn',
  failed: 'bad',
  failedKept: 'bad',
  cancelled: 'warn',
  cancelledKept: 'warn',
}

/** Judges the status; `last` is the newest run that succeeded, null where none is known. */
export function judge(stats: SyncStats | null, last: SyncStats | null, lost: boolean, now: Date): Verdict {
  const tradeDay = (stats && completed(stats) ? stats : last)?.last_trade_date ?? null
  const kind = stats === null ? (lost ? 'unreachable' : 'unknown') : kindOf(stats, tradeDay, now)
  return { kind, tone: lost ? 'calm' : TONES[kind], tradeDay }
}

function kindOf(stats: SyncStats, tradeDay: string | null, now: Date): Kind {
  switch (stats.status) {
    case 'running':
      return 'running'
    case 'idle':
    case 'never_run':
      return 'never'
    case 'failed': {
      const kind = stats.reason === 'cancelled' ? 'cancelled' : 'failed'
      return tradeDay === null ? kind : `${kind}Kept`
    }
    default:
      if (tradeDay !== null && tradeDay < expectedTradeDay(now)) return 'aging'
      return stats.status === 'success' ? 'fresh' : 'errors'
  }
}

export const completed = (stats: SyncStats): boolean =>
  stats.status === 'success' || stats.status === 'success_with_errors'
