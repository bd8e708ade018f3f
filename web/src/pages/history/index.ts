import { Clock } from '@element-plus/icons-vue'
import type { PageDefinition } from '@/app/pages'
import en from './texts/en'
import zh from './texts/zh'

const page: PageDefinition = {
  name: 'history',
  routes: [
    { path: '/history', component: () => import('./HistoryPage.vue') },
    { path: '/history/:runId', component: () => import('./RunPage.vue'), props: true },
  ],
  nav: { to: '/history', icon: Clock, order: 20 },
  texts: { zh, en },
}

export default page
