import { describe, expect, it } from 'vitest'
import { exportAddress, type OperationLog } from '@/api/logs'
import { isFiltered, logFilterForm, logsQuery } from './filters'
import { outcomeOf, whoOf } from './record'
import en from './texts/en'
import zh from './texts/zh'
import { clearRequest, doomed } from './useClearing'

const NOW = new Date('2026-11-24T12:00:00Z')

const logOf = (given: Partial<OperationLog>): OperationLog => ({
  id: '1', user_id: null, username: null, action_type: 'data_import', action: '', details: {}, success: true, error_message: null,
  duration_ms: null, ip_address: null, user_agent: null, session_id: null, timestamp: '', created_at: null, ...given,
})

describe('filters', () => {
  it('survive the way into an address and back', () => {
    const filters = { type: 'data_export', success: 'false' as const, from: '', to: '2026-11-24', keyword: '取消', days: '7' as const, log: 'abc' }
    expect(logFilterForm.read(logFilterForm.write(filters) as never)).toEqual(filters)
  })

  it('say nothing of what is usual', () => {
    expect(logFilterForm.write(logFilterForm.read({}))).toEqual({})
  })

  it('ask the API for what is filtered by; the record that is open is no filter', () => {
    const filters = logFilterForm.read({ success: 'false', keyword: '  ', log: 'abc', days: '7' })
    expect(logsQuery(filters)).toEqual({ success: false })
    expect(isFiltered(logFilterForm.read({ log: 'abc' }))).toBe(false)
  })

  it('are those of the exported file', () => {
    expect(exportAddress({})).toBe('/api/system/logs/export/csv')
    expect(exportAddress({ success: false, keyword: 'a&b=c' })).toBe('/api/system/logs/export/csv?success=false&keyword=a%26b%3Dc')
  })
})

describe('clearing', () => {
  it('counts what is older than what is kept, and asks for just that', () => {
    expect(doomed({ keep: '30', type: 'data_export' }, NOW)).toEqual({ end_date: '2026-10-25T12:00:00.000Z', action_type: 'data_export' })
    expect(clearRequest({ keep: '30', type: 'data_export' })).toEqual({ days: 30, action_type: 'data_export' })
  })

  it('without a limit means everything', () => {
    expect(doomed({ keep: '', type: '' }, NOW)).toEqual({})
    expect(clearRequest({ keep: '', type: '' })).toEqual({})
  })
})

describe('a record', () => {
  it('names who it was as well as it can', () => {
    expect(whoOf(logOf({ username: 'wang', ip_address: '10.0.0.1' }))).toBe('wang · 10.0.0.1')
    expect(whoOf(logOf({ user_id: '7' }))).toBe('7')
    expect(whoOf(logOf({ ip_address: '10.0.0.1' }))).toBe('10.0.0.1')
    expect(whoOf(logOf({}))).toBeNull()
  })

  it('tells how its run ended, if it ended in a way that is known', () => {
    expect(outcomeOf(logOf({ details: { outcome: 'failed' } }))).toBe('failed')
    expect(outcomeOf(logOf({ details: { outcome: '<b>' } }))).toBeNull()
    expect(outcomeOf(logOf({}))).toBeNull()
  })
})

it('both languages have the same texts', () => {
  const keys = (texts: object): string[] => Object.entries(texts).flatMap(([key, value]) => (typeof value === 'string' ? [key] : keys(value as object).map((each) => `${key}.${each}`)))
  expect(keys(en)).toEqual(keys(zh))
})
