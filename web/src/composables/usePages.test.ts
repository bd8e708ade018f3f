import { describe, expect, it } from 'vitest'
import { usePages, type Page } from './usePages'

interface Row { id: number }

const rowsOf = (...ids: number[]): Row[] => ids.map((id) => ({ id }))

/** A list that others add to, two rows a page; a place is the id after which a page begins. */
function listOf(...ids: number[]) {
  const list = { ids, asked: [] as (number | null)[], broken: false }
  const ask = async (place: number | null): Promise<Page<Row, number>> => {
    list.asked.push(place)
    if (list.broken) throw new Error('away')
    const left = list.ids.filter((id) => place === null || id < place)
    return { rows: rowsOf(...left.slice(0, 2)), total: list.ids.length, next: left.length > 2 ? (left[1] ?? null) : null }
  }
  return { list, pages: usePages(ask, (row) => row.id) }
}

describe('pages', () => {
  it('come one after another until there are no more', async () => {
    const { pages } = listOf(5, 4, 3, 2, 1)
    await pages.reload()
    await pages.more()
    await pages.more()
    await pages.more()
    expect(pages.rows.value).toEqual(rowsOf(5, 4, 3, 2, 1))
    expect([pages.total.value, pages.next.value]).toEqual([5, null])
  })

  it('keep the reader’s place when something new comes at the top', async () => {
    const { list, pages } = listOf(4, 3, 2, 1)
    await pages.reload()
    list.ids = [5, ...list.ids]
    await pages.refresh()
    await pages.more()
    expect(pages.rows.value).toEqual(rowsOf(5, 4, 3, 2, 1))
  })

  it('begin anew when so much is new that something would be missing in between', async () => {
    const { list, pages } = listOf(4, 3, 2, 1)
    await pages.reload()
    await pages.more()
    list.ids = [9, 8, 7, ...list.ids]
    await pages.refresh()
    expect(pages.rows.value).toEqual(rowsOf(9, 8))
  })

  it('keep what is shown when one cannot be loaded, and try that one again', async () => {
    const { list, pages } = listOf(4, 3, 2, 1)
    await pages.reload()
    list.broken = true
    await pages.more()
    expect([pages.state.value, pages.error.value?.message]).toEqual(['error', 'away'])
    expect(pages.rows.value).toEqual(rowsOf(4, 3))
    list.broken = false
    await pages.retry()
    expect(pages.rows.value).toEqual(rowsOf(4, 3, 2, 1))
    expect(list.asked).toEqual([null, 3, 3])
  })

  it('of two questions at once show the answer to the later', async () => {
    const answers: ((page: Page<Row, number>) => void)[] = []
    const pages = usePages<Row, number>(() => new Promise((resolve) => answers.push(resolve)), (row) => row.id)
    const both = [pages.reload(), pages.reload()]
    answers[1]?.({ rows: rowsOf(2), total: 1, next: null })
    answers[0]?.({ rows: rowsOf(1), total: 1, next: null })
    await Promise.all(both)
    expect(pages.rows.value).toEqual(rowsOf(2))
  })
})
