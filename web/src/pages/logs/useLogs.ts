/** The records of the operation-log page, and the statistics above them. */

import { watch, type Ref } from 'vue'
import { getLogStats, listLogs, type OperationLog } from '@/api/logs'
import { usePages } from '@/composables/usePages'
import { useRemote } from '@/composables/useRemote'
import { logsQuery, type LogFilters } from './filters'

const PAGE_SIZE = 20

export function useLogs(filters: Readonly<Ref<LogFilters>>) {
  const pages = usePages<OperationLog, number>(
    async (place) => {
      const found = await listLogs({ ...logsQuery(filters.value), page: place ?? 1, page_size: PAGE_SIZE })
      return { rows: found.logs, total: found.total, next: found.page < found.total_pages ? found.page + 1 : null }
    },
    (log) => log.id,
  )
  const stats = useRemote(() => getLogStats(Number(filters.value.days)))

  watch(() => JSON.stringify(logsQuery(filters.value)), pages.reload, { immediate: true })
  watch(() => filters.value.days, stats.refresh, { immediate: true })

  /** After something was deleted. */
  function reload(): void {
    void pages.reload()
    void stats.refresh()
  }

  return { pages, stats, reload }
}
