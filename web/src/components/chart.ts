/** The parts of ECharts that charts here are made of; only a chart that is shown loads this. */

import { BarChart, LineChart, type BarSeriesOption, type LineSeriesOption } from 'echarts/charts'
import {
  GridComponent, LegendComponent, TooltipComponent,
  type GridComponentOption, type LegendComponentOption, type TooltipComponentOption,
} from 'echarts/components'
import { init, use, type ComposeOption, type EChartsType } from 'echarts/core'
import { CanvasRenderer } from 'echarts/renderers'
import type { Tone } from './tone'

use([BarChart, LineChart, GridComponent, LegendComponent, TooltipComponent, CanvasRenderer])

export type Drawing = ComposeOption<
  BarSeriesOption | LineSeriesOption | GridComponentOption | LegendComponentOption | TooltipComponentOption
>
export type Colours = Record<Tone | 'ink' | 'line' | 'surface', string>

const TOKENS: Record<keyof Colours, string> = {
  good: '--good', warn: '--warn', bad: '--bad', busy: '--accent', calm: '--ink-faint',
  ink: '--ink-soft', line: '--line', surface: '--surface',
}

/** The colours of the theme that is shown. */
export function coloursNow(): Colours {
  const style = getComputedStyle(document.documentElement)
  const read = (token: string): string => style.getPropertyValue(token).trim()
  return Object.fromEntries(Object.entries(TOKENS).map(([name, token]) => [name, read(token)])) as Colours
}

/** A drawing in the page's own manner. */
export function dressed(drawing: Drawing, colours: Colours): Drawing {
  return {
    animation: !matchMedia('(prefers-reduced-motion: reduce)').matches,
    animationDuration: 300,
    textStyle: { fontFamily: 'inherit', color: colours.ink },
    grid: { left: 8, right: 8, top: 36, bottom: 4, containLabel: true },
    tooltip: {
      trigger: 'axis',
      confine: true,
      backgroundColor: colours.surface,
      borderColor: colours.line,
      textStyle: { color: colours.ink },
    },
    ...drawing,
    legend: { top: 0, textStyle: { color: colours.ink }, ...drawing.legend },
  }
}

export const openChart = (box: HTMLElement): EChartsType => init(box)
