/** When a run did what: its phases and its questions to the sources, out of what its log says. */

import type { Attempt, SyncStats } from '@/api/client'
import type { LogRecord } from '@/api/runs'

export type Phase = NonNullable<SyncStats['phase']>

interface Span {
  /** Milliseconds since the run began. */
  beginMs: number
  endMs: number
}

export interface PhaseSpan extends Span {
  phase: Phase
}

export interface QuestionSpan extends Span {
  dataset: Attempt['dataset']
  source: string
  outcome: Attempt['outcome']
}

export interface Timeline {
  totalMs: number
  phases: PhaseSpan[]
  questions: QuestionSpan[]
}

const ANSWERS = new Set(['source_answered', 'source_failed'])

/** `elapsedMs` is how long a run that goes on has taken. */
export function timelineOf(run: SyncStats, log: readonly LogRecord[], elapsedMs: number | null): Timeline {
  const began = run.started_at ? Date.parse(run.started_at) : NaN
  const since = (moment: string): number => Math.max(0, Date.parse(moment) - began)
  const lastMs = Math.max(0, ...log.map(({ at }) => since(at)))
  const totalMs = Math.max(lastMs, run.finished_at ? since(run.finished_at) : (elapsedMs ?? 0))

  const entered = log.filter(({ event }) => event === 'phase_entered')
  const phases = entered.map(({ at, data }, index): PhaseSpan => {
    const following = entered[index + 1]
    return { phase: data.phase as Phase, beginMs: since(at), endMs: following ? since(following.at) : totalMs }
  })
  const questions = log.filter(({ event }) => ANSWERS.has(event)).map(({ at, data }) => questionOf(data, since(at)))
  return { totalMs, phases, questions: questions.sort((one, other) => one.beginMs - other.beginMs) }
}

/** The log tells when an answer came and how long it took. */
function questionOf(data: LogRecord['data'], endMs: number): QuestionSpan {
  const tookMs = typeof data.duration_ms === 'number' ? data.duration_ms : 0
  return {
    dataset: data.dataset as Attempt['dataset'],
    source: String(data.source),
    outcome: data.outcome as Attempt['outcome'],
    beginMs: Math.max(0, endMs - tookMs),
    endMs,
  }
}

/** Where a span is drawn, in percent; never too narrow to be seen. */
export function placeOf({ beginMs, endMs }: Span, totalMs: number): { left: string; width: string } {
  const share = (milliseconds: number): number => (totalMs > 0 ? (100 * milliseconds) / totalMs : 0)
  const width = Math.max(0.6, share(endMs - beginMs))
  return { left: `${Math.min(share(beginMs), 100 - width).toFixed(2)}%`, width: `${width.toFixed(2)}%` }
}
