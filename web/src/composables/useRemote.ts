/** Something that is asked of the server: its explicit state, the last good answer, and why there is none. */

import { ref, shallowRef } from 'vue'
import type { Load } from './syncStatus'

export function useRemote<Data>(ask: () => Promise<Data>) {
  const data = shallowRef<Data | null>(null)
  const state = ref<Load>('idle')
  const error = shallowRef<Error | null>(null)
  let turn = 0

  /** Asks (again). Of two questions under way the later one counts. */
  async function refresh(): Promise<void> {
    const mine = ++turn
    state.value = 'loading'
    try {
      const answer = await ask()
      if (mine !== turn) return
      data.value = answer
      error.value = null
      state.value = 'done'
    } catch (caught) {
      if (mine !== turn) return
      error.value = caught instanceof Error ? caught : new Error(String(caught))
      state.value = 'error'
    }
  }

  return { data, state, error, refresh }
}
