/** How figures and moments read. Times are the market's, wherever the reader is. */

import { computed } from 'vue'
import { useI18n } from 'vue-i18n'
import { languageTag } from '@/app/i18n'

const MOMENT = new Intl.DateTimeFormat('sv-SE', { timeZone: 'Asia/Shanghai', dateStyle: 'short', timeStyle: 'medium' })
const JUST_NOW_SECONDS = 5
const UNITS: readonly [Intl.RelativeTimeFormatUnit, number][] = [
  ['day', 86_400],
  ['hour', 3_600],
  ['minute', 60],
]

/** Tenths of a second would say nothing of less. */
const SHORT_MS = 95

export function useFormat() {
  const { t } = useI18n()
  const numbers = computed(() => new Intl.NumberFormat(languageTag.value))
  const ages = computed(() => new Intl.RelativeTimeFormat(languageTag.value, { numeric: 'auto' }))

  const orUnknown = <Value>(value: Value | null | undefined, write: (value: Value) => string): string =>
    value === null || value === undefined ? t('app.unknown') : write(value)

  return {
    count: (value: number | null | undefined) => orUnknown(value, (known) => numbers.value.format(known)),
    /** "2026-11-24 18:30:05", which is read alike in every language. */
    moment: (iso: string | null | undefined) => orUnknown(iso, (known) => MOMENT.format(new Date(known))),
    time: (date: Date | null) => orUnknown(date, (known) => MOMENT.format(known).slice(-'18:30:05'.length)),
    /** "20261124" → "2026-11-24". */
    day: (text: string | null | undefined) =>
      orUnknown(text, (known) => known.replace(/^(\d{4})(\d\d)(\d\d)$/, '$1-$2-$3')),
    duration: (milliseconds: number | null | undefined) => orUnknown(milliseconds, (known) => clockTime(known)),
    /** How long ago, in the largest unit that fits. */
    age(iso: string | null | undefined, now: Date): string {
      return orUnknown(iso, (known) => {
        const seconds = Math.max(0, (now.getTime() - new Date(known).getTime()) / 1000)
        if (seconds < JUST_NOW_SECONDS) return t('app.justNow')
        const [unit, size] = UNITS.find(([, size]) => seconds >= size) ?? (['second', 1] as const)
        return ages.value.format(-Math.floor(seconds / size), unit)
      })
    },
  }
}

/** "43 ms", "4.2 s", "3:07", "1:02:45": as exact as people need it. */
export function clockTime(milliseconds: number): string {
  if (milliseconds < SHORT_MS) return `${Math.round(milliseconds)} ms`
  const seconds = milliseconds / 1000
  if (seconds < 59.95) return `${seconds.toFixed(1)} s`
  const whole = Math.round(seconds)
  const parts = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60]
  const shown = parts[0] ? parts : parts.slice(1)
  return shown.map((part, index) => (index ? String(part).padStart(2, '0') : String(part))).join(':')
}
