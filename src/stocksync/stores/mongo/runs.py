"""Runs, their logs and rejected rows.

One step of a run is several documents, and no transaction holds them together (a standalone has none):
the revision does. A document is only ever replaced by a later revision, so whoever comes late, a fenced-off
owner or a second rescuer, changes nothing.
"""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from pymongo.errors import DuplicateKeyError

from stocksync.domain.changes import Change, ChangeKind
from stocksync.domain.journal import LogLine
from stocksync.domain.status import Job, Reject, SyncStats, recount
from stocksync.domain.wire import to_wire
from stocksync.errors import LeaseLost, StoreError
from stocksync.ports import ALL_RUNS, FIRST, LAST, LEVELS, ROWS_AT_ONCE, Fence, Journal, RunFilter
from stocksync.stores.closing import closed, closing_event, displacing_revision
from stocksync.stores.mongo.connection import CONTROL_SECONDS, Connection, reaching
from stocksync.stores.mongo.documents import storable_tree
from stocksync.stores.mongo.history import RunHistory
from stocksync.stores.mongo.lease import Lease, Unclosed, lost
from stocksync.stores.mongo.logs import complete_record
from stocksync.stores.mongo.schema import RUNS, STATUS
from stocksync.stores.mongo.status import latest, load, show
from stocksync.stores.mongo.stocks import MongoStockStore
from stocksync.stores.mongo.watch import watch

_MOMENT: Final = 0.01


class MongoRunStore:
    """Implements ports.RunStore."""

    def __init__(self, connection: Connection, lease: Lease, stocks: MongoStockStore) -> None:
        self._connection = connection
        self._lease = lease
        self._stocks = stocks
        self._runs = connection[RUNS]
        self._history = RunHistory(connection)

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
            await self._history.append(fence.run_id, journal)
            await self._put_run(stats, first=False)
            await show(self._connection, stats)
            return cancel_requested

    async def finish(self, fence: Fence, stats: SyncStats, journal: Journal) -> SyncStats:
        with reaching(CONTROL_SECONDS):
            noted = await self._lease.end(fence, stats)
            await self._history.append(fence.run_id, journal)
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

    async def history(
        self, which: RunFilter = ALL_RUNS, *, limit: int, offset: int = 0, before: int | None = None
    ) -> Sequence[SyncStats]:
        return await self._history.history(which, limit=limit, offset=offset, before=before)

    async def run_count(self, which: RunFilter = ALL_RUNS) -> int:
        return await self._history.run_count(which)

    async def events(
        self,
        run_id: str,
        *,
        after: int = FIRST,
        limit: int = ROWS_AT_ONCE,
        levels: Collection[str] = LEVELS,
    ) -> Sequence[LogLine]:
        return await self._history.events(run_id, after=after, limit=limit, levels=levels)

    async def rejects(self, run_id: str, *, limit: int = ROWS_AT_ONCE, offset: int = 0) -> Sequence[Reject]:
        return await self._history.rejects(run_id, limit=limit, offset=offset)

    async def reject_count(self, run_id: str) -> int:
        return await self._history.reject_count(run_id)

    async def changes(
        self, run_id: str, *, kind: ChangeKind | None = None, limit: int = ROWS_AT_ONCE, offset: int = 0
    ) -> Sequence[Change]:
        return await self._history.changes(run_id, kind=kind, limit=limit, offset=offset)

    async def change_counts(self, run_id: str) -> Mapping[ChangeKind, int]:
        return await self._history.change_counts(run_id)

    async def prune(self, before: datetime) -> int:
        with reaching():
            old = await self._runs.find({"finished_at": {"$lt": before}}, {"_id": 1}).to_list()
            return await self._history.forget([run["_id"] for run in old])

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
                # After whatever its owner said, however much that was.
                last_line = Journal(events=(closing_event(ended, at=now),), first_event=LAST)
                result = await self._runs.replace_one(seen, _as_document(ended), upsert=stats is None)
                if result.matched_count or result.upserted_id is not None:
                    await self._history.append(run.run_id, last_line)
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
