"""Runs, their logs and rejected rows, and how the two jobs stand."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

from stocksync.domain.changes import Change, ChangeKind
from stocksync.domain.journal import LogLine
from stocksync.domain.status import Job, Reason, Reject, SyncStats
from stocksync.domain.wire import to_wire
from stocksync.errors import RunInProgress
from stocksync.ports import ALL_RUNS, FIRST, LEVELS, ROWS_AT_ONCE, Fence, Journal, RunFilter
from stocksync.stores.closing import closed, closing_event
from stocksync.stores.sqlite import history
from stocksync.stores.sqlite.database import Database
from stocksync.stores.sqlite.logs import complete_record
from stocksync.stores.sqlite.slot import (
    check_fence,
    free_slot,
    prove_writable,
    read_slot,
    renew,
    take_slot,
)
from stocksync.stores.sqlite.stocks import marks_of
from stocksync.stores.text import storable_json

POLL_SECONDS: Final = 0.1
"""How often a process looks whether another one has committed; a look costs some 30 µs."""


class SqliteRunStore:
    """Implements ports.RunStore."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def acquire(self, run: SyncStats, *, owner: str, ttl: timedelta, force: bool) -> Fence:
        def work(db: sqlite3.Connection) -> Fence:
            held = read_slot(db)
            if held.run_id is not None and not held.expired and not force:
                raise RunInProgress("同步任务正在运行中")
            fence = take_slot(db, owner=owner, run_id=run.run_id, ttl=ttl)
            if held.run_id is not None:
                reason = Reason.INTERRUPTED if held.expired else Reason.SUPERSEDED
                _close_displaced(db, held.run_id, fence, reason, run.started_at or datetime.now(UTC))
            _store(db, replace(run, revision=fence.first_revision), Journal())
            return fence

        return await self._database.write(work)

    async def advance(self, fence: Fence, stats: SyncStats, journal: Journal, *, ttl: timedelta) -> bool:
        def work(db: sqlite3.Connection) -> bool:
            cancel_requested = renew(db, fence, ttl)
            _store(db, stats, journal)
            return cancel_requested

        return await self._database.write(work)

    async def finish(self, fence: Fence, stats: SyncStats, journal: Journal) -> SyncStats:
        def work(db: sqlite3.Connection) -> None:
            check_fence(db, fence)
            _close(db, stats, journal)
            free_slot(db)

        await self._database.write(work)
        return stats

    async def overdue(self) -> int | None:
        if not (await self._database.read(read_slot)).overdue:
            return None

        def work(db: sqlite3.Connection) -> int | None:
            held = read_slot(db)  # again: while this waited for its turn to write, the owner may have had his
            if not held.overdue:
                return None
            prove_writable(db)
            return held.token

        return await self._database.write(work)

    async def rescue(self, now: datetime) -> SyncStats | None:
        if not (await self._database.read(read_slot)).overdue:
            return None

        def work(db: sqlite3.Connection) -> SyncStats | None:
            held = read_slot(db)
            if held.run_id is None or not held.expired:
                return None
            fence = take_slot(db, owner="rescue", run_id=held.run_id, ttl=timedelta(0))
            ended = _close_displaced(db, held.run_id, fence, Reason.INTERRUPTED, now)
            free_slot(db)
            return ended

        return await self._database.write(work)

    async def request_cancel(self, run_id: str) -> bool:
        asked = await self._database.write(
            lambda db: (
                db.execute("UPDATE lease SET cancel_requested = 1 WHERE run_id = ?", (run_id,)).rowcount
            )
        )
        return asked == 1

    async def latest(self, job: Job) -> SyncStats | None:
        row = await self._database.read(
            lambda db: db.execute("SELECT document FROM sync_status WHERE job = ?", (job.value,)).fetchone()
        )
        return None if row is None else history.load(row[0])

    async def newest(self) -> int:
        return await self._database.read(
            lambda db: int(db.execute("SELECT coalesce(max(revision), 0) FROM sync_status").fetchone()[0])
        )

    async def get(self, run_id: str) -> SyncStats | None:
        return await self._database.read(lambda db: _run(db, run_id))

    async def history(
        self, which: RunFilter = ALL_RUNS, *, limit: int, offset: int = 0, before: int | None = None
    ) -> Sequence[SyncStats]:
        rows = await self._database.read(history.runs(which, limit=limit, offset=offset, before=before))
        return [history.load(document) for (document,) in rows]

    async def run_count(self, which: RunFilter = ALL_RUNS) -> int:
        ((count,),) = await self._database.read(history.run_count(which))
        return int(count)

    async def events(
        self,
        run_id: str,
        *,
        after: int = FIRST,
        limit: int = ROWS_AT_ONCE,
        levels: Collection[str] = LEVELS,
    ) -> Sequence[LogLine]:
        rows = await self._database.read(history.events(run_id, after=after, limit=limit, levels=levels))
        return [history.as_line(row) for row in rows]

    async def rejects(self, run_id: str, *, limit: int = ROWS_AT_ONCE, offset: int = 0) -> Sequence[Reject]:
        rows = await self._database.read(history.rejects(run_id, limit=limit, offset=offset))
        return [history.as_reject(row) for row in rows]

    async def reject_count(self, run_id: str) -> int:
        ((count,),) = await self._database.read(history.reject_count(run_id))
        return int(count)

    async def changes(
        self, run_id: str, *, kind: ChangeKind | None = None, limit: int = ROWS_AT_ONCE, offset: int = 0
    ) -> Sequence[Change]:
        rows = await self._database.read(history.changes(run_id, kind=kind, limit=limit, offset=offset))
        return [history.as_change(row) for row in rows]

    async def change_counts(self, run_id: str) -> Mapping[ChangeKind, int]:
        rows = await self._database.read(history.change_counts(run_id))
        return {ChangeKind(kind): count for kind, count in rows}

    async def prune(self, before: datetime) -> int:
        return await self._database.write(
            lambda db: (
                db.execute("DELETE FROM sync_runs WHERE finished_at < ?", (before.timestamp(),)).rowcount
            )
        )

    async def watch(self) -> AsyncIterator[SyncStats]:
        version: int | None = None
        seen: dict[str, int] = {}
        while True:
            current = await self._database.data_version()
            if current != version:
                version = current
                rows = await self._database.read(
                    lambda db: db.execute("SELECT job, revision, document FROM sync_status").fetchall()
                )
                for job, revision, document in rows:
                    if revision > seen.get(job, -1):
                        seen[job] = revision
                        yield history.load(document)
            await asyncio.sleep(POLL_SECONDS)


