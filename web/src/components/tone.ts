import type { Attempt, SyncStats } from '@/api/client'

/** What a colour means, everywhere. */
export type Tone = 'good' | 'warn' | 'bad' | 'busy' | 'calm'

export const STATUS_TONES: Record<SyncStats['status'], Tone> = {
  idle: 'calm',
  never_run: 'calm',
  running: 'busy',
  success: 'good',
  success_with_errors: 'warn',
  failed: 'bad',
}

const HARMLESS = new Set<Attempt['outcome']>(['skipped', 'not_final', 'empty'])

export function outcomeTone(outcome: Attempt['outcome']): Tone {
  if (outcome === 'ok') return 'good'
  return HARMLESS.has(outcome) ? 'calm' : 'bad'
}
