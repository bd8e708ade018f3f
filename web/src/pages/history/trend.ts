/** What the trend chart draws. */

import type { SyncStats } from '@/api/client'
import type { Colours, Drawing } from '@/components/chart'
import { durationOf, glyphOf, rowsOf, toneOf } from './figures'

const ZONE = 'Asia/Shanghai'

/** Bars of seconds in the colour of how the run ended, and the rows as a line. The runs come oldest first. */
export function trendOf(runs: readonly SyncStats[], words: { duration: string; rows: string }, colours: Colours): Drawing {
  const seconds = (run: SyncStats): number => (durationOf(run) ?? 0) / 1000
  return {
    legend: { data: [words.duration, words.rows] },
    xAxis: { type: 'category', data: runs.map((run) => `${glyphOf(run)} ${begin(run)}`), axisLabel: { hideOverlap: true } },
    yAxis: [
      { type: 'value', min: 0 },
      { type: 'value', min: 0, splitLine: { show: false } },
    ],
    series: [
      {
        name: words.duration,
        type: 'bar',
        barMaxWidth: 18,
        itemStyle: { color: colours.calm },
        data: runs.map((run) => ({ value: seconds(run), itemStyle: { color: colours[toneOf(run)] } })),
      },
      {
        name: words.rows,
        type: 'line',
        yAxisIndex: 1,
        symbol: 'circle',
        symbolSize: 5,
        itemStyle: { color: colours.busy },
        data: runs.map(rowsOf),
      },
    ],
  }
}

function begin(run: SyncStats): string {
  const parts = { month: '2-digit', day: '2-digit', hour: '2-digit', minute: '2-digit', hourCycle: 'h23' } as const
  return run.started_at ? new Intl.DateTimeFormat('zh-CN', { timeZone: ZONE, ...parts }).format(new Date(run.started_at)) : ''
}
