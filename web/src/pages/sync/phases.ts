import type { SyncStats } from '@/api/client'

export const PHASES = ['starting', 'stock_list', 'trade_date', 'daily_data', 'merge', 'write', 'reconcile', 'done'] as const
export type StepState = 'past' | 'now' | 'broken' | 'ahead'

/** Where a run is among its phases; one that failed keeps the phase where it broke off. */
export function steps(stats: SyncStats): { phase: (typeof PHASES)[number]; state: StepState }[] {
  const at = stats.phase === null ? -1 : PHASES.indexOf(stats.phase)
  const here: StepState = stats.status === 'running' ? 'now' : stats.status === 'failed' ? 'broken' : 'past'
  return PHASES.map((phase, index) => ({ phase, state: index === at ? here : index < at ? 'past' : 'ahead' }))
}
