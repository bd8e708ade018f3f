import { describe, expect, it } from 'vitest'
import { compactQuery, day, text, word, words } from './query'

describe('an address', () => {
  it('gives only words that are allowed, once each', () => {
    const query = { status: ['failed', 'failed', 'nonsense', null], job: 'other' }
    expect(words(query, 'status', ['success', 'failed'])).toEqual(['failed'])
    expect(word(query, 'job', ['this'])).toBe('')
  })

  it.each([['2026-02-28', '2026-02-28'], ['2026-02-30', ''], ['2026-13-01', ''], ['yesterday', ''], ['', '']])('gives of the day %s: "%s"', (given, expected) => {
    expect(day({ from: given }, 'from')).toBe(expected)
  })

  it('gives no text that is longer than may be', () => {
    expect(text({ keyword: 'x'.repeat(100) }, 'keyword', 64)).toHaveLength(64)
  })

  it('says nothing of what is empty', () => {
    expect(compactQuery({ a: '', b: [], c: 'x' })).toEqual({ c: 'x' })
  })
})
