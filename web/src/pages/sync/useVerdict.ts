import { computed, watch } from 'vue'
import { getLastSuccess } from '@/api/client'
import { useRemote } from '@/composables/useRemote'
import { useSecond } from '@/composables/useSecond'
import { useSyncStatus } from '@/composables/useSyncStatus'
import { completed, judge } from './verdict'

/** The verdict, and the last run that succeeded: the shown one, or what the history says. */
export function useVerdict() {
  const { stats, lost } = useSyncStatus()
  const now = useSecond()
  const earlier = useRemote(getLastSuccess)

  watch(
    () => stats.value && [stats.value.run_id, stats.value.status].join(),
    () => stats.value && !completed(stats.value) && void earlier.refresh(),
    { immediate: true },
  )

  const lastSuccess = computed(() => (stats.value && completed(stats.value) ? stats.value : earlier.data.value))
  /** Whether "never succeeded" is known, and not just unanswered. */
  const neverSucceeded = computed(() => earlier.state.value === 'done' && lastSuccess.value === null)
  const verdict = computed(() => judge(stats.value, lastSuccess.value, lost.value, now.value))
  return { verdict, lastSuccess, neverSucceeded, now }
}
