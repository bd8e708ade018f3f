import { useTitle } from '@vueuse/core'
import { computed } from 'vue'
import { useI18n } from 'vue-i18n'
import { useRoute } from 'vue-router'
import { useSyncStatus } from '@/composables/useSyncStatus'

/** The tab tells how the sync stands when the page is not looked at. */
export function useWindowTitle(): void {
  const { t } = useI18n()
  const route = useRoute()
  const { stats, running } = useSyncStatus()

  const page = computed(() => (typeof route.meta.page === 'string' ? t(`${route.meta.page}.title`) : ''))
  const sync = computed(() => {
    if (!stats.value) return ''
    const percent = stats.value.progress.percent
    return running.value && percent !== null ? `${Math.floor(percent)}%` : t(`status.${stats.value.status}`)
  })
  useTitle(computed(() => [sync.value, page.value, 'stocksync'].filter(Boolean).join(' · ')))
}
