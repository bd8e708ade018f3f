"""What is kept of every run: its record in the history, its log, its rejected rows and its changes."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any, Final

from pymongo import DESCENDING
from pymongo.errors import BulkWriteError

from stocksync.domain.changes import Change, ChangeKind
from stocksync.domain.journal import LogLine, RunEvent
from stocksync.domain.status import Reject, SyncStats
from stocksync.ports import Journal, RunFilter
from stocksync.stores.mongo.connection import Connection, reaching
from stocksync.stores.mongo.documents import storable_tree
from stocksync.stores.mongo.schema import CHANGES, EVENTS, REJECTS, RUNS
from stocksync.stores.mongo.status import load

_DUPLICATE_KEY: Final = 11000

Document = Mapping[str, Any]


class RunHistory:
    """Reads and adds to what runs leave behind; the run store's part that knows of no lease."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def history(
        self, which: RunFilter, *, limit: int, offset: int, before: int | None
    ) -> list[SyncStats]:
        """The runs that are meant, newest first."""
        meant = _meant(which) | ({} if before is None else {"revision": {"$lt": before}})
        newest_first = [("revision", DESCENDING)]
        with reaching():
            found = (
                await self._connection[RUNS]
                .find(meant, {"stats": 1}, sort=newest_first, skip=offset, limit=limit)
                .to_list()
            )
        return [load(document["stats"]) for document in found]

    async def run_count(self, which: RunFilter) -> int:
        """How many runs are meant."""
        with reaching():
            return await self._connection[RUNS].count_documents(_meant(which))

    async def events(self, run_id: str, *, after: int, limit: int, levels: Collection[str]) -> list[LogLine]:
        """The lines of a log after a place."""
        meant = {"run_id": run_id, "seq": {"$gt": after}, "level": {"$in": list(levels)}}
        found = await self._page(EVENTS, meant, limit=limit)
        return [LogLine(seq=each["seq"], event=RunEvent(**_known(RunEvent, each))) for each in found]

    async def rejects(self, run_id: str, *, limit: int, offset: int) -> list[Reject]:
        """Some rejected rows of a run."""
        found = await self._page(REJECTS, {"run_id": run_id}, limit=limit, offset=offset)
        return [Reject(**_known(Reject, each)) for each in found]

    async def reject_count(self, run_id: str) -> int:
        """How many rejected rows a run has."""
        with reaching():
            return await self._connection[REJECTS].count_documents({"run_id": run_id})

    async def changes(self, run_id: str, *, kind: ChangeKind | None, limit: int, offset: int) -> list[Change]:
        """Some changes of a run, of one kind or of all."""
        meant = {"run_id": run_id} | ({} if kind is None else {"kind": kind.value})
        found = await self._page(CHANGES, meant, limit=limit, offset=offset)
        return [Change(**{**_known(Change, each), "kind": ChangeKind(each["kind"])}) for each in found]

    async def change_counts(self, run_id: str) -> Mapping[ChangeKind, int]:
        """How many changes a run has, by kind."""
        pipeline: list[Document] = [
            {"$match": {"run_id": run_id}},
            {"$group": {"_id": "$kind", "changes": {"$sum": 1}}},
        ]
        with reaching():
            found = await (await self._connection[CHANGES].aggregate(pipeline)).to_list()
        return {ChangeKind(each["_id"]): each["changes"] for each in found}

    async def _page(self, name: str, meant: Document, *, limit: int, offset: int = 0) -> list[Any]:
        with reaching():
            page = self._connection[name].find(meant, sort=[("seq", 1)], skip=offset, limit=limit)
            return await page.to_list()

    async def append(self, run_id: str, journal: Journal) -> None:
        """Store each line in its place of the run's log; one that is there already stays as it is."""
        await self._append(EVENTS, run_id, journal.first_event, journal.events)
        await self._append(REJECTS, run_id, journal.first_reject, journal.rejects)
        await self._append(CHANGES, run_id, journal.first_change, journal.changes)

    async def _append(
        self, name: str, run_id: str, first: int, lines: Sequence[RunEvent | Reject | Change]
    ) -> None:
        documents = [
            {"_id": f"{run_id}/{seq}", "run_id": run_id, "seq": seq, **storable_tree(asdict(line))}
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

    async def forget(self, run_ids: Sequence[str]) -> int:
        """Delete runs with all that they said, and count them."""
        for name in (EVENTS, REJECTS, CHANGES):  # before the run, so that a death leaves no orphans
            await self._connection[name].delete_many({"run_id": {"$in": run_ids}})
        return (await self._connection[RUNS].delete_many({"_id": {"$in": run_ids}})).deleted_count


def _meant(which: RunFilter) -> dict[str, Any]:
    sets = {"status": which.statuses, "job": which.jobs, "trigger": which.triggers}
    period = {"$gte": which.since, "$lt": which.until}
    began = {comparison: moment for comparison, moment in period.items() if moment is not None}
    meant: dict[str, Any] = {
        name: {"$in": [str(member) for member in members]} for name, members in sets.items() if members
    }
    return meant | ({"started_at": began} if began else {})


def _known(kind: type[RunEvent | Reject | Change], document: Document) -> dict[str, Any]:
    return {each.name: document[each.name] for each in fields(kind)}
