import { describe, expect, it } from 'vitest'
import { useRemote } from './useRemote'

/** A question whose answers come when the test says so, in the order in which it says so. */
function questions() {
  const open: { answer: (text: string) => void; fail: (why: unknown) => void }[] = []
  const ask = () => new Promise<string>((answer, fail) => open.push({ answer, fail }))
  return { open, ...useRemote(ask) }
}

describe('something asked of the server', () => {
  it('is idle, loading, done', async () => {
    const { open, state, data, refresh } = questions()
    expect(state.value).toBe('idle')
    const asked = refresh()
    expect(state.value).toBe('loading')
    open[0]?.answer('one')
    await asked
    expect([state.value, data.value]).toEqual(['done', 'one'])
  })

  it('keeps the last good answer where there is none now, and says why', async () => {
    const { open, state, data, error, refresh } = questions()
    const first = refresh()
    open[0]?.answer('one')
    await first
    const second = refresh()
    open[1]?.fail('away')
    await second
    expect([state.value, data.value, error.value?.message]).toEqual(['error', 'one', 'away'])
  })

  it('takes the later of two questions, whichever answer comes first', async () => {
    const { open, data, refresh } = questions()
    const asked = [refresh(), refresh()]
    open[1]?.answer('new')
    open[0]?.answer('old')
    await Promise.all(asked)
    expect(data.value).toBe('new')
  })
})
