const zh = { title: '同步' }

export type Texts = typeof zh
export default zh
