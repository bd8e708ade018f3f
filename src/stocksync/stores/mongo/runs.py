"""Runs, their logs and rejected rows.

One step of a run is several documents, and no transaction holds them together (a standalone has none):
the revision does. A document is only ever replaced by a later revision, so whoever comes late, a fenced-off
owner or a second rescuer, changes nothing.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from pymongo import DESCENDING
from pymongo.errors import BulkWriteError, DuplicateKeyError

from stocksync.domain.status import Job, Reject, SyncStats, recount
from stocksync.domain.wire import to_wire
from stocksync.errors import LeaseLost, StoreError
from stocksync.ports import Fence, Journal, RunEvent
from stocksync.stores.closing import closed, closing_event, displacing_revision
from stocksync.stores.mongo.connection import CONTROL_SECONDS, Connection, reaching
from stocksync.stores.mongo.documents import storable_tree
from stocksync.stores.mongo.lease import Lease, Unclosed, lost
from stocksync.stores.mongo.logs import complete_record
from stocksync.stores.mongo.schema import EVENTS, REJECTS, RUNS, STATUS
from stocksync.stores.mongo.status import latest, load, show
from stocksync.stores.mongo.stocks import MongoStockStore
from stocksync.stores.mongo.watch import watch

_DUPLICATE_KEY: Final = 11000
_LAST_LINE: Final = 2**31 - 1
"""Where the line stands that closes a displaced run: after everything that its owner said."""

_MOMENT: Final = 0.01


class MongoRunStore:
    """Implements ports.RunStore."""

    def __init__(self, connection: Connection, lease: Lease, stocks: MongoStockStore) -> None:
        self._connection = connection
        self._lease = lease
        self._stocks = stocks
        self._runs = connection[RUNS]

    async def acquire(self, run: SyncStats, *, owner: str, ttl: timedelta, force: bool) -> Fence:
        fence, unclosed = await self._lease.acquire(run, owner=owner, ttl=ttl, force=force)
        try:
            for each in unclosed:
                await self._close(each, run.started_at or datetime.now(UTC))
            begun = replace(run, revision=fence.first_revision)
            with suppress(LeaseLost):  # displaced already, as his first step will tell the owner
                await self._connection.persistently(lambda: self._put_run(begun, first=True))
                await self._connection.persistently(lambda: show(self._connection, begun))
        except BaseException:
            await self._let_go(fence)
            raise
        return fence

    async def _let_go(self, fence: Fence) -> None:
        """Give up a slot that was taken in vain, if that can be done now; else the lease runs out.

        The run may be stored as running already, so it too gets an end.
        """
        with suppress(StoreError), reaching(CONTROL_SECONDS):
            await self._lease.give_up(fence)

    async def advance(self, fence: Fence, stats: SyncStats, journal: Journal, *, ttl: timedelta) -> bool:
        with reaching(CONTROL_SECONDS):
            cancel_requested = await self._lease.renew(fence, ttl)
            await self._append(fence.run_id, journal)
            await self._put_run(stats, first=False)
            await show(self._connection, stats)
            return cancel_requested

    async def finish(self, fence: Fence, stats: SyncStats, journal: Journal) -> SyncStats:
        with reaching(CONTROL_SECONDS):
            noted = await self._lease.end(fence, stats)
            await self._append(fence.run_id, journal)
        return await self._close(noted, stats.finished_at or datetime.now(UTC)) or stats

    async def overdue(self) -> int | None:
        with reaching(CONTROL_SECONDS):
            return await self._lease.overdue()

    async def rescue(self, now: datetime) -> SyncStats | None:
        with reaching(CONTROL_SECONDS):
            unclosed = await self._lease.bury()
        rescued = [await self._close(each, now) for each in unclosed]
        return next((stats for stats in rescued if stats is not None and stats.finished_at == now), None)

    async def request_cancel(self, run_id: str) -> bool:
        with reaching(CONTROL_SECONDS):
            return await self._lease.request_cancel(run_id)

    async def latest(self, job: Job) -> SyncStats | None:
        with reaching(CONTROL_SECONDS):
            return await latest(self._connection, job)

    async def newest(self) -> int:
        with reaching(CONTROL_SECONDS):
            found = await self._connection[STATUS].find({}, {"revision": 1}).to_list()
        return max((each.get("revision", 0) for each in found), default=0)

    async def get(self, run_id: str) -> SyncStats | None:
        with reaching(CONTROL_SECONDS):
            document = await self._runs.find_one({"_id": run_id})
        return None if document is None else load(document["stats"])

    async def history(self, *, limit: int, offset: int = 0) -> Sequence[SyncStats]:
        with reaching():
            found = await self._runs.find(sort=[("revision", DESCENDING)], skip=offset, limit=limit).to_list()
        return [load(document["stats"]) for document in found]

    async def events(self, run_id: str) -> Sequence[RunEvent]:
        with reaching():
            found = await self._connection[EVENTS].find({"run_id": run_id}, sort=[("seq", 1)]).to_list()
        names = ("at", "event", "message", "level", "data")
        return [RunEvent(**{name: each[name] for name in names}) for each in found]

    async def rejects(self, run_id: str) -> Sequence[Reject]:
        with reaching():
            found = await self._connection[REJECTS].find({"run_id": run_id}, sort=[("seq", 1)]).to_list()
        names = ("code", "field", "value", "reason")
        return [Reject(**{name: each[name] for name in names}) for each in found]

    async def prune(self, before: datetime) -> int:
        with reaching():
            old = await self._runs.find({"finished_at": {"$lt": before}}, {"_id": 1}).to_list()
            run_ids = [run["_id"] for run in old]
            for collection in (EVENTS, REJECTS):  # before the run, so that a death leaves no orphans
                await self._connection[collection].delete_many({"run_id": {"$in": run_ids}})
            return (await self._runs.delete_many({"_id": {"$in": run_ids}})).deleted_count

    def watch(self) -> AsyncIterator[SyncStats]:
        return watch(self._connection)

    async def _put_run(self, stats: SyncStats, *, first: bool) -> None:
        """Store one step. Raises LeaseLost where the run is beyond this revision."""
        document, going = _as_document(stats), {"_id": stats.run_id, "finished_at": None}
        earlier = {"revision": {"$lt": stats.revision}}  # and a run that has ended stays as it ended
        try:
            result = await self._runs.replace_one({**going, **earlier}, document, upsert=first)
        except DuplicateKeyError:
            result = None
        if result is not None and (result.matched_count or result.upserted_id is not None):
            return
        stored = await self._runs.find_one({"_id": stats.run_id}, {"revision": 1})
        if stored is None or stored["revision"] != stats.revision:  # else an earlier try's answer was lost
            raise lost()

    async def _append(self, run_id: str, journal: Journal) -> None:
        await self._append_to(EVENTS, run_id, journal.first_event, [asdict(each) for each in journal.events])
        await self._append_to(
            REJECTS, run_id, journal.first_reject, [asdict(each) for each in journal.rejects]
        )

    async def _append_to(self, name: str, run_id: str, first: int, lines: Sequence[dict[str, Any]]) -> None:
        documents = [
            {"_id": f"{run_id}/{seq}", "run_id": run_id, "seq": seq, **storable_tree(line)}
            for seq, line in enumerate(lines, start=first)
        ]
        if not documents:
            return
        try:
            await self._connection[name].insert_many(documents, ordered=False)
        except BulkWriteError as exc:
            details = exc.details or {}
            codes = {error["code"] for error in details.get("writeErrors", [])}
            if codes != {_DUPLICATE_KEY} or details.get("writeConcernErrors"):
                raise  # a line that is there already was stored by an earlier try

    async def _close(self, run: Unclosed, now: datetime) -> SyncStats | None:
        """Write the end of a run and give it as it is stored then. Every part of it may be repeated.

        None where nothing is known of the run.
        """
        if run.token is not None:
            await self._stocks.seal(run.token)
        ended = await (self._put_end(run) if run.ended else self._end_displaced(run, now))
        with reaching():
            if ended is not None:
                await complete_record(self._connection, ended)
                await show(self._connection, ended)
            await self._lease.closed(run)
        return ended

    async def _put_end(self, run: Unclosed) -> SyncStats | None:
        """Store the end that the owner noted; counted by what the rows say where a batch is uncertain."""
        ended = run.run
        if ended is not None:
            if run.token is not None:
                counted = recount(ended, await self._stocks.marks(run.run_id))
                ended = replace(counted, revision=displacing_revision(run.token))
            with reaching(), suppress(LeaseLost):  # somebody else has written it
                await complete_record(self._connection, ended)  # first: whoever sees the end finds it
                await self._put_run(ended, first=False)
        return await self.get(run.run_id)

    async def _end_displaced(self, run: Unclosed, now: datetime) -> SyncStats | None:
        """Store the end of a displaced run, unless it has one."""
        while True:  # until nobody changes the document between the look and the write
            stats = await self.get(run.run_id)
            last = stats or run.run  # without a document: its owner stopped before it was ever shown
            if last is None or last.final or run.token is None:
                return last
            ended = closed(
                last,
                await self._stocks.marks(run.run_id),
                reason=run.reason,
                revision=displacing_revision(run.token),
                at=now,
            )
            seen = {"_id": run.run_id, "revision": last.revision}
            with reaching(), suppress(DuplicateKeyError):
                line = asdict(closing_event(ended, at=now))
                result = await self._runs.replace_one(seen, _as_document(ended), upsert=stats is None)
                if result.matched_count or result.upserted_id is not None:
                    await self._append_to(EVENTS, run.run_id, _LAST_LINE, [line])
                    return ended
            await asyncio.sleep(_MOMENT)


def _as_document(stats: SyncStats) -> dict[str, Any]:
    return {
        "_id": stats.run_id,
        "job": stats.job.value,
        "status": stats.status.value,
        "trigger": stats.trigger and stats.trigger.value,
        "revision": stats.revision,
        "started_at": stats.started_at,
        "finished_at": stats.finished_at,
        "stats": storable_tree(to_wire(stats)),
    }
