/** The event log of a run: what there is, and then every line as it comes. By the stream, else by asking again. */

import { ref, shallowRef } from 'vue'
import type { LogListener, LogPart, LogRecord } from '@/api/runs'
import type { Load } from '@/composables/syncStatus'

export interface LogSource {
  getLog: (after: number) => Promise<LogPart>
  follow: (after: number, listener: LogListener) => () => void
}

export type Following = 'off' | 'live' | 'polling' | 'ended'

export const ASK_AGAIN_MS = 3_000

export function createRunLog(source: LogSource) {
  const lines = shallowRef<readonly LogRecord[]>([])
  const state = ref<Load>('idle')
  const error = shallowRef<Error | null>(null)
  const following = ref<Following>('off')
  let last = -1
  let close: (() => void) | null = null
  let timer: ReturnType<typeof setTimeout> | undefined
  let stopped = false

  function take(news: readonly LogRecord[]): void {
    const fresh = news.filter(({ seq }) => seq > last)
    if (fresh.length === 0) return
    last = Math.max(last, ...fresh.map(({ seq }) => seq))
    lines.value = [...lines.value, ...fresh]
  }

  /** Reads to the end of what there is; true when no more will come. Throws ApiProblem, Unreachable. */
  async function readOn(): Promise<boolean> {
    for (;;) {
      const { records, final } = await source.getLog(last)
      take(records)
      if (final || records.length === 0 || stopped) return final
    }
  }

  /** Reads the log, and follows it where the run goes on. */
  async function start(): Promise<void> {
    stopped = false
    if (state.value !== 'done') state.value = 'loading'
    try {
      const final = await readOn()
      error.value = null
      state.value = 'done'
      if (stopped) return
      if (final) following.value = 'ended'
      else if (following.value === 'polling') timer = setTimeout(start, ASK_AGAIN_MS)
      else follow()
    } catch (caught) {
      error.value = caught instanceof Error ? caught : new Error(String(caught))
      state.value = 'error'
    }
  }

  function follow(): void {
    following.value = 'live'
    close = source.follow(last, {
      onLine: (line) => take([line]),
      onEnd: () => (following.value = 'ended'),
      onLost() {
        following.value = 'polling'
        timer = setTimeout(start, ASK_AGAIN_MS)
      },
    })
  }

  function stop(): void {
    stopped = true
    close?.()
    clearTimeout(timer)
  }

  return { lines, state, error, following, start, stop }
}
