import { nextTick, ref, shallowRef } from 'vue'
import { describe, expect, it, vi } from 'vitest'
import { isAtBottom, useStickToBottom } from './useStickToBottom'

const at = (scrollTop: number) => ({ scrollTop, scrollHeight: 1000, clientHeight: 200 })

describe('a box', () => {
  it.each([[800, true], [790, true], [700, false], [0, false]])('that is scrolled to %i is at its bottom: %s', (top, expected) => {
    expect(isAtBottom(at(top))).toBe(expected)
  })

  it('follows what is new, stops when the reader scrolls up, and goes on when asked to', async () => {
    const element = document.createElement('div')
    Object.defineProperties(element, { scrollHeight: { value: 1000 }, clientHeight: { value: 200 } })
    const jumps = vi.spyOn(element, 'scrollTo').mockImplementation(() => undefined)
    const lines = ref(1)
    const { following, follow } = useStickToBottom(shallowRef(element), () => lines.value, () => true)
    await nextTick()
    const grow = async () => {
      lines.value += 1
      await nextTick()
      await nextTick()
    }

    await grow()
    expect(jumps).toHaveBeenCalledTimes(1)

    element.scrollTop = 100
    element.dispatchEvent(new Event('scroll'))
    await grow()
    expect(following.value).toBe(false)
    expect(jumps).toHaveBeenCalledTimes(1)

    follow()
    await grow()
    expect(jumps).toHaveBeenCalledTimes(3)
  })
})
