/** Light, dark, or as the system has it; public/preferences.js applies the choice before the first paint. */

import { createSharedComposable, useColorMode } from '@vueuse/core'

export const THEMES = ['auto', 'light', 'dark'] as const
export type Theme = (typeof THEMES)[number]

export const useTheme = createSharedComposable(() => {
  const mode = useColorMode({ storageKey: 'stocksync-theme', modes: { light: '', dark: 'dark' } })
  return { chosen: mode.store, shown: mode.state }
})
