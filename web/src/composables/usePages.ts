/** A list that is read page by page, newest first, while others add to it. */

import { computed, ref, shallowRef } from 'vue'
import type { Load } from './syncStatus'

export interface Page<Row, Place> {
  rows: readonly Row[]
  total: number
  /** Where the next page begins; null at the end. */
  next: Place | null
}

export function usePages<Row, Place>(
  ask: (place: Place | null) => Promise<Page<Row, Place>>,
  keyOf: (row: Row) => unknown,
) {
  const rows = shallowRef<readonly Row[]>([])
  const total = ref<number | null>(null)
  const next = shallowRef<Place | null>(null)
  const state = ref<Load>('idle')
  const error = shallowRef<Error | null>(null)
  let turn = 0
  let failed: () => Promise<void> = reload

  async function load(place: Place | null, take: (page: Page<Row, Place>) => void, again: () => Promise<void>): Promise<void> {
    const mine = ++turn
    state.value = 'loading'
    try {
      const page = await ask(place)
      if (mine !== turn) return
      take(page)
      total.value = page.total
      error.value = null
      state.value = 'done'
    } catch (caught) {
      if (mine !== turn) return
      failed = again
      error.value = caught instanceof Error ? caught : new Error(String(caught))
      state.value = 'error'
    }
  }

  function replace(page: Page<Row, Place>): void {
    rows.value = page.rows
    next.value = page.next
  }

  /** Begins anew; what was shown stays until the answer is there. */
  function reload(): Promise<void> {
    return load(null, replace, reload)
  }

  /** Adds the next page. */
  function more(): Promise<void> {
    if (next.value === null) return Promise.resolve()
    return load(
      next.value,
      (page) => {
        rows.value = united(rows.value, page.rows, keyOf)
        next.value = page.next
      },
      more,
    )
  }

  /** Takes in what is new at the top, and keeps the reader's place. */
  function refresh(): Promise<void> {
    return load(
      null,
      (page) => {
        const known = new Set(rows.value.map(keyOf))
        if (!page.rows.some((row) => known.has(keyOf(row)))) return replace(page)
        rows.value = united(page.rows, rows.value, keyOf)
      },
      refresh,
    )
  }

  const started = computed(() => total.value !== null)
  return { rows, total, next, state, error, started, reload, more, refresh, retry: () => failed() }
}

/** Both in this order; of two with one key the first. */
function united<Row>(first: readonly Row[], second: readonly Row[], keyOf: (row: Row) => unknown): Row[] {
  const known = new Set(first.map(keyOf))
  return [...first, ...second.filter((row) => !known.has(keyOf(row)))]
}
