"""The collection sync_status: how each job stands, also as an older service left it.

An older database may allow one document only (a unique index on data_type): then it holds the job that ran
last, and how the other one stands is found in sync_runs.
"""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

from pymongo import DESCENDING
from pymongo.errors import DuplicateKeyError

from stocksync.domain.status import FINAL, Job, Reason, SyncStats, SyncStatus
from stocksync.domain.wire import DATA_TYPE, from_wire, to_wire
from stocksync.errors import StoreInvalid
from stocksync.ports import Fence
from stocksync.stores.mongo.connection import Connection
from stocksync.stores.mongo.documents import read_moment, storable_tree
from stocksync.stores.mongo.schema import LEASE, RUNS, STATUS

Document = Mapping[str, Any]

_LEGACY_REVISION: Final = 1
"""Above "never ran" (0) and below any run of ours (a token, at least 1, times a million)."""

_LEFT_RUNNING: Final = "该任务由旧版服务启动，未见其结束"


async def show(connection: Connection, stats: SyncStats) -> None:
    """Bring a job's document up to this revision; nothing where it is there or beyond already."""
    collection = connection[STATUS]
    document = storable_tree(to_wire(stats))
    later = {"revision": {"$not": {"$gte": stats.revision}}}
    job = {"job": stats.job.value}
    if (await collection.update_one({**job, **later}, {"$set": document})).matched_count:
        return
    if await collection.find_one(job, {"_id": 1}) is not None:
        return
    try:
        await collection.insert_one({"_id": stats.job.value, **document})
    except DuplicateKeyError:  # somebody made it meanwhile, or there can be only one
        await collection.update_one({"$or": [job, {"data_type": DATA_TYPE}], **later}, {"$set": document})


async def latest(connection: Connection, job: Job) -> SyncStats | None:
    """Tell how a job stands; None before its first run."""
    slot = await connection[LEASE].find_one({"run.job": job.value}, {"token": 1, "run": 1})
    run = await connection[RUNS].find_one({"job": job.value}, sort=[("revision", DESCENDING)])
    document = await connection[STATUS].find_one({"job": job.value})
    known = [] if slot is None else [*_begun(slot)]
    known += [] if run is None else [load(run["stats"])]
    if document is not None:
        known.append(load(document) if "revision" in document else legacy(document, job))
    return max(known, key=lambda stats: stats.revision, default=None)


def _begun(slot: Document) -> Iterator[SyncStats]:
    """The run that has the slot, as it began: it is one also before its first step is stored."""
    revision = Fence(token=slot["token"], owner="", run_id="").first_revision
    with suppress(StoreInvalid):  # another version's run is shown when it is stored
        yield replace(load(slot["run"]), revision=revision)


def load(document: Document) -> SyncStats:
    """Read a snapshot of ours. Raises StoreInvalid."""
    try:
        return from_wire(document)
    except (KeyError, TypeError, ValueError, AttributeError) as exc:
        raise StoreInvalid(f"数据库中的同步状态无法识别（{type(exc).__name__}）") from exc


def legacy(document: Document, job: Job) -> SyncStats:
    """Read what an older service left, as far as it can be understood.

    A run that it left as running has no lease: nobody can tell whether it still goes on, so it is failed.
    """
    word = str(document.get("status", "")).lower()
    status = SyncStatus(word) if word in set(SyncStatus) else SyncStatus.FAILED
    running = status is SyncStatus.RUNNING
    if running:
        status = SyncStatus.FAILED
    started, finished = read_moment(document.get("started_at")), read_moment(document.get("finished_at"))
    message = document.get("message")
    return SyncStats(
        job=job,
        status=status,
        revision=_LEGACY_REVISION,
        reason=Reason.ERROR if status is SyncStatus.FAILED else None,
        started_at=started,
        finished_at=finished or started if status in FINAL else None,
        total=_count(document.get("total")),
        inserted=_count(document.get("inserted")),
        updated=_count(document.get("updated")),
        errors=_count(document.get("errors")),
        last_trade_date=_text(document.get("last_trade_date")),
        data_sources_used=tuple(dict.fromkeys(_texts(document.get("data_sources_used")))),
        message=_LEFT_RUNNING if running else _text(message),
    )


def _count(value: object) -> int:
    return int(value) if isinstance(value, int | float) and value == value and 0 <= value < 2**31 else 0  # noqa: PLR0124 - NaN


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _texts(value: object) -> list[str]:
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []
