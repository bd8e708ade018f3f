import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import type { StatusListener, SyncStats } from '@/api/client'
import { endedAt, runningAt, statsOf } from '@/testing'
import { createSyncStatus, MOST_POLLS, POLL_MS } from './syncStatus'

/** A server whose answers, streams and absences are the test's to choose. */
function fakeServer(first: SyncStats) {
  const server = {
    now: first,
    away: false,
    streams: true,
    online: true,
    asked: 0,
    opened: [] as { after: number | null; listener: StatusListener; closed: boolean }[],
    getStatus: async () => {
      server.asked += 1
      if (server.away) throw new Error('away')
      return server.now
    },
    openStream(after: number | null, listener: StatusListener) {
      const stream = { after, listener, closed: false }
      server.opened.push(stream)
      if (server.streams && !server.away) listener.onStatus(server.now)
      else queueMicrotask(() => stream.closed || listener.onLost())
      return () => (stream.closed = true)
    },
    isOnline: () => server.online,
    now_: () => Date.now(),
    show(stats: SyncStats) {
      server.now = stats
      server.opened.filter((stream) => !stream.closed).forEach((stream) => stream.listener.onStatus(stats))
    },
    cut: () => server.opened.filter((stream) => !stream.closed).forEach((stream) => stream.listener.onLost()),
  }
  return server
}

function watching(first: SyncStats, prepare: (server: ReturnType<typeof fakeServer>) => void = () => undefined) {
  const server = fakeServer(first)
  prepare(server)
  const completed: SyncStats[] = []
  const { getStatus, openStream, isOnline, now_: now } = server
  const sync = createSyncStatus({ getStatus, openStream, isOnline, now }, (stats) => completed.push(stats))
  sync.start()
  return { server, sync, completed }
}

const pass = (milliseconds: number) => vi.advanceTimersByTimeAsync(milliseconds)

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

describe('the stream', () => {
  it('shows every change, tells the end once, and leaves the server alone meanwhile', async () => {
    const { server, sync, completed } = watching(runningAt(1))
    await pass(0)
    expect(sync.link.value).toBe('live')
    server.show(runningAt(2, { inserted: 5 }))
    expect(sync.stats.value?.inserted).toBe(5)
    server.show(endedAt(3))
    server.show(endedAt(3))
    expect(completed.map((stats) => stats.revision)).toEqual([3])
    expect(server.asked).toBe(1)
  })

  it('never goes back to an older revision, but takes a changed stale_since', async () => {
    const { server, sync } = watching(runningAt(5))
    await pass(0)
    server.show(runningAt(4))
    expect(sync.stats.value?.revision).toBe(5)
    server.show(runningAt(5, { stale_since: '2026-11-24T18:30:01.000000+08:00' }))
    expect(sync.stats.value?.stale_since).not.toBeNull()
  })

  it('believes a smaller revision that stays: the store is another one', async () => {
    const { server, sync } = watching(endedAt(5_000_000))
    await pass(0)
    server.show(statsOf({}))
    expect(sync.stats.value?.revision).toBe(5_000_000)
    await pass(31_000)
    expect(sync.stats.value?.status).toBe('never_run')
  })

  it('tells of a run of which only the end was seen, but not of what was there at first', async () => {
    const { server, completed } = watching(endedAt(3))
    await pass(0)
    expect(completed).toEqual([])
    server.show(endedAt(9, { run_id: 'two' }))
    expect(completed.map((stats) => stats.run_id)).toEqual(['two'])
  })

  it('is only one, however often the watch begins anew', async () => {
    const { server, sync } = watching(runningAt(1))
    sync.start()
    await pass(0)
    sync.start()
    sync.start()
    await pass(0)
    expect(server.opened.filter((stream) => !stream.closed)).toHaveLength(1)
  })

  it('comes back by itself where it was cut, from the revision it knows', async () => {
    const { server, sync } = watching(runningAt(7))
    await pass(3_000)
    server.cut()
    await pass(1_000)
    expect(server.opened.map((stream) => stream.after)).toEqual([7, 7])
    expect(sync.link.value).toBe('live')
  })
})

