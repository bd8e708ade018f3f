import type { Texts } from './zh'

const en: Texts = { title: 'Sync' }

export default en
