"""The table stock_basic_info."""

import json
import math
import sqlite3
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from operator import attrgetter
from types import MappingProxyType
from typing import Any, Final

from stocksync.domain.changes import Change, compare
from stocksync.domain.codes import Exchange, locate
from stocksync.domain.merge import StockRef
from stocksync.domain.status import Reject
from stocksync.domain.stock import FIGURES, StockBasic, overlay
from stocksync.errors import BadRow, OutOfScope
from stocksync.ports import Fence, UpsertCount
from stocksync.stores.batch import without_duplicates
from stocksync.stores.sqlite.database import Database
from stocksync.stores.sqlite.slot import check_fence

_TEXTS: Final = ("code", "source", "name", "area", "industry", "market", "list_date", "trade_date")
_STORED: Final = (*_TEXTS, *FIGURES, "field_sources")
_COLUMNS: Final = (*_STORED, "full_symbol", "sse", "fence", "changed_run", "created_run", "updated_at")
_KEPT: Final = {"code", "source", "created_run"}

_SELECT: Final = f"SELECT {', '.join(_STORED)}, gone_run FROM stock_basic_info"
_UPSERT: Final = (
    f"INSERT INTO stock_basic_info ({', '.join(_COLUMNS)}) "
    f"VALUES ({', '.join('?' * (len(_COLUMNS) - 1))}, date('now')) "
    "ON CONFLICT (code, source) DO UPDATE SET gone_run = NULL, "
    + ", ".join(f"{name} = excluded.{name}" for name in _COLUMNS if name not in _KEPT)
)

_ROW_FAULTS: Final = (
    sqlite3.IntegrityError,
    sqlite3.DataError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
    OverflowError,
    UnicodeError,
)
"""What one impossible row raises; everything else concerns the whole database."""

_FIRST_FIGURE: Final = len(_TEXTS)
_AFTER_FIGURES: Final = _FIRST_FIGURE + len(FIGURES)
_texts_of = attrgetter(*_TEXTS)

Parameters = tuple[Any, ...]
Key = tuple[str, str]
"""Code and source."""


class SqliteStockStore:
    """Implements ports.StockStore."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def ensure_writable(self) -> None:
        """Nothing to wait for: the unique key is a part of the table."""

    async def upsert(self, rows: Sequence[StockBasic], fence: Fence) -> UpsertCount:
        return await self._database.write(lambda db: _upsert(db, rows, fence))

    async def retract(self, fence: Fence) -> None:
        """Nothing: the token is checked in the transaction that writes."""

    async def marks(self, run_id: str) -> Mapping[str, tuple[int, int]]:
        return await self._database.read(lambda db: marks_of(db, run_id))

    async def absent(
        self, source: str, exchanges: frozenset[Exchange], listed: frozenset[str]
    ) -> Sequence[StockRef]:
        def work(db: sqlite3.Connection) -> list[StockRef]:
            rows = db.execute(
                "SELECT code, name, list_date FROM stock_basic_info "
                "WHERE source = ? AND gone_run IS NULL ORDER BY code",
                (source,),
            )
            return [
                StockRef(code=code, name=name, list_date=list_date)
                for code, name, list_date in rows
                if code not in listed and locate(code).exchange in exchanges
            ]

        return await self._database.read(work)

    async def retire(
        self, source: str, *, gone: Sequence[str], renumbered: Sequence[str], fence: Fence
    ) -> None:
        def work(db: sqlite3.Connection) -> None:
            check_fence(db, fence)
            db.executemany(
                "UPDATE stock_basic_info SET gone_run = ? WHERE code = ? AND source = ?",
                [(fence.run_id, code, source) for code in gone],
            )
            db.executemany(
                "DELETE FROM stock_basic_info WHERE code = ? AND source = ?",
                [(code, source) for code in renumbered],
            )

        await self._database.write(work)

    async def get(self, code: str, source: str) -> StockBasic | None:
        row = await self._database.read(
            lambda db: db.execute(f"{_SELECT} WHERE code = ? AND source = ?", (code, source)).fetchone()
        )
        return None if row is None else _decode(row)

    async def listed_counts(self, source: str) -> Mapping[Exchange, int]:
        rows = await self._database.read(
            lambda db: db.execute(
                "SELECT substr(full_symbol, -2), count(*) FROM stock_basic_info "
                "WHERE source = ? AND gone_run IS NULL GROUP BY 1",
                (source,),
            ).fetchall()
        )
        return {Exchange(suffix): count for suffix, count in rows}

    async def count(self, source: str | None = None) -> int:
        count: int = await self._database.read(
            lambda db: db.execute(
                "SELECT count(*) FROM stock_basic_info "
                "WHERE gone_run IS NULL AND source = coalesce(?, source)",
                (source,),
            ).fetchone()[0]
        )
        return count


def marks_of(db: sqlite3.Connection, run_id: str) -> Mapping[str, tuple[int, int]]:
    """Count by source the rows that a run has (created, changed); part of the caller's transaction."""
    rows = db.execute(
        "SELECT source, sum(created_run = ?1), sum(created_run != ?1) FROM stock_basic_info "
        "WHERE changed_run = ?1 GROUP BY source",
        (run_id,),
    )
    return {source: (created, changed) for source, created, changed in rows}


