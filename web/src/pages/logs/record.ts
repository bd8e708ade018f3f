import type { OperationLog } from '@/api/logs'

/** Who it was, as far as it is known; null where nobody asked for it but the service itself. */
export function whoOf({ username, user_id, ip_address }: OperationLog): string | null {
  const name = username ?? user_id
  if (name && ip_address) return `${name} · ${ip_address}`
  return name ?? ip_address
}

const OUTCOMES = new Set(['success', 'success_with_errors', 'failed'])

/** How the run ended that was started: the record itself only says that it was accepted. */
export function outcomeOf({ details }: OperationLog): string | null {
  return typeof details.outcome === 'string' && OUTCOMES.has(details.outcome) ? details.outcome : null
}
