"""Between values and BSON documents: stocks as the mission's schema has them, and whatever else is said."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from pymongo import UpdateOne

from stocksync.domain.codes import locate
from stocksync.domain.stock import FIGURES, StockBasic, known
from stocksync.domain.wire import MARKET_ZONE, moment
from stocksync.errors import BadRow
from stocksync.ports import Fence
from stocksync.stores.text import storable

_INT64: Final = 2**63
_DAY_DIGITS: Final = 8


@dataclass(frozen=True, slots=True)
class StoredStock:
    """A row as it was found. `clean` is False where it must be written anew even if nothing changed."""

    stock: StockBasic
    clean: bool
    gone: bool = False
    """Whether it is marked as no longer listed."""


def fence_filter(token: int) -> dict[str, Any]:
    """Match what no later token has touched; rows of an older service bear no fence at all."""
    return {"_sync.fence": {"$not": {"$gt": token}}}


def key(stock: StockBasic) -> tuple[str, str]:
    """The unique key of a row."""
    return stock.code, stock.source


def is_stray(document: Mapping[str, Any], sealed: int) -> bool:
    """Whether an owner inserted this row after he had been displaced, and so after the rows were sealed."""
    fence = _sync(document).get("fence")
    return fence is not None and fence < sealed


def encode(stock: StockBasic, fence: Fence, now: datetime, *, new: bool) -> UpdateOne:
    """Bring one row to exactly this content, whatever was there. Applied twice it is as if applied once.

    `new` marks it as this run's creation even where a stray is in its place.

    Raises BadRow, OutOfScope for a row that must not be stored.
    """
    figures = stock.figures
    if not all(map(math.isfinite, figures.values())):
        raise BadRow(code=stock.code, field="*", value=dict(figures), reason="指标不是有限的数值")
    optional = {"area": stock.area, "industry": stock.industry, "list_date": stock.list_date,
                "trade_date": stock.trade_date}  # fmt: skip
    content = {
        "symbol": stock.code,
        "full_symbol": stock.full_symbol,
        "name": stock.name,
        "market": stock.market,
        "sse": stock.sse,
        "category": "stock_cn",
        "sec": "stock_cn",
        **{name: value for name, value in optional.items() if value is not None},
        **figures,
        "updated_at": now,
        "_sync.fence": fence.token,
        "_sync.changed_run": fence.run_id,
        "_sync.field_sources": dict(stock.field_sources),
    }
    created = {"_sync.created_run": fence.run_id}
    absent = [name for name, value in optional.items() if value is None]
    absent += [name for name in FIGURES if name not in figures]
    return UpdateOne(
        {"code": stock.code, "source": stock.source, **fence_filter(fence.token)},
        {
            "$set": {**content, **(created if new else {})},
            "$unset": dict.fromkeys((*absent, "_sync.gone_run"), ""),
            **({} if new else {"$setOnInsert": created}),
        },
        upsert=True,
    )


def decode(document: Mapping[str, Any]) -> StoredStock:
    """Read a row, whoever wrote it. Its code must be an A share's."""
    sync = _sync(document)
    is_ours = "changed_run" in sync  # an older service's row is brought into form once
    raw = {name: document[name] for name in FIGURES if name in document}
    read = _figure if is_ours else known
    figures = {name: value for name, found in raw.items() if (value := read(found)) is not None}
    stock = StockBasic(
        code=document["code"],
        source=document["source"],
        name=_text(document.get("name")) or "",
        area=_text(document.get("area")),
        industry=_text(document.get("industry")),
        market=_text(document.get("market")) or locate(document["code"]).board,
        list_date=_day(document.get("list_date")),
        trade_date=_day(document.get("trade_date")),
        figures=figures,
        field_sources=sync.get("field_sources") or {},
    )
    gone = sync.get("gone_run") is not None
    clean = is_ours and len(figures) == len(raw) and "gone_run" not in sync
    return StoredStock(stock, clean=clean, gone=gone)


def _sync(document: Mapping[str, Any]) -> Mapping[str, Any]:
    found = document.get("_sync")
    return found if isinstance(found, Mapping) else {}


def _figure(value: object) -> float | None:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return known(value)


def _text(value: object) -> str | None:
    return value or None if isinstance(value, str) else None


def _day(value: object) -> str | None:
    """Read a day as older services stored it: "20010827", "2001-08-27", 20010827, a date."""
    if isinstance(value, datetime):  # midnight, of the market or of UTC: the market's day is the same
        return f"{value.astimezone(MARKET_ZONE):%Y%m%d}"
    digits = str(value).replace("-", "").replace("/", "")[:_DAY_DIGITS] if value else ""
    return digits if len(digits) == _DAY_DIGITS and digits.isdecimal() else None


def read_moment(value: object) -> datetime | None:
    """Read a moment as older services stored it: a date, or ISO 8601 text (naive: the market's time)."""
    if isinstance(value, datetime):
        return value
    try:
        return moment(value) if isinstance(value, str) else None
    except ValueError:
        return None


def storable_tree(value: Any) -> Any:
    """Make JSON-like data fit for BSON: no lone surrogates, no NUL in keys, no integers beyond 64 bits."""
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, Mapping):
        return {storable(str(name)).replace("\0", "?"): storable_tree(each) for name, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [storable_tree(each) for each in value]
    if isinstance(value, int) and not -_INT64 <= value < _INT64:
        return str(value)
    return value
