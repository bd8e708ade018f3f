/** Clearing the log: how much would go, said before it goes. */

import { computed, ref, watch } from 'vue'
import { clearLogs, listLogs, type ClearRequest, type LogsQuery } from '@/api/logs'
import { useRemote } from '@/composables/useRemote'

export const KEEP_DAYS = ['7', '30', '90', '180', '365'] as const
const DAY_MS = 86_400_000

export interface Clearing {
  /** Days to keep; "" keeps nothing. */
  keep: string
  type: string
}

/** What of the list would be deleted at this moment. */
export function doomed({ keep, type }: Clearing, now: Date): LogsQuery & { end_date?: string } {
  return {
    ...(keep && { end_date: new Date(now.getTime() - Number(keep) * DAY_MS).toISOString() }),
    ...(type && { action_type: type }),
  }
}

export function clearRequest({ keep, type }: Clearing): ClearRequest {
  return { ...(keep && { days: Number(keep) }), ...(type && { action_type: type }) }
}

export function useClearing() {
  const open = ref(false)
  const keep = ref<string>('90')
  const type = ref('')
  const wanted = computed<Clearing>(() => ({ keep: keep.value, type: type.value }))

  const count = useRemote(async () => {
    const query = doomed(wanted.value, new Date())
    const { total } = await listLogs({ ...query, page_size: 1 })
    return { total, before: query.end_date ?? null }
  })
  watch([open, wanted], () => {
    if (open.value) void count.refresh()
  })

  const deletion = useRemote(() => clearLogs(clearRequest(wanted.value)))

  /** Resolves to how many were deleted; null where that failed, and `deletion.error` says why. */
  async function confirm(): Promise<number | null> {
    await deletion.refresh()
    if (deletion.state.value !== 'done') return null
    open.value = false
    return deletion.data.value?.deleted_count ?? 0
  }

  return { open, keep, type, count, deletion, confirm }
}
