import { describe, expect, it } from 'vitest'
import { clockTime } from '@/composables/useFormat'
import { endedAt, runningAt, statsOf } from '@/testing'
import { expectedTradeDay } from './freshness'
import { moved } from './order'
import { steps } from './phases'
import en from './texts/en'
import zh from './texts/zh'
import { judge } from './verdict'

const EVENING = new Date('2026-11-24T20:00:00+08:00') // a Tuesday

describe('the expected trading day', () => {
  it.each([
    ['2026-11-24T20:00:00+08:00', '20261124', 'in the evening today'],
    ['2026-11-24T17:59:00+08:00', '20261123', 'before the figures are out the day before'],
    ['2026-11-23T09:00:00+08:00', '20261120', 'on a Monday morning the Friday'],
    ['2026-11-22T20:00:00+08:00', '20261120', 'on a Sunday the Friday'],
    ['2026-11-24T22:30:00Z', '20261124', 'on the market’s clock, not the reader’s'],
  ])('%s → %s: %s', (now, day) => {
    expect(expectedTradeDay(new Date(now))).toBe(day)
  })
})

describe('the verdict', () => {
  const kind = (...[stats, last = null, lost = false]: [Parameters<typeof judge>[0], Parameters<typeof judge>[1]?, boolean?]) =>
    judge(stats, last, lost, EVENING)

  it('trusts the data of the newest day, and nothing else', () => {
    expect(kind(endedAt(1))).toEqual({ kind: 'fresh', tone: 'good', tradeDay: '20261124' })
    expect(kind(endedAt(1, { last_trade_date: '20261120' })).kind).toBe('aging')
    expect(kind(endedAt(1, { status: 'success_with_errors', errors: 2 })).kind).toBe('errors')
    expect(kind(runningAt(1)).kind).toBe('running')
  })

  it('knows the difference between nothing and unknown', () => {
    expect(kind(null).kind).toBe('unknown')
    expect(kind(null, null, true).kind).toBe('unreachable')
    expect(kind(statsOf({})).kind).toBe('never')
  })

  it('says after a failure from which day the data are', () => {
    const failed = endedAt(9, { status: 'failed', reason: 'all_sources_failed', last_trade_date: null })
    expect(kind(failed)).toEqual({ kind: 'failed', tone: 'bad', tradeDay: null })
    expect(kind(failed, endedAt(1, { last_trade_date: '20261123' }))).toEqual({ kind: 'failedKept', tone: 'bad', tradeDay: '20261123' })
    expect(kind({ ...failed, reason: 'cancelled' }).kind).toBe('cancelled')
  })

  it('is not coloured while the server is away', () => {
    expect(kind(endedAt(1), null, true).tone).toBe('calm')
  })
})

describe('the phases', () => {
  it('mark where a run is', () => {
    expect(steps(runningAt(1, { phase: 'daily_data' })).map((step) => step.state).join()).toBe('past,past,past,now,ahead,ahead,ahead,ahead')
  })

  it('mark where a run broke off', () => {
    expect(steps(endedAt(1, { status: 'failed', phase: 'stock_list' }))[1]).toEqual({ phase: 'stock_list', state: 'broken' })
  })

  it('are all past in the end, and all ahead before the first run', () => {
    expect(new Set(steps(endedAt(1)).map((step) => step.state))).toEqual(new Set(['past']))
    expect(new Set(steps(statsOf({})).map((step) => step.state))).toEqual(new Set(['ahead']))
  })
})

describe('an order', () => {
  it('moves by one and stays within its ends', () => {
    expect(moved(['a', 'b', 'c'], 1, -1)).toEqual(['b', 'a', 'c'])
    expect(moved(['a', 'b', 'c'], 1, 1)).toEqual(['a', 'c', 'b'])
    expect(moved(['a', 'b'], 0, -1)).toEqual(['a', 'b'])
    expect(moved(['a', 'b'], 1, 1)).toEqual(['a', 'b'])
  })
})

describe('a length of time', () => {
  it.each([[400, '0.4 s'], [59_940, '59.9 s'], [59_960, '1:00'], [187_000, '3:07'], [3_765_000, '1:02:45']])('%d ms → %s', (given, shown) => {
    expect(clockTime(given)).toBe(shown)
  })
})

describe('the texts', () => {
  const places = (text: string) => [...text.matchAll(/\{\w+\}/g)].map(String).sort()
  const leaves = (tree: object): [string, string][] =>
    Object.entries(tree).flatMap(([key, value]) =>
      typeof value === 'string' ? [[key, value] as [string, string]] : leaves(value as object).map(([rest, text]) => [`${key}.${rest}`, text] as [string, string]),
    )

  it('have the same places for values in both languages', () => {
    const english = new Map(leaves(en))
    for (const [key, text] of leaves(zh)) expect([key, places(english.get(key) ?? '')]).toEqual([key, places(text)])
  })
})
