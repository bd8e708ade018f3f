import { describe, expect, it } from 'vitest'
import type { LogRecord } from '@/api/runs'
import { endedAt, runningAt, statsOf } from '@/testing'
import { barHeights, durationOf, glyphOf, rowsOf, toneOf } from './figures'
import { isFiltered, runFilterForm, runsQuery } from './filters'
import { atLeast, extrasOf, textOf } from './logLine'
import en from './texts/en'
import zh from './texts/zh'
import { placeOf, timelineOf } from './timeline'
import { trendOf } from './trend'
import { withNewest } from './useHistory'
import { visible } from './visible'

const BEGAN = Date.parse('2026-11-24T18:30:00.000+08:00')

function line(seq: number, ms: number, event: string, data: LogRecord['data'] = {}, level: LogRecord['level'] = 'info'): LogRecord {
  return { seq, at: new Date(BEGAN + ms).toISOString(), level, event, message: `said ${seq}`, data }
}

const answer = (seq: number, ms: number, dataset: string, source: string, outcome: string, duration_ms: number) =>
  line(seq, ms, outcome === 'ok' ? 'source_answered' : 'source_failed', { dataset, source, outcome, duration_ms, rows: 5, dropped: 0 })

const LOG = [
  line(0, 10, 'phase_entered', { phase: 'stock_list' }),
  answer(1, 900, 'stock_list', 'akshare', 'timeout', 800),
  answer(2, 1000, 'stock_list', 'tushare', 'ok', 990),
  line(3, 1010, 'phase_entered', { phase: 'write' }),
]

describe('filters', () => {
  it('survive the way into an address and back', () => {
    const filters = { status: ['failed' as const], job: 'stock_basics' as const, trigger: 'cli' as const, from: '2026-11-01', to: '', trend: true }
    expect(runFilterForm.read(runFilterForm.write(filters) as never)).toEqual(filters)
  })

  it('ask the API for what is filtered by, and for nothing else', () => {
    const filters = runFilterForm.read({ status: 'failed', trigger: 'cli', from: '2026-11-01', trend: '1', nonsense: 'x' })
    expect(runsQuery(filters)).toEqual({ status: ['failed'], trigger: ['cli'], start_date: '2026-11-01' })
    expect(isFiltered(filters)).toBe(true)
    expect(isFiltered(runFilterForm.read({ trend: '1' }))).toBe(false)
  })
})

describe('figures', () => {
  it('are unknown where they are not known, not zero', () => {
    expect(rowsOf(statsOf({ status: 'failed', reason: 'all_sources_failed' }))).toBeNull()
    expect(durationOf(statsOf({}))).toBeNull()
    expect(durationOf(endedAt(9))).toBe(3512)
    expect(barHeights([null, null])).toEqual([0, 0])
  })

  it('stay visible beside a much larger one', () => {
    const [small, large] = barHeights([1, 10_000])
    expect(small).toBeGreaterThan(0.05)
    expect(large).toBe(1)
  })

  it('tell every outcome by its sign, and one that was meant by a calm colour', () => {
    const runs = [
      endedAt(1), endedAt(1, { status: 'success_with_errors' }), endedAt(1, { status: 'failed', reason: 'error' }),
      endedAt(1, { status: 'failed', reason: 'cancelled' }), endedAt(1, { status: 'failed', reason: 'superseded' }), runningAt(1),
    ]
    expect(new Set(runs.map(glyphOf)).size).toBe(runs.length)
    expect(runs.map(toneOf)).toEqual(['good', 'warn', 'bad', 'calm', 'calm', 'busy'])
  })

  it('are drawn in the colour of how the run ended', () => {
    const colours = { good: 'g', warn: 'w', bad: 'b', busy: 'a', calm: 'c', ink: 'i', line: 'l', surface: 's' }
    const { series } = trendOf([endedAt(1, { total: 2, completed_tasks: 2 }), endedAt(2, { status: 'failed' })], { duration: 'd', rows: 'r' }, colours)
    expect(series).toMatchObject([
      { data: [{ value: 3.512, itemStyle: { color: 'g' } }, { value: 3.512, itemStyle: { color: 'b' } }] },
      { data: [2, null] },
    ])
  })
})

