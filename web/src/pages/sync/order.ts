/** A list with the element at `from` moved by one place, up (-1) or down (+1); the same list at its ends. */
export function moved<Item>(list: readonly Item[], from: number, by: -1 | 1): Item[] {
  const result = [...list]
  const to = from + by
  const item = result[from]
  const other = result[to]
  if (item === undefined || other === undefined) return result
  result[to] = item
  result[from] = other
  return result
}
