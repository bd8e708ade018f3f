/** Which of two snapshots is to be shown: revisions never go back, unless the store behind the server is another. */

import type { SyncStats } from '@/api/client'

/** For so long a smaller revision is a process that is behind; for longer it is another store. */
const BEHIND_MS = 3_000

export function createNewest(now: () => number) {
  let smallerSince: number | null = null

  return {
    /** Whether `incoming` is news to somebody who shows `shown`. */
    isNews(shown: SyncStats | null, incoming: SyncStats): boolean {
      if (shown === null || incoming.revision >= shown.revision) {
        smallerSince = null
        return shown === null || incoming.revision > shown.revision || incoming.stale_since !== shown.stale_since
      }
      smallerSince ??= now()
      if (now() - smallerSince < BEHIND_MS) return false
      smallerSince = null
      return true
    },
  }
}
