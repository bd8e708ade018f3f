import { ElNotification } from 'element-plus'
import type { SyncStats } from '@/api/client'
import { i18n } from '@/app/i18n'

const KINDS = { success: 'success', success_with_errors: 'warning', failed: 'error' } as const

/** Says once how a run ended, wherever the reader is. The message is the server's. */
export function showSyncCompletionNotification(stats: SyncStats): void {
  const { t } = i18n.global
  const kind = KINDS[stats.status as keyof typeof KINDS]
  const reason = stats.reason ? ` · ${t(`reason.${stats.reason}`)}` : ''
  ElNotification({
    type: kind,
    title: `${t(`notice.${stats.status}`)}${reason}`,
    message: stats.message ?? '',
    duration: kind === 'success' ? 6_000 : 12_000,
  })
}
