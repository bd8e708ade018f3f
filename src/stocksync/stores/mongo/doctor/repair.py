"""The repairs, one by one: each may be repeated, each writes in batches, each leaves a record of what it did.

Nothing is deleted that has not been copied first, whole and acknowledged by a majority, into the collection
stocksync_repair_removed. A document is only changed if it still is as it was looked at.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from pymongo import UpdateOne

from stocksync.audit import ActionType, Actor, OperationLogCreate, OperationLogService
from stocksync.clock import SystemClock
from stocksync.domain.plausibility import Verdict, judge
from stocksync.domain.stock import FIGURES
from stocksync.errors import RunInProgress
from stocksync.stores.mongo.connection import Connection, reaching
from stocksync.stores.mongo.doctor.forms import (
    DAYS,
    MOMENT,
    Document,
    Fix,
    Unreadable,
    as_day,
    as_moment,
    figures_of,
    fix_code,
    fix_dates,
    fix_figures,
)
from stocksync.stores.mongo.doctor.layout import lay_out
from stocksync.stores.mongo.doctor.records import fix_log, undated_logs, unreadable_statuses
from stocksync.stores.mongo.doctor.survey import (
    PAGE,
    Key,
    is_foreign,
    key_of,
    pages,
    source_of,
    survey,
)
from stocksync.stores.mongo.logs import MongoOperationLogStore
from stocksync.stores.mongo.schema import LEASE, LOGS, STATUS, STOCKS
from stocksync.stores.units import corrected

REMOVED: Final = "stocksync_repair_removed"

_HELD: Final[Mapping[str, Any]] = {
    "_id": "stock_basics",
    "$expr": {"$and": [{"$ne": ["$run_id", None]}, {"$gt": ["$expires", "$$NOW"]}]},
}


async def require_idle(connection: Connection) -> None:
    """Refuse while a run holds the slot: it would write what is being repaired. Raises RunInProgress."""
    with reaching():
        held = await connection[LEASE].find_one(_HELD, {"run_id": 1})
    if held is not None:
        raise RunInProgress(
            f"同步任务 {held['run_id']} 正在运行，请等它结束，或用 stocksync cancel 取消后再修复"
        )


@dataclass(frozen=True, slots=True)
class Repairer:
    """Carries repairs out on one database."""

    connection: Connection
    actor: Actor
    began: datetime

    async def carry_out(self, code: str) -> int:
        """Do one repair, record it, and tell how much was changed. Raises StoreError, RunInProgress."""
        await require_idle(self.connection)
        service = OperationLogService(MongoOperationLogStore(self.connection), SystemClock())
        record = OperationLogCreate(
            action_type=ActionType.DATABASE_OPERATION,
            action="修复股票基础信息数据库",
            details={"repair": code},
        )
        async with service.recorded(self.actor, record) as recording:
            done, details = await _REPAIRS[code](self)
            recording.details.update({"done": done, **details})
        return done


Done = tuple[int, Mapping[str, Any]]
"""How much was changed, and what else the record should say."""

Repair = Callable[[Repairer], Awaitable[Done]]


def _drop(code: str) -> Repair:
    async def drop(self: Repairer) -> Done:
        obstacles = [
            existing for found, existing in (await lay_out(self.connection)).obstacles() if found == code
        ]
        for existing in obstacles:
            with reaching():
                await self.connection[STOCKS].drop_index(existing["name"])
        dropped = [{"name": each["name"], "key": str(dict(each["key"]))} for each in obstacles]
        return len(dropped), {"dropped": dropped}

    return drop


async def _remove_duplicates(self: Repairer) -> Done:
    surplus: list[Any] = []
    for ids in _batches((await survey(self.connection)).twice):
        by_key: dict[Key, list[Document]] = {}
        async for page in pages(self.connection, STOCKS, {"_id": {"$in": ids}}):
            for row in page:
                by_key.setdefault(key_of(row), []).append(row)
        for rows in by_key.values():
            surplus += [row["_id"] for row in sorted(rows, key=_age)[:-1]]
    return await _remove(self, STOCKS, surplus, "duplicate_keys"), {"removed_to": REMOVED}


def _batches(groups: Sequence[Sequence[Any]]) -> Iterator[list[Any]]:
    """Put whole groups together, about a page at a time."""
    batch: list[Any] = []
    for group in groups:
        batch += group
        if len(batch) >= PAGE:
            yield batch
            batch = []
    if batch:
        yield batch


def _age(row: Document) -> tuple[datetime, str, int, str]:
    """Order rows of one stock: the last changed is the newest, then the last measured, then the fullest."""
    try:
        changed = as_moment(row.get(MOMENT))
    except Unreadable:
        changed = None
    try:
        measured = as_day(row.get("trade_date"))
    except Unreadable:
        measured = None
    long_ago = datetime.min.replace(tzinfo=UTC)
    return changed or long_ago, measured or "", len(figures_of(row)), str(row["_id"])


async def _remove(self: Repairer, name: str, ids: Sequence[Any], why: str) -> int:
    """Move documents, whole and as they are, into REMOVED: the server copies, then they are deleted."""
    removed = 0
    for start in range(0, len(ids), PAGE):
        await require_idle(self.connection)
        removed += await _remove_some(self, name, list(ids[start : start + PAGE]), why)
    return removed


async def _remove_some(self: Repairer, name: str, ids: list[Any], why: str) -> int:
    own_id = {"collection": {"$literal": name}, "at": {"$literal": self.began}, "id": "$_id"}
    copy: list[Mapping[str, Any]] = [
        {"$match": {"_id": {"$in": ids}}},
        {
            "$project": {
                "_id": own_id,
                "why": {"$literal": why},
                "removed_at": {"$literal": self.began},
                "document": "$$ROOT",
            }
        },
        {"$merge": {"into": REMOVED, "on": "_id", "whenMatched": "keepExisting"}},
    ]
    with reaching():
        await (await self.connection[name].aggregate(copy)).to_list()
        wanted = {"_id.collection": name, "_id.at": self.began, "_id.id": {"$in": ids}}
        kept = await self.connection[REMOVED].find(wanted, {"_id.id": 1}).to_list()
        copied = [each["_id"]["id"] for each in kept]
        return (await self.connection[name].delete_many({"_id": {"$in": copied}})).deleted_count


async def _remove_statuses(self: Repairer) -> Done:
    ids = await unreadable_statuses(self.connection)
    return await _remove(self, STATUS, ids, "status_unreadable"), {"removed_to": REMOVED}


async def _fix_rows(self: Repairer, fix: Callable[[Document], Fix], *fields: str) -> Done:
    found = pages(self.connection, STOCKS, {}, fields)
    return await _write(self, STOCKS, found, fix), {}


async def _fix_codes(self: Repairer) -> Done:
    """Only where no other row has the key: the duplicates were removed before."""
    seen = await survey(self.connection)

    def fix(document: Document) -> Fix:
        return fix_code(document) if len(seen.keys.get(key_of(document), ())) == 1 else Fix()

    return await _fix_rows(self, fix, "code", "source")


async def _fix_dates(self: Repairer) -> Done:
    return await _fix_rows(self, fix_dates, MOMENT, *DAYS)


async def _fix_figures(self: Repairer) -> Done:
    return await _fix_rows(self, fix_figures, *FIGURES)


async def _fix_units(self: Repairer) -> Done:
    """Judge again, then convert: what this service wrote is never touched."""
    measured = (await survey(self.connection)).measured
    verdicts = {source: judge(rows) for source, rows in measured.items()}
    converted: set[str] = set()

    def fix(document: Document) -> Fix:
        source = source_of(document)
        if source is None or not is_foreign(document) or repr(document["_id"]) in converted:
            return Fix()
        converted.add(repr(document["_id"]))  # a scan may meet a document again that was changed meanwhile
        return Fix(values={**corrected(figures_of(document), verdicts.get(source, ()))})

    done, _ = await _fix_rows(self, fix, "source", "_sync.changed_run", *FIGURES)
    return done, {"powers": {source: _powers(found) for source, found in verdicts.items()}}


def _powers(verdicts: Sequence[Verdict]) -> list[dict[str, Any]]:
    return [{"powers": dict(each.powers), "whole": each.whole} for each in verdicts if each.sure]


async def _fix_logs(self: Repairer) -> Done:
    return await _write(self, LOGS, undated_logs(self.connection), fix_log), {}


async def _write(
    self: Repairer,
    name: str,
    found: AsyncIterator[list[dict[str, Any]]],
    fix: Callable[[Document], Fix],
) -> int:
    """Change what has to be changed, a page at a time."""
    changed = 0
    async for page in found:
        fixes = [(document, fix(document)) for document in page]
        updates = [each.as_update(document) for document, each in fixes if each.fields]
        if updates:
            await require_idle(self.connection)
            changed += await _write_page(self.connection, name, updates)
    return changed


async def _write_page(connection: Connection, name: str, updates: list[UpdateOne]) -> int:
    async def attempt() -> int:
        return (await connection[name].bulk_write(updates, ordered=False)).modified_count

    return await connection.persistently(attempt)


_REPAIRS: Final[Mapping[str, Repair]] = {
    "foreign_unique_index": _drop("foreign_unique_index"),
    "index_in_the_way": _drop("index_in_the_way"),
    "duplicate_keys": _remove_duplicates,
    "int_codes": _fix_codes,
    "date_formats": _fix_dates,
    "unknown_as_value": _fix_figures,
    "unit_off": _fix_units,
    "status_unreadable": _remove_statuses,
    "log_dates": _fix_logs,
}
"""In the order in which they are done: an index in the way first, units once the figures are numbers."""

ORDER: Final = tuple(_REPAIRS)
