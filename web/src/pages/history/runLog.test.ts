import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import type { LogListener, LogPart, LogRecord } from '@/api/runs'
import { endedAt } from '@/testing'
import { ASK_AGAIN_MS, createRunLog } from './runLog'

const record = (seq: number): LogRecord => ({ seq, at: '2026-11-24T18:30:00+08:00', level: 'info', event: 'e', message: '', data: {} })

/** A run whose log grows as the test says. */
function openLog(...seqs: number[]) {
  const run = { seqs, final: false, away: false, listener: null as LogListener | null, followedAfter: null as number | null, closed: false }
  const log = createRunLog({
    async getLog(after): Promise<LogPart> {
      if (run.away) throw new Error('away')
      const records = run.seqs.filter((seq) => seq > after).slice(0, 2).map(record)
      const last = records.at(-1)?.seq ?? after
      return { records, next_after: last, final: run.final && last === (run.seqs.at(-1) ?? -1) }
    },
    follow(after, listener) {
      Object.assign(run, { listener, followedAfter: after })
      return () => (run.closed = true)
    },
  })
  return { run, log, shown: () => log.lines.value.map(({ seq }) => seq) }
}

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

it('reads the whole log of a run that has ended, and follows nothing', async () => {
  const { run, log, shown } = openLog(0, 1, 2, 4, 5)
  run.final = true
  await log.start()
  expect(shown()).toEqual([0, 1, 2, 4, 5])
  expect([log.state.value, log.following.value, run.listener]).toEqual(['done', 'ended', null])
})

it('follows a run that goes on from where it has read to; no line comes twice', async () => {
  const { run, log, shown } = openLog(0, 1, 2)
  await log.start()
  expect([log.following.value, run.followedAfter]).toEqual(['live', 2])
  run.listener?.onLine(record(2))
  run.listener?.onLine(record(3))
  run.listener?.onEnd(endedAt(9))
  expect(shown()).toEqual([0, 1, 2, 3])
  expect(log.following.value).toBe('ended')
})

it('asks again and again where no stream comes through, until the run has ended', async () => {
  const { run, log, shown } = openLog(0)
  await log.start()
  run.listener?.onLost()
  run.seqs = [0, 1]
  await vi.advanceTimersByTimeAsync(ASK_AGAIN_MS)
  expect([shown(), log.following.value]).toEqual([[0, 1], 'polling'])
  Object.assign(run, { seqs: [0, 1, 2], final: true })
  await vi.advanceTimersByTimeAsync(ASK_AGAIN_MS)
  expect([shown(), log.following.value]).toEqual([[0, 1, 2], 'ended'])
  expect(vi.getTimerCount()).toBe(0)
})

it('says what went wrong, and can be started again', async () => {
  const { run, log, shown } = openLog(0)
  run.away = true
  await log.start()
  expect([log.state.value, log.error.value?.message]).toEqual(['error', 'away'])
  Object.assign(run, { away: false, final: true })
  await log.start()
  expect([log.state.value, log.error.value, shown()]).toEqual(['done', null, [0]])
})

it('leaves nothing behind when it is stopped', async () => {
  const { run, log } = openLog(0)
  await log.start()
  log.stop()
  expect(run.closed).toBe(true)
  expect(vi.getTimerCount()).toBe(0)
})
