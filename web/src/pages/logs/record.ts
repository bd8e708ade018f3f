import type { OperationLog } from '@/api/logs'

/** Who it was, as far as it is known; null where nobody asked for it but the service itself. */
export function whoOf({ username, user_id, ip_address }: OperationLog): string | null {
  const name = username ?? user_id
  if (name && ip_address) return `${name} · ${ip_address}`
  return name ?? ip_address
}

export type Outcome = 'success' | 'success_with_errors' | 'failed'

const OUTCOMES: readonly unknown[] = ['success', 'success_with_errors', 'failed'] satisfies Outcome[]

/** How the run ended that was started: the record itself only says that it was accepted. */
export function outcomeOf({ details }: OperationLog): Outcome | null {
  return OUTCOMES.includes(details.outcome) ? (details.outcome as Outcome) : null
}
