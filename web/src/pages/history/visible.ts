/** A value as it came, with what could not be seen in it made visible, and what is endless cut off. */

const LONGEST = 120

export function visible(value: string): string {
  const cut = value.length > LONGEST ? `${value.slice(0, LONGEST)}… (${value.length})` : value
  return cut.replace(/\p{Cc}|\p{Cs}/gu, (sign) => `\\u${(sign.codePointAt(0) ?? 0).toString(16).padStart(4, '0')}`)
}
