import { Tickets } from '@element-plus/icons-vue'
import type { PageDefinition } from '@/app/pages'
import en from './texts/en'
import zh from './texts/zh'

const page: PageDefinition = {
  name: 'logs',
  routes: [{ path: '/logs', component: () => import('./LogsPage.vue') }],
  nav: { to: '/logs', icon: Tickets, order: 30 },
  texts: { zh, en },
}

export default page
