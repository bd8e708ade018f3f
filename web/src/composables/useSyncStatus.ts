/** One connection for the whole tab: whoever uses it sees the same state. */

import { createSharedComposable, useDocumentVisibility, useEventListener } from '@vueuse/core'
import { computed, onScopeDispose, watch } from 'vue'
import { getStatus, openStatusStream } from '@/api/client'
import { showSyncCompletionNotification } from './completionNotice'
import { createSyncStatus } from './syncStatus'
import { useSecond } from './useSecond'

export const useSyncStatus = createSharedComposable(() => {
  const sync = createSyncStatus(
    { getStatus, openStream: openStatusStream, isOnline: () => navigator.onLine, now: () => performance.now() },
    showSyncCompletionNotification,
  )
  const visibility = useDocumentVisibility()
  watch(visibility, (state) => (state === 'visible' ? sync.start() : sync.hide()), { immediate: true })
  useEventListener(window, 'online', () => sync.start())
  useEventListener(window, 'offline', () => sync.start())
  onScopeDispose(sync.stop)

  /** Nothing is heard of the server: what is shown is what was. */
  const lost = computed(() => sync.link.value === 'reconnecting' || sync.link.value === 'offline')
  const running = computed(() => sync.stats.value?.status === 'running')
  const second = useSecond()
  /** How long the run has taken, ticking between two revisions; null where unknown. */
  const elapsedMs = computed(() => {
    const known = sync.stats.value?.progress.elapsed_ms ?? null
    if (known === null || !running.value || sync.shownAt.value === null) return known
    // The clock stands still where nobody knows whether the run goes on.
    const until = lost.value ? (sync.heardAt.value ?? 0) : second.value.getTime() - performance.timeOrigin
    return known + Math.max(0, until - sync.shownAt.value)
  })
  /** When the server was last heard of. */
  const asOf = computed(() =>
    sync.heardAt.value === null ? null : new Date(performance.timeOrigin + sync.heardAt.value),
  )
  return { ...sync, running, lost, elapsedMs, asOf, showSyncCompletionNotification }
})
