"""What every store does with a batch before it looks at its tables."""

from collections.abc import Sequence

from stocksync.domain.status import Reject
from stocksync.domain.stock import StockBasic


def without_duplicates(rows: Sequence[StockBasic]) -> tuple[list[StockBasic], list[Reject]]:
    """Keep the first row of each (code, source) and reject the others: counts stay those of the table."""
    kept: dict[tuple[str, str], StockBasic] = {}
    others = [row for row in rows if kept.setdefault((row.code, row.source), row) is not row]
    return list(kept.values()), [_twice(row) for row in others]


def _twice(row: StockBasic) -> Reject:
    return Reject(code=row.code, field="code", value=row.name, reason="同一批中代码重复")
