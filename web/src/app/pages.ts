/** The register of pages: a folder under src/pages whose index.ts exports a PageDefinition is a page. */

import type { Component } from 'vue'
import type { RouteRecordRaw } from 'vue-router'

/** A tree of texts; the keys are the same in every language. */
export interface Texts {
  [key: string]: string | Texts
}

export interface PageDefinition {
  /** The key of its texts: `t('<name>.title')` is what navigation and window title say. */
  name: string
  routes: RouteRecordRaw[]
  /** Absent for pages that are only linked to. */
  nav?: { to: string; icon: Component; order: number }
  texts: { zh: Texts; en: Texts }
}

const modules = import.meta.glob<PageDefinition>('../pages/*/index.ts', { eager: true, import: 'default' })

export const pages: readonly PageDefinition[] = Object.values(modules).sort(
  (one, other) => (one.nav?.order ?? Infinity) - (other.nav?.order ?? Infinity),
)
