/** What is drawn of a run. */

import type { SyncStats } from '@/api/client'
import { STATUS_TONES, type Tone } from '@/components/tone'

/** How long it took, or has taken so far; null where nobody knows. */
export function durationOf(run: SyncStats): number | null {
  if (run.started_at && run.finished_at) return Date.parse(run.finished_at) - Date.parse(run.started_at)
  return run.progress.elapsed_ms
}

/** Rows that are stored now because of it; null for a run that never had a list. */
export function rowsOf(run: SyncStats): number | null {
  return run.total > 0 ? run.completed_tasks : null
}

/** The share of a bar in 0..1: roots, because a run of a minute must not flatten those of a second. */
export function barHeights(values: readonly (number | null)[]): number[] {
  const largest = Math.max(0, ...values.map((value) => value ?? 0))
  return values.map((value) => (value && largest ? Math.max(0.06, Math.sqrt(value / largest)) : 0))
}

/** What somebody ended on purpose is no fault. */
export function toneOf(run: SyncStats): Tone {
  return run.reason === 'cancelled' || run.reason === 'superseded' ? 'calm' : STATUS_TONES[run.status]
}

/** Colour is not enough to tell outcomes apart. */
export function glyphOf(run: SyncStats): string {
  if (run.reason === 'cancelled') return '■'
  return run.reason === 'superseded' ? '»' : GLYPHS[run.status]
}

const GLYPHS: Record<SyncStats['status'], string> = {
  success: '✓',
  success_with_errors: '!',
  failed: '✕',
  running: '…',
  idle: '·',
  never_run: '·',
}
