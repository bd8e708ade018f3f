/** The two languages: Chinese unless the browser or the reader prefers another. */

import { useStorage } from '@vueuse/core'
import { computed, watchEffect } from 'vue'
import { createI18n } from 'vue-i18n'
import en from '@/locales/en'
import zh from '@/locales/zh'
import { pages } from './pages'

export type Locale = 'zh' | 'en'

const TAGS: Record<Locale, string> = { zh: 'zh-CN', en: 'en' }

const chosen = useStorage<string>('stocksync-locale', '', undefined, { writeDefaults: false })

/** What the reader chose, else what the browser asks for. */
export const locale = computed<Locale>({
  get: () => (chosen.value === 'zh' || chosen.value === 'en' ? chosen.value : byBrowser()),
  set: (value) => (chosen.value = value),
})

/** The language as the browser's formatters want it. */
export const languageTag = computed(() => TAGS[locale.value])

export const i18n = createI18n({
  legacy: false,
  locale: locale.value,
  fallbackLocale: 'zh',
  messages: {
    zh: { ...zh, ...Object.fromEntries(pages.map((page) => [page.name, page.texts.zh])) },
    en: { ...en, ...Object.fromEntries(pages.map((page) => [page.name, page.texts.en])) },
  },
})

watchEffect(() => {
  i18n.global.locale.value = locale.value
  document.documentElement.lang = languageTag.value
})

function byBrowser(): Locale {
  const first = navigator.languages.find((tag) => /^(zh|en)\b/i.test(tag))
  return first?.toLowerCase().startsWith('en') ? 'en' : 'zh'
}