describe('a stream that is cut as soon as it is open', () => {
  it('does not hide that the server has gone', async () => {
    const { server, sync } = watching(endedAt(1))
    await pass(100)
    server.away = true
    server.cut()
    await pass(2_000)
    expect(sync.link.value).toBe('reconnecting')
  })

  it('is opened again less and less often', async () => {
    const { server } = watching(runningAt(1))
    for (let second = 0; second < 60; second += 1) {
      await pass(1_000)
      server.cut()
    }
    expect(server.opened.length).toBeLessThan(18)
  })
})

describe('without a stream', () => {
  it('polls every 5 s and stops on a final state', async () => {
    const { server, sync, completed } = watching(runningAt(1), (it) => (it.streams = false))
    await pass(0)
    expect(sync.link.value).toBe('polling')
    await pass(2 * POLL_MS)
    expect(server.asked).toBe(3)
    server.now = endedAt(2)
    await pass(POLL_MS)
    expect(completed).toHaveLength(1)
    const asked = server.asked
    await pass(POLL_MS)
    expect(server.asked).toBe(asked)
  })

  it('polls at most 60 times when it was started by hand', async () => {
    const { server, sync } = watching(runningAt(1))
    await pass(0)
    sync.stop()
    sync.startStatusPolling()
    await pass(POLL_MS * (MOST_POLLS + 20))
    expect(server.asked).toBe(1 + MOST_POLLS)
  })

  it('stops polling when asked to', async () => {
    const { server, sync } = watching(runningAt(1))
    await pass(0)
    sync.stop()
    sync.startStatusPolling()
    sync.stopStatusPolling()
    await pass(POLL_MS * 3)
    expect(server.asked).toBe(1)
  })

  it('tries the stream again, because proxies come and go', async () => {
    const { server, sync } = watching(runningAt(1), (it) => (it.streams = false))
    await pass(0)
    server.streams = true
    await pass(31_000)
    expect(sync.link.value).toBe('live')
  })
})

describe('without a server', () => {
  it('says so, keeps what is known, and recovers', async () => {
    const { server, sync } = watching(runningAt(1, { total: 5450 }))
    await pass(3_000)
    server.away = true
    server.cut()
    await pass(1_000)
    expect(sync.link.value).toBe('reconnecting')
    expect(sync.load.value).toBe('error')
    expect(sync.stats.value?.total).toBe(5450)
    server.away = false
    server.now = endedAt(4)
    await pass(20_000)
    expect(sync.link.value).toBe('live')
    expect(sync.stats.value?.status).toBe('success')
  })

  it('asks less and less often', async () => {
    const { server } = watching(runningAt(1), (it) => (it.away = true))
    await pass(60_000)
    expect(server.asked).toBeGreaterThan(6)
    expect(server.asked).toBeLessThan(18)
  })

  it('finds a connection that broke without a word', async () => {
    const { server, sync } = watching(runningAt(1))
    await pass(0)
    server.away = true
    await pass(16_000)
    expect(sync.link.value).toBe('reconnecting')
  })

  it('tells a device that is offline from a server that is away', async () => {
    const { sync } = watching(runningAt(1), (it) => Object.assign(it, { away: true, online: false }))
    await pass(0)
    expect(sync.link.value).toBe('offline')
    expect(sync.stats.value).toBeNull()
  })
})

describe('a hidden tab', () => {
  it('holds no stream, polls while a run is on, and catches up when it is seen again', async () => {
    const { server, sync, completed } = watching(runningAt(1))
    await pass(0)
    sync.hide()
    expect(server.opened.every((stream) => stream.closed)).toBe(true)
    server.now = endedAt(2)
    await pass(POLL_MS)
    expect(completed).toHaveLength(1)
    sync.start()
    await pass(0)
    expect(sync.link.value).toBe('live')
  })

  it('asks no more once it is stopped, whatever was under way', async () => {
    const { server, sync } = watching(runningAt(1))
    await pass(0)
    sync.hide()
    await pass(POLL_MS - 1)
    vi.advanceTimersByTime(1)
    sync.stop()
    const asked = server.asked
    await pass(120_000)
    expect(server.asked).toBe(asked)
  })

  it('asks nothing while nothing runs', async () => {
    const { server, sync } = watching(endedAt(1))
    await pass(0)
    sync.hide()
    await pass(120_000)
    expect(server.asked).toBe(1)
  })
})
