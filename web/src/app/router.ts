import { watch } from 'vue'
import { createRouter, createWebHistory } from 'vue-router'
import NotFound from '@/shell/NotFound.vue'
import { pages } from './pages'

export const router = createRouter({
  history: createWebHistory(),
  routes: [
    ...pages.flatMap((page) => page.routes.map((route) => ({ ...route, meta: { ...route.meta, page: page.name } }))),
    { path: '/:path(.*)*', component: NotFound },
  ],
  scrollBehavior: (_to, _from, saved) => saved ?? { top: 0 },
})

/** After a change of view the reader of a screen reader stands at its beginning, not in the old menu. */
watch(router.currentRoute, (route, before) => {
  if (before.matched.length > 0 && route.path !== before.path) document.getElementById('main')?.focus()
})
