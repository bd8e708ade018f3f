// What was chosen earlier, applied before the first paint. src/app/theme.ts and src/app/i18n.ts write it.
;(function () {
  try {
    var theme = localStorage.getItem('stocksync-theme')
    var dark = theme === 'dark' || (theme !== 'light' && matchMedia('(prefers-color-scheme: dark)').matches)
    document.documentElement.classList.toggle('dark', dark)
    var locale = localStorage.getItem('stocksync-locale')
    if (locale) document.documentElement.lang = locale === 'zh' ? 'zh-CN' : locale
  } catch {
    // Storage may be forbidden; the defaults do.
  }
})()
