import { createSharedComposable, useIntervalFn } from '@vueuse/core'
import { readonly, shallowRef } from 'vue'

/** The time, once a second, from one timer for all that ticks. */
export const useSecond = createSharedComposable(() => {
  const now = shallowRef(new Date())
  useIntervalFn(() => (now.value = new Date()), 1000)
  return readonly(now)
})
