/** A box that follows its newest line, until the reader scrolls up to read. */

import { useEventListener } from '@vueuse/core'
import { nextTick, ref, watch, type Ref } from 'vue'

/** Half a line from the bottom is at the bottom: browsers round. */
const CLOSE_PX = 24

export function isAtBottom(box: Pick<HTMLElement, 'scrollTop' | 'scrollHeight' | 'clientHeight'>): boolean {
  return box.scrollHeight - box.scrollTop - box.clientHeight <= CLOSE_PX
}

export function useStickToBottom(box: Readonly<Ref<HTMLElement | null>>, content: () => unknown, begin: () => boolean) {
  const following = ref(begin())

  useEventListener(box, 'scroll', () => {
    if (box.value) following.value = isAtBottom(box.value)
  })

  watch(content, async () => {
    if (!following.value) return
    await nextTick()
    jump()
  })

  function jump(): void {
    box.value?.scrollTo({ top: box.value.scrollHeight })
  }

  /** Goes to the newest line and stays there. */
  function follow(): void {
    following.value = true
    jump()
  }

  return { following, follow }
}
