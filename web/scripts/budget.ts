/** Fails where the first useful view needs more JavaScript than was promised; prints what it needs. */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'

interface Chunk {
  file: string
  imports?: string[]
}

const MOST_KB = 300
const FIRST_VIEW = ['index.html', 'src/pages/sync/SyncPage.vue']

const folder = join(import.meta.dirname, '../../src/stocksync/web_dist')
const manifest = JSON.parse(readFileSync(join(folder, '.vite/manifest.json'), 'utf8')) as Record<string, Chunk>

function needed(name: string, found: Set<string>): Set<string> {
  const chunk = manifest[name]
  if (!chunk) throw new Error(`${name} is not in the build`)
  if (!found.has(chunk.file)) {
    found.add(chunk.file)
    chunk.imports?.forEach((other) => needed(other, found))
  }
  return found
}

const files = FIRST_VIEW.reduce((found, name) => needed(name, found), new Set<string>())
const bytes = [...files].reduce((sum, file) => sum + gzipSync(readFileSync(join(folder, file))).length, 0)
const kilobytes = bytes / 1024

console.log(`first view: ${kilobytes.toFixed(1)} KB of JavaScript (gzip) in ${files.size} files, at most ${MOST_KB}`)
if (kilobytes > MOST_KB) process.exit(1)