def _run(db: sqlite3.Connection, run_id: str) -> SyncStats | None:
    row = db.execute("SELECT document FROM sync_runs WHERE run_id = ?", (run_id,)).fetchone()
    return None if row is None else history.load(row[0])


def _store(db: sqlite3.Connection, stats: SyncStats, journal: Journal) -> None:
    """Write one step of a run: its document, its job's status and what it has to say."""
    document = storable_json(to_wire(stats))
    db.execute(
        "INSERT INTO sync_runs (run_id, job, status, trigger, revision, started_at, finished_at, document) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (run_id) DO UPDATE SET status = excluded.status, "
        "revision = excluded.revision, finished_at = excluded.finished_at, document = excluded.document",
        (
            stats.run_id, stats.job.value, stats.status.value, stats.trigger, stats.revision,
            history.seconds(stats.started_at), history.seconds(stats.finished_at), document,
        ),
    )  # fmt: skip
    db.execute(
        "INSERT INTO sync_status (job, revision, document) VALUES (?, ?, ?) ON CONFLICT (job) DO UPDATE SET "
        "revision = excluded.revision, document = excluded.document WHERE excluded.revision > revision",
        (stats.job.value, stats.revision, document),
    )
    history.append(db, stats.run_id, journal)


def _close(db: sqlite3.Connection, stats: SyncStats, journal: Journal) -> None:
    """Store how a run ended, and complete the operation log record that started it."""
    _store(db, stats, journal)
    complete_record(
        db,
        stats.run_id or "",
        outcome=stats.status.value,
        error=stats.message if stats.reason else None,
        elapsed_ms=stats.progress.elapsed_ms or 0,
    )


def _close_displaced(
    db: sqlite3.Connection, run_id: str, fence: Fence, reason: Reason, now: datetime
) -> SyncStats | None:
    """Close the run that lost the slot, with counters that match what it really stored."""
    stats = _run(db, run_id)
    if stats is None or stats.final:
        return stats
    ended = closed(stats, marks_of(db, run_id), reason=reason, revision=fence.revision(0), at=now)
    event = closing_event(ended, at=now)
    _close(db, ended, Journal(events=(event,), first_event=history.end_of_log(db, run_id)))
    return ended
