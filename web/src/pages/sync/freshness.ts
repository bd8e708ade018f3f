/** What can be expected of the data by the calendar alone: weekdays, not holidays. */

const ZONE = 'Asia/Shanghai'

/** Sources publish a day's figures in the hours after the close. */
const PUBLISHED_HOUR = 18

/** The newest weekday whose figures should be out, "YYYYMMDD" of the market's calendar. */
export function expectedTradeDay(now: Date): string {
  const parts = new Intl.DateTimeFormat('en-CA', {
    timeZone: ZONE,
    year: 'numeric',
    month: '2-digit',
    day: '2-digit',
    hour: '2-digit',
    hourCycle: 'h23',
  }).formatToParts(now)
  const part = (type: Intl.DateTimeFormatPartTypes) => Number(parts.find((each) => each.type === type)?.value)
  const day = new Date(Date.UTC(part('year'), part('month') - 1, part('day')))
  if (part('hour') < PUBLISHED_HOUR) day.setUTCDate(day.getUTCDate() - 1)
  while (day.getUTCDay() === 0 || day.getUTCDay() === 6) day.setUTCDate(day.getUTCDate() - 1)
  return day.toISOString().slice(0, 10).replaceAll('-', '')
}
