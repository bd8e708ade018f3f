/** What stands in an address, read with suspicion: anybody may have written it. */

import type { LocationQuery, LocationQueryRaw } from 'vue-router'

const DAY = /^20\d\d-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])$/

function all(query: LocationQuery, name: string): string[] {
  const value = query[name]
  return (Array.isArray(value) ? value : [value]).filter((each): each is string => typeof each === 'string' && each !== '')
}

/** Those of the allowed words that are there, in the order in which they are allowed. */
export function words<Word extends string>(query: LocationQuery, name: string, allowed: readonly Word[]): Word[] {
  const found = new Set(all(query, name))
  return allowed.filter((word) => found.has(word))
}

export function word<Word extends string>(query: LocationQuery, name: string, allowed: readonly Word[]): Word | '' {
  return words(query, name, allowed)[0] ?? ''
}

/** "2026-11-24", or "" for what is no day. */
export function day(query: LocationQuery, name: string): string {
  const [text = ''] = all(query, name)
  const date = new Date(`${text}T00:00:00Z`)
  return DAY.test(text) && !Number.isNaN(date.getTime()) && date.toISOString().startsWith(text) ? text : ''
}

export function text(query: LocationQuery, name: string, longest: number): string {
  return (all(query, name)[0] ?? '').slice(0, longest)
}

/** Without what is empty: an address says only what is unusual. */
export function compactQuery(query: Record<string, string | string[]>): LocationQueryRaw {
  return Object.fromEntries(Object.entries(query).filter(([, value]) => value.length > 0))
}
