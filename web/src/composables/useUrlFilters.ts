/** Filters that live in the address: what is shown can be linked to, and survives a reload. */

import { computed } from 'vue'
import { useRoute, useRouter, type LocationQuery, type LocationQueryRaw } from 'vue-router'

export interface FilterForm<Filters> {
  read: (query: LocationQuery) => Filters
  write: (filters: Filters) => LocationQueryRaw
}

export function useUrlFilters<Filters extends object>({ read, write }: FilterForm<Filters>) {
  const route = useRoute()
  const router = useRouter()
  const { path } = route

  /** On the way to another view the address is already that view's. */
  const filters = computed<Filters>((before) => (before && route.path !== path ? before : read(route.query)))

  function change(part: Partial<Filters>): Promise<unknown> {
    return router.replace({ query: write({ ...filters.value, ...part }) })
  }

  function reset(): Promise<unknown> {
    return router.replace({ query: {} })
  }

  return { filters, change, reset }
}
