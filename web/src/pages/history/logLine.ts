/** How a line of a run's log reads: what is known is said in the reader's language, the rest in the server's words. */

import type { LogRecord } from '@/api/runs'

type Translate = (key: string, named?: Record<string, unknown>) => string

const SAID: Record<string, readonly string[]> = {
  phase_entered: ['phase'],
  source_answered: ['dataset', 'source', 'rows', 'outcome'],
  source_failed: ['dataset', 'source'],
}

export type Level = LogRecord['level']
export const LEVELS = ['info', 'warning', 'error'] as const satisfies readonly Level[]

/** Those of at least this level. */
export function atLeast(lines: readonly LogRecord[], lowest: Level): readonly LogRecord[] {
  return lines.filter(({ level }) => LEVELS.indexOf(level) >= LEVELS.indexOf(lowest))
}

export function textOf({ event, data, message }: LogRecord, t: Translate, count: (value: number) => string): string {
  const source = typeof data.source === 'string' ? data.source : null
  const dataset = typeof data.dataset === 'string' ? t(`dataset.${data.dataset}`) : null
  if (event === 'phase_entered' && typeof data.phase === 'string') return t('history.log.phase', { phase: t(`phase.${data.phase}`) })
  if (source === null || dataset === null) return message
  if (event === 'source_answered') return t('history.log.answered', { source, dataset, rows: count(Number(data.rows)) })
  if (event === 'source_failed') return t('history.log.failed', { source, dataset, message })
  return message
}

/** What a line knows besides what its text says, as "name=value". */
export function extrasOf({ event, data }: LogRecord): string[] {
  const said = SAID[event] ?? []
  return Object.entries(data).filter(([name]) => !said.includes(name)).map(([name, value]) => `${name}=${typeof value === 'string' ? value : JSON.stringify(value)}`)
}
