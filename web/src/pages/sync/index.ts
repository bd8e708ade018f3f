import { Refresh } from '@element-plus/icons-vue'
import type { PageDefinition } from '@/app/pages'
import en from './texts/en'
import zh from './texts/zh'

const page: PageDefinition = {
  name: 'sync',
  routes: [{ path: '/', component: () => import('./SyncPage.vue') }],
  nav: { to: '/', icon: Refresh, order: 10 },
  texts: { zh, en },
}

export default page
