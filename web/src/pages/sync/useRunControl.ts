/** Starting and ending runs, with the questions that have to be asked and the refusals that have to be told. */

import { ElMessage, ElMessageBox } from 'element-plus'
import { ref } from 'vue'
import { useI18n } from 'vue-i18n'
import { cancelRun, startRun, Unreachable, type RunOptions } from '@/api/client'
import { useSyncStatus } from '@/composables/useSyncStatus'

export function useRunControl() {
  const { t } = useI18n()
  const { take, running, stats } = useSyncStatus()
  const busy = ref<'starting' | 'cancelling' | null>(null)

  async function start(options: RunOptions): Promise<void> {
    const before = running.value ? stats.value?.run_id : null
    await attempt('starting', 'sync.actions.refused', async () => {
      const { data } = await startRun(options)
      take(data)
      if (!options.force && data.run_id === before) ElMessage.info(t('sync.actions.alreadyRunning'))
    })
  }

  async function cancel(): Promise<void> {
    const sure = await confirmed()
    if (sure) await attempt('cancelling', 'sync.actions.notCancelled', async () => take(await cancelRun()))
  }

  async function attempt(what: 'starting' | 'cancelling', refused: string, act: () => Promise<void>): Promise<void> {
    busy.value = what
    try {
      await act()
    } catch (error) {
      const reason = error instanceof Unreachable ? t('failure.unreachable') : String((error as Error).message)
      ElMessage.error({ message: t('app.because', { what: t(refused), why: reason }), duration: 8_000, showClose: true })
    } finally {
      busy.value = null
    }
  }

  async function confirmed(): Promise<boolean> {
    try {
      await ElMessageBox.confirm(t('sync.cancelDialog.text'), t('sync.cancelDialog.title'), {
        confirmButtonText: t('sync.cancelDialog.yes'),
        cancelButtonText: t('sync.cancelDialog.no'),
        type: 'warning',
      })
      return true
    } catch {
      return false // the dialog is closed without a yes
    }
  }

  return { busy, start, cancel }
}
