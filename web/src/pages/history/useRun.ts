/** One run, live while it goes on. */

import { computed, watch } from 'vue'
import { getRun } from '@/api/runs'
import { useRemote } from '@/composables/useRemote'
import { useSyncStatus } from '@/composables/useSyncStatus'
import { durationOf } from './figures'

export function useRun(runId: string) {
  const { stats, elapsedMs } = useSyncStatus()
  const { data, state, error, refresh } = useRemote(() => getRun(runId))

  /** What was asked for, or what the status has told since. */
  const run = computed(() => {
    const live = stats.value?.run_id === runId ? stats.value : null
    return live && (!data.value || live.revision > data.value.revision) ? live : data.value
  })
  const running = computed(() => run.value?.status === 'running')
  const takenMs = computed(() => {
    if (running.value && stats.value?.run_id === runId) return elapsedMs.value
    return run.value ? durationOf(run.value) : null
  })

  // The end of a run that another has taken over is not told by the status, which is the other's by then.
  watch(
    () => stats.value?.run_id,
    (now, before) => {
      if (before === runId && now !== runId) void refresh()
    },
  )
  void refresh()

  return { run, running, takenMs, state, error, refresh }
}
