/** The runs of the history page; the one that is under way moves in the list as it does on the sync page. */

import { computed, watch, type Ref } from 'vue'
import type { SyncStats } from '@/api/client'
import { listRuns } from '@/api/runs'
import { usePages } from '@/composables/usePages'
import { useRemote } from '@/composables/useRemote'
import { useSyncStatus } from '@/composables/useSyncStatus'
import { runsQuery, type RunFilters } from './filters'

const PAGE_SIZE = 20
export const STRIP_SIZE = 30

/** The list with the newest snapshot of the run that is in it. */
export function withNewest(runs: readonly SyncStats[], newest: SyncStats | null): readonly SyncStats[] {
  return runs.map((run) => (newest !== null && run.run_id === newest.run_id && newest.revision > run.revision ? newest : run))
}

export function useHistory(filters: Readonly<Ref<RunFilters>>) {
  const { stats } = useSyncStatus()

  const pages = usePages<SyncStats, string>(
    async (cursor) => {
      const query = { ...runsQuery(filters.value), page_size: PAGE_SIZE, ...(cursor && { cursor }) }
      const { records, total, next_cursor } = await listRuns(query)
      return { rows: records, total, next: next_cursor }
    },
    (run) => run.run_id,
  )
  const strip = useRemote(async () => (await listRuns({ page_size: STRIP_SIZE })).records)

  watch(() => JSON.stringify(runsQuery(filters.value)), pages.reload, { immediate: true })
  watch(
    () => [stats.value?.run_id, stats.value?.finished_at],
    (_now, before) => {
      void strip.refresh()
      if (before?.[0] !== undefined) void pages.refresh()
    },
    { immediate: true },
  )

  return {
    pages,
    strip,
    runs: computed(() => withNewest(pages.rows.value, stats.value)),
    last: computed(() => withNewest(strip.data.value ?? [], stats.value)),
  }
}
