import type { OperationLog } from '@/api/logs'

/** Who it was, as far as it is known; null where nobody asked for it but the service itself. */
export function whoOf({ username, user_id, ip_address }: OperationLog): string | null {
  const name = username ?? user_id
  if (name && ip_address) return `${name} · ${ip_address}`
  return name ?? ip_address
}