describe('the timeline', () => {
  const timeline = timelineOf(endedAt(9), LOG, null)

  it('lets each phase last until the next, the last until the end', () => {
    expect(timeline.phases).toEqual([
      { phase: 'stock_list', beginMs: 10, endMs: 1010 },
      { phase: 'write', beginMs: 1010, endMs: 3512 },
    ])
    expect(timeline.totalMs).toBe(3512)
  })

  it('puts each question where it was asked, in that order', () => {
    expect(timeline.questions.map(({ source, outcome, beginMs, endMs }) => [source, outcome, beginMs, endMs])).toEqual([
      ['tushare', 'ok', 10, 1000],
      ['akshare', 'timeout', 100, 900],
    ])
  })

  it('lasts as long as the run has taken while it goes on, and survives an empty log', () => {
    expect(timelineOf(runningAt(3), LOG, 5000).totalMs).toBe(5000)
    expect(timelineOf(statsOf({}), [], null)).toEqual({ totalMs: 0, phases: [], questions: [] })
  })

  it('draws nothing outside of itself, and nothing too small to be seen', () => {
    expect(placeOf({ beginMs: 1000, endMs: 1000 }, 1000)).toEqual({ left: '99.40%', width: '0.60%' })
    expect(placeOf({ beginMs: 0, endMs: 0 }, 0)).toEqual({ left: '0.00%', width: '0.60%' })
  })
})

describe('a line of the log', () => {
  const t = (key: string, named: Record<string, unknown> = {}) => [key, ...Object.values(named)].join('|')
  const read = (record: LogRecord) => textOf(record, t, String)

  it('is said in the reader’s language where its event is known, else in the server’s words', () => {
    expect(LOG.map(read)).toEqual([
      'history.log.phase|phase.stock_list',
      'history.log.failed|akshare|dataset.stock_list|said 1',
      'history.log.answered|tushare|dataset.stock_list|5',
      'history.log.phase|phase.write',
    ])
    expect(read(line(7, 0, 'something_new', { phase: 'write' }))).toBe('said 7')
  })

  it('shows what its text leaves out', () => {
    expect(extrasOf(answer(1, 0, 'roe', 'tushare', 'ok', 12))).toEqual(['duration_ms=12', 'dropped=0'])
    expect(extrasOf(line(1, 0, 'other', { codes: ['1'] }))).toEqual(['codes=["1"]'])
  })

  it('is left out when it is less grave than asked for', () => {
    const lines = [line(0, 0, 'a'), line(1, 0, 'b', {}, 'warning'), line(2, 0, 'c', {}, 'error')]
    expect(atLeast(lines, 'warning').map(({ seq }) => seq)).toEqual([1, 2])
  })
})

it('a run that goes on is shown as it was told last', () => {
  const list = [runningAt(5), endedAt(3, { run_id: 'before' })]
  expect(withNewest(list, endedAt(9))[0]?.status).toBe('success')
  expect(withNewest(list, runningAt(4))[0]?.revision).toBe(5)
})

it('a rejected value shows what cannot be seen', () => {
  expect(visible('毒\u0000药\ud800')).toBe('毒\\u0000药\\ud800')
  expect(visible('长'.repeat(10_000))).toMatch(/… \(10000\)$/)
})

it('both languages have the same texts', () => {
  const keys = (texts: object): string[] => Object.entries(texts).flatMap(([key, value]) => (typeof value === 'string' ? [key] : keys(value as object).map((each) => `${key}.${each}`)))
  expect(keys(en)).toEqual(keys(zh))
})
