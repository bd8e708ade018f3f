"""Collections and indexes by the names of the mission, section 4; tolerant of an older database's."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pymongo import ASCENDING, DESCENDING, IndexModel
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.errors import OperationFailure

from stocksync.aio import heeding_cancellation
from stocksync.errors import StoreInvalid, StoreUnavailable
from stocksync.stores.mongo.connection import Connection, reaching, translating

STOCKS: Final = "stock_basic_info"
STATUS: Final = "sync_status"
RUNS: Final = "sync_runs"
EVENTS: Final = "sync_run_events"
REJECTS: Final = "sync_run_rejects"
CHANGES: Final = "sync_run_changes"
LOGS: Final = "operation_logs"
LEASE: Final = "sync_lease"
CALENDAR: Final = "trade_calendar"
HEALTH: Final = "source_health"
IDEMPOTENCY: Final = "idempotency_keys"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """One index that this service wants; one with the same keys under another name serves as well."""

    collection: str
    name: str
    keys: tuple[tuple[str, int], ...]
    unique: bool = False

    def served_by(self, existing: Mapping[str, Any]) -> bool:
        """Whether an index of list_indexes does this one's work."""
        if existing.get("partialFilterExpression") or existing.get("sparse"):
            return False
        keys = tuple(dict(existing["key"]).items())
        if self.unique:  # in which order does not matter for uniqueness
            return bool(existing.get("unique")) and dict(keys) == dict(self.keys)
        return keys == self.keys


def _stocks(name: str, *fields: str, direction: int = ASCENDING, unique: bool = False) -> Index:
    keys = tuple((field, direction) for field in fields)
    return Index(collection=STOCKS, name=name, keys=keys, unique=unique)


UNIQUE_STOCK: Final = _stocks("code_source_unique", "code", "source", unique=True)

NEWEST_LOGS_FIRST: Final = (("timestamp", DESCENDING), ("_id", DESCENDING))
"""In which order records of operation_logs are listed; an _id is later than the ones before it."""

INDEXES: Final = (
    UNIQUE_STOCK,
    _stocks("code_index", "code"),
    _stocks("source_index", "source"),
    _stocks("name_index", "name"),
    _stocks("industry_index", "industry"),
    _stocks("market_index", "market"),
    _stocks("total_mv_desc", "total_mv", direction=DESCENDING),
    _stocks("circ_mv_desc", "circ_mv", direction=DESCENDING),
    _stocks("updated_at_desc", "updated_at", direction=DESCENDING),
    _stocks("pe_index", "pe"),
    _stocks("pb_index", "pb"),
    _stocks("turnover_rate_desc", "turnover_rate", direction=DESCENDING),
    Index(collection=RUNS, name="by_start", keys=(("started_at", DESCENDING), ("revision", DESCENDING))),
    Index(collection=RUNS, name="by_revision", keys=(("revision", DESCENDING),)),
    Index(collection=RUNS, name="by_job", keys=(("job", ASCENDING), ("revision", DESCENDING))),
    Index(collection=EVENTS, name="by_run", keys=(("run_id", ASCENDING), ("seq", ASCENDING))),
    Index(collection=REJECTS, name="by_run", keys=(("run_id", ASCENDING), ("seq", ASCENDING))),
    Index(collection=CHANGES, name="by_run", keys=(("run_id", ASCENDING), ("seq", ASCENDING))),
    Index(collection=IDEMPOTENCY, name="by_age", keys=(("claimed_at", ASCENDING),)),
    Index(collection=LOGS, name="by_time", keys=NEWEST_LOGS_FIRST),
    Index(collection=LOGS, name="by_type", keys=(("action_type", ASCENDING), *NEWEST_LOGS_FIRST)),
    Index(collection=LOGS, name="by_success", keys=(("success", ASCENDING), *NEWEST_LOGS_FIRST)),
    Index(collection=LOGS, name="by_run", keys=(("run_id", ASCENDING),)),
)

_DUPLICATES_NAMED: Final = 5
_REMEDY: Final = "请先运行 stocksync doctor 查看，再用 stocksync repair 修复"
_IN_THE_WAY: Final = frozenset({11000, 85, 86})
"""Duplicates that came meanwhile, or another index under this name."""


async def existing_indexes(collection: AsyncCollection[dict[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """List the indexes of a collection; none where it does not exist yet."""
    return [dict(index) async for index in await collection.list_indexes()]


async def _ensure_indexes(connection: Connection) -> None:
    """Create what is missing, one by one: an index that cannot be built costs a warning, not the others."""
    by_collection: dict[str, list[Index]] = {}
    for index in INDEXES:
        by_collection.setdefault(index.collection, []).append(index)
    for name, wanted in by_collection.items():
        with heeding_cancellation():
            existing = await existing_indexes(connection[name])
            for index in wanted:
                if not any(index.served_by(other) for other in existing):
                    await _create(connection, index)


async def _create(connection: Connection, index: Index) -> None:
    model = IndexModel(list(index.keys), name=index.name, unique=index.unique)
    try:
        await connection[index.collection].create_indexes([model])
    except OperationFailure as exc:
        _log.warning("index %s of %s could not be created: %s", index.name, index.collection, exc.code)


async def ensure_unique_stocks(connection: Connection) -> None:
    """Make sure that no second row of a stock can be inserted. Raises StoreInvalid, naming duplicates."""
    with reaching():
        existing = await existing_indexes(connection[STOCKS])
    if any(UNIQUE_STOCK.served_by(index) and index["name"] != UNIQUE_STOCK.name for index in existing):
        return
    # Ours is asked for even where it is listed: it is listed while it is still being built, and may fail.
    model = IndexModel(list(UNIQUE_STOCK.keys), name=UNIQUE_STOCK.name, unique=True)
    try:
        with translating():  # without a deadline: on a large collection this takes as long as it takes
            await connection[STOCKS].create_indexes([model])
    except StoreUnavailable as exc:
        if not isinstance(exc.__cause__, OperationFailure) or exc.__cause__.code not in _IN_THE_WAY:
            raise
        raise StoreInvalid(await _obstacle(connection, exc.__cause__)) from exc


async def _obstacle(connection: Connection, refusal: OperationFailure) -> str:
    """Say what keeps the unique index from being built, and what helps."""
    with reaching():
        twice = await duplicates(connection, limit=_DUPLICATES_NAMED)
    if twice:
        named = "、".join(f"{code}/{source}" for code, source in twice)
        return f"stock_basic_info 中有重复的 (code, source)，例如 {named}；{_REMEDY}"
    return f"无法建立唯一索引 {UNIQUE_STOCK.name}（{refusal.code}）；{_REMEDY}"


def _or_null(path: str) -> Mapping[str, Any]:
    return {"$ifNull": [path, None]}


async def duplicates(connection: Connection, *, limit: int) -> Sequence[tuple[str, str]]:
    """Name some keys (code, source) of more than one row; to an index, missing and null are the same."""
    pipeline: list[Mapping[str, Any]] = [
        {"$group": {"_id": {"code": _or_null("$code"), "source": _or_null("$source")}, "rows": {"$sum": 1}}},
        {"$match": {"rows": {"$gt": 1}}},
        {"$sort": {"_id.code": 1, "_id.source": 1}},
        {"$limit": limit},
    ]
    found = await connection[STOCKS].aggregate(pipeline)
    return [(str(each["_id"].get("code")), str(each["_id"].get("source"))) async for each in found]
