"""From an upstream's rows to values: read each, reject the bad ones by name, drop what is out of scope."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from stocksync.aio import cooperative
from stocksync.domain.status import Reject
from stocksync.errors import BadRow, OutOfScope, SourceEmpty, SourceNonsense

Item = TypeVar("Item")
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Read(Generic[Item]):
    """What became of the rows: items + rejects + dropped = rows given."""

    items: tuple[Item, ...]
    rejects: tuple[Reject, ...]
    dropped: int


async def read_rows(rows: Iterable[Row], build: Callable[[Row], Item]) -> Read[Item]:
    """Build an item of every row. `build` raises OutOfScope to drop one and BadRow to reject it."""
    items: list[Item] = []
    rejects: list[Reject] = []
    dropped = 0
    async for row in cooperative(rows):
        try:
            items.append(build(row))
        except OutOfScope:
            dropped += 1
        except BadRow as exc:
            rejects.append(Reject(code=exc.stock_code, field=exc.field, value=exc.value, reason=exc.reason))
    return Read(items=tuple(items), rejects=tuple(rejects), dropped=dropped)


def require_usable(api: str, rows: Sequence[Row], items: Sequence[object]) -> None:
    """Raise SourceEmpty where nothing came, SourceNonsense where none of what came could be read."""
    if not rows:
        raise SourceEmpty(f"{api} 没有返回任何数据")
    if not items:
        raise SourceNonsense(f"{api} 的 {len(rows)} 行数据全部无法识别")
