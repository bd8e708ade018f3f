/**
 * How the sync stands, kept current: by the stream, by polling where there is no stream, and by trying again
 * where there is no server. Knows nothing of Vue's components, so that it can be tested by itself.
 */

import { ref, shallowRef } from 'vue'
import type { StatusListener, SyncStats } from '@/api/client'
import { createNewest } from './newest'

export type Load = 'idle' | 'loading' | 'done' | 'error'
export type Link = 'connecting' | 'live' | 'polling' | 'paused' | 'reconnecting' | 'offline'

export interface StatusSource {
  getStatus: () => Promise<SyncStats>
  openStream: (after: number | null, listener: StatusListener) => () => void
  isOnline: () => boolean
  now: () => number
}

export const POLL_MS = 5_000
export const MOST_POLLS = 60
const CHECK_MS = 15_000
const STREAM_AGAIN_MS = 30_000
const SHORT_LIFE_MS = 2_000
const FIRST_RETRY_MS = 500
const LONGEST_RETRY_MS = 5_000

export function createSyncStatus(source: StatusSource, onCompleted: (stats: SyncStats) => void) {
  const stats = shallowRef<SyncStats | null>(null)
  const load = ref<Load>('idle')
  const link = ref<Link>('connecting')
  const error = shallowRef<Error | null>(null)
  /** When the server was last heard of, and when the shown revision came, in the clock's milliseconds. */
  const heardAt = ref<number | null>(null)
  const shownAt = ref<number | null>(null)

  const newest = createNewest(source.now)
  const timers = { poll: 0, check: 0, again: 0 }
  let closeStream: (() => void) | null = null
  let polls = 0
  let pollTurn = 0
  let turn = 0
  /** Questions without an answer, and streams that were cut at once, in a row. */
  let failures = 0
  let cuts = 0
  let watching = false
  let told = ''

  /** Asks once. Resolves to null where there is no answer; `error` then says why. */
  async function fetchSyncStatus(): Promise<SyncStats | null> {
    if (stats.value === null) load.value = 'loading'
    try {
      take(await source.getStatus())
      return stats.value
    } catch (caught) {
      error.value = caught instanceof Error ? caught : new Error(String(caught))
      load.value = 'error'
      return null
    }
  }

  function take(incoming: SyncStats): void {
    heardAt.value = source.now()
    load.value = 'done'
    error.value = null
    const before = stats.value
    if (!newest.isNews(before, incoming)) return
    stats.value = incoming
    shownAt.value = source.now()
    if (before !== null && hasEnded(before, incoming) && incoming.run_id !== told) {
      told = incoming.run_id ?? ''
      onCompleted(incoming)
    }
  }

  /** Every 5 s, at most 60 times, until the run has ended: what there is where no stream comes through. */
  function startStatusPolling(): void {
    stopStatusPolling()
    link.value = 'polling'
    polls = 0
    timers.poll = later(poll, POLL_MS)
  }

  async function poll(): Promise<void> {
    polls += 1
    const mine = pollTurn
    const found = await fetchSyncStatus()
    if (mine !== pollTurn) return
    if (found === null) return lose()
    if (found.status === 'running' && polls < MOST_POLLS) timers.poll = later(poll, POLL_MS)
  }

  function stopStatusPolling(): void {
    pollTurn += 1
    clearTimeout(timers.poll)
  }

  /** Begins to watch: the stream first. */
  function start(): void {
    watching = true
    void recover()
  }

  /** Ends everything that is under way; what is known stays shown. */
  function stop(): void {
    watching = false
    hush()
    link.value = 'paused'
  }

  /** A hidden tab holds no stream, of which a browser has six; it polls while a run is on. */
  function hide(): void {
    stop()
    if (stats.value?.status === 'running') {
      startStatusPolling()
      link.value = 'paused'
    }
  }

  async function recover(): Promise<void> {
    hush()
    const mine = turn
    const found = await fetchSyncStatus()
    if (mine !== turn) return
    if (found === null) return lose()
    failures = 0
    stream()
  }

  function stream(): void {
    const openedAt = source.now()
    let delivered = false
    closeStream = source.openStream(stats.value?.revision ?? null, {
      onStatus(incoming) {
        delivered = true
        link.value = 'live'
        take(incoming)
      },
      onLost() {
        hush()
        if (!delivered) return withoutStream()
        cuts = source.now() - openedAt < SHORT_LIFE_MS ? cuts + 1 : 0
        timers.again = later(recover, backOff(cuts))
      },
    })
    timers.check = later(check, CHECK_MS)
  }

  /** A connection that broke silently ends no stream; only a question finds out. */
  async function check(): Promise<void> {
    const mine = turn
    const found = await fetchSyncStatus()
    if (mine !== turn) return
    if (found === null) return lose()
    timers.check = later(check, CHECK_MS)
  }

  function withoutStream(): void {
    startStatusPolling()
    timers.again = later(recover, STREAM_AGAIN_MS)
  }

  function lose(): void {
    hush()
    link.value = source.isOnline() ? 'reconnecting' : 'offline'
    if (!watching) return
    timers.again = later(recover, backOff(failures))
    failures += 1
  }

  /** Ends what is under way; whoever still waits for an answer finds that it is no longer his turn. */
  function hush(): void {
    turn += 1
    closeStream?.()
    closeStream = null
    stopStatusPolling()
    clearTimeout(timers.check)
    clearTimeout(timers.again)
  }

  return {
    stats, load, link, error, heardAt, shownAt,
    fetchSyncStatus, startStatusPolling, stopStatusPolling, take, start, stop, hide,
  }
}

function backOff(times: number): number {
  return Math.min(FIRST_RETRY_MS * 2 ** times, LONGEST_RETRY_MS)
}

function later(act: () => unknown, milliseconds: number): number {
  return setTimeout(act, milliseconds) as unknown as number
}

/** Whether a run ended between two snapshots, also one of which nothing was seen before its end. */
function hasEnded(before: SyncStats, after: SyncStats): boolean {
  const another = before.run_id !== after.run_id
  return after.finished_at !== null && (another || before.status === 'running')
}