def _upsert(db: sqlite3.Connection, rows: Sequence[StockBasic], fence: Fence) -> UpsertCount:
    check_fence(db, fence)
    rows, duplicates = without_duplicates(rows)
    stored = _stored(db, rows)
    inserts: list[StockBasic] = []
    updates: list[StockBasic] = []
    unchanged = 0
    for row in rows:
        old, is_gone = stored.get((row.code, row.source), (None, False))
        if old is None:
            inserts.append(row)
            continue
        new = row if row == old else overlay(old, row)
        if new == old and not is_gone:
            unchanged += 1
        else:
            updates.append(new)
    refused_inserts = _write(db, inserts, fence)
    refused_updates = _write(db, updates, fence)
    refused = {**refused_inserts, **refused_updates}
    return UpsertCount(
        inserted=len(inserts) - len(refused_inserts),
        changed=len(updates) - len(refused_updates),
        unchanged=unchanged,
        rejects=(*duplicates, *refused.values()),
        changes=tuple(_changes((*inserts, *updates), stored, refused)),
    )


def _changes(
    written: Iterable[StockBasic], stored: Mapping[Key, tuple[StockBasic, bool]], refused: Collection[Key]
) -> Iterable[Change]:
    for stock in written:
        key = (stock.code, stock.source)
        if key not in refused:
            before, was_gone = stored.get(key, (None, False))
            yield from compare(before, stock, was_gone=was_gone)


def _stored(db: sqlite3.Connection, rows: Sequence[StockBasic]) -> dict[Key, tuple[StockBasic, bool]]:
    """What is stored now under the keys of these rows, and whether it is marked as gone."""
    found: dict[Key, tuple[StockBasic, bool]] = {}
    for source in {row.source for row in rows}:
        codes = json.dumps([row.code for row in rows if row.source == source])
        query = f"{_SELECT} WHERE source = ? AND code IN (SELECT value FROM json_each(?))"
        for row in db.execute(query, (source, codes)):
            stock = _decode(row)
            found[stock.code, stock.source] = (stock, row[-1] is not None)
    return found


def _write(db: sqlite3.Connection, stocks: Sequence[StockBasic], fence: Fence) -> Mapping[Key, Reject]:
    """Write rows at once; if one of them is impossible, one by one, so that it alone is rejected."""
    refused: Mapping[Key, Reject] = {}
    db.execute("SAVEPOINT batch")
    try:
        db.executemany(_UPSERT, (_encode(stock, fence) for stock in stocks))
    except (*_ROW_FAULTS, BadRow, OutOfScope):
        db.execute("ROLLBACK TO batch")
        found = ((stock, _write_one(db, stock, fence)) for stock in stocks)
        refused = {(stock.code, stock.source): reject for stock, reject in found if reject is not None}
    db.execute("RELEASE batch")
    return refused


def _write_one(db: sqlite3.Connection, stock: StockBasic, fence: Fence) -> Reject | None:
    """Write a row; where it is impossible say why."""
    try:
        db.execute(_UPSERT, _encode(stock, fence))
    except BadRow as exc:
        return Reject(code=stock.code, field=exc.field, value=exc.value, reason=exc.reason)
    except OutOfScope as exc:
        return Reject(code=stock.code, field="code", value=stock.code, reason=str(exc))
    except _ROW_FAULTS as exc:
        return Reject(code=stock.code, field="*", value=repr(stock)[:100], reason=f"数据库拒绝该行：{exc}")
    return None


def _encode(stock: StockBasic, fence: Fence) -> Parameters:
    figures = stock.figures
    if not all(map(math.isfinite, figures.values())):  # SQLite would store NaN as NULL, without a word
        raise BadRow(code=stock.code, field="*", value=dict(figures), reason="指标不是有限的数值")
    return (
        *_texts_of(stock),
        *map(figures.get, FIGURES),
        _sources_as_text(tuple(stock.field_sources.items())),
        stock.full_symbol,
        stock.sse,
        fence.token,
        fence.run_id,
        fence.run_id,
    )


def _decode(row: Parameters) -> StockBasic:
    code, source, name, area, industry, market, list_date, trade_date = row[:_FIRST_FIGURE]
    return StockBasic(
        code=code, source=source, name=name, area=area, industry=industry, market=market,
        list_date=list_date, trade_date=trade_date,
        figures={
            name: value
            for name, value in zip(FIGURES, row[_FIRST_FIGURE:_AFTER_FIGURES], strict=True)
            if value is not None
        },
        field_sources=_sources_from_text(row[_AFTER_FIGURES]),
    )  # fmt: skip


# Nearly all rows of a day have the same provenance, so it is written and read once for all of them.
@lru_cache(maxsize=256)
def _sources_as_text(sources: tuple[tuple[str, str], ...]) -> str:
    return json.dumps(dict(sources))


@lru_cache(maxsize=256)
def _sources_from_text(text: str) -> Mapping[str, str]:
    return MappingProxyType(json.loads(text))
