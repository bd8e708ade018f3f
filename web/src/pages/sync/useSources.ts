/** The sources' health, and tests of single ones beside each other. */

import { useIntervalFn } from '@vueuse/core'
import { reactive, watch } from 'vue'
import { getRecommendations, getSourcesHealth, testSources, type SourceTest } from '@/api/client'
import { useRemote } from '@/composables/useRemote'
import { useSyncStatus } from '@/composables/useSyncStatus'

/** The server answers from a test that is at most a minute old. */
const AGAIN_MS = 60_000

export interface TestState {
  busy: boolean
  result: SourceTest | null
  error: string
}

export function useSources() {
  const { stats, lost } = useSyncStatus()
  const health = useRemote(getSourcesHealth)
  const advice = useRemote(getRecommendations)
  const tests = reactive(new Map<string, TestState>())

  function refresh(): void {
    void health.refresh()
    void advice.refresh()
  }

  async function test(name: string): Promise<void> {
    tests.set(name, { busy: true, result: null, error: '' })
    try {
      const [result = null] = await testSources(name)
      tests.set(name, { busy: false, result, error: '' })
    } catch (error) {
      tests.set(name, { busy: false, result: null, error: String((error as Error).message) })
    }
  }

  async function testAll(): Promise<void> {
    await Promise.all((health.data.value ?? []).map((source) => test(source.name)))
  }

  useIntervalFn(refresh, AGAIN_MS)
  // A run that begins or ends has changed what is known of the sources.
  watch(() => stats.value && [stats.value.run_id, stats.value.status].join(), refresh, { immediate: true })
  // What could not be loaded while the server was away is asked for as soon as it is back.
  watch(lost, (away) => away || refresh())

  return { health, advice, tests, test, testAll, refresh }
}
