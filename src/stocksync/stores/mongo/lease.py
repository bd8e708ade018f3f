"""The one slot that all runs share, as one document; time is the server's own ($$NOW).

The document is never deleted: its token only grows. Whoever leaves the slot, by ending his run or by being
displaced, is noted in the same atomic step (`unclosed`), so that whoever dies then, the end of the run is
written by somebody else, and nobody sees the end of a run whose slot is not free yet.

`sealed` is the newest token with which every row has been sealed. A row with an older fence was inserted
afterwards, by somebody who had been displaced: for everybody else it does not exist.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from pymongo import ReturnDocument

from stocksync.domain.status import Reason, SyncStats
from stocksync.domain.wire import to_wire
from stocksync.errors import LeaseLost, RunInProgress, StoreInvalid
from stocksync.ports import Fence
from stocksync.stores.mongo.connection import OPERATION_SECONDS, Connection, reaching
from stocksync.stores.mongo.documents import storable_tree
from stocksync.stores.mongo.schema import LEASE
from stocksync.stores.mongo.status import load

_SLOT: Final = {"_id": "stock_basics"}
_LONG_AGO: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LEFT_BEHIND_MS: Final = 3000
"""A displaced run that is still not closed after this long was left behind by whoever displaced it."""

_EXPIRED: Final[Mapping[str, Any]] = {"$lte": ["$expires", "$$NOW"]}
_HELD: Final[Mapping[str, Any]] = {"$ne": ["$run_id", None]}
_LEAST_SECONDS: Final = 1.0

_AFTER: Final = ReturnDocument.AFTER
_UNCERTAIN: Final = frozenset({Reason.STORE_UNAVAILABLE, Reason.CANCELLED})
"""Whoever ends like this may have left a command on its way to the database."""

_FREE: Final[Mapping[str, Any]] = {
    "owner": None,
    "run_id": None,
    "run": None,
    "expires": _LONG_AGO,
    "cancel_requested": False,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Unclosed:
    """A run that left the slot and whose end is still to be written.

    Where its owner `ended` it, `run` is how it ended; where it was displaced, `run` is how it began, and
    `reason` says by what. With a `token`, writes of its owner may still be under way, so the rows are to be
    sealed with that token first. `run` is None where another version wrote it and it cannot be read.
    """

    run_id: str
    token: int | None
    ended: bool
    reason: Reason
    run: SyncStats | None


class Lease:
    """The slot. Every method raises StoreError."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._slots = connection[LEASE]

    async def seed(self) -> None:
        """Make the document where there is none yet."""
        first = {"$setOnInsert": {"token": 0, "sealed": 0, "unclosed": [], **_FREE}}
        await self._connection.persistently(lambda: self._slots.update_one(_SLOT, first, upsert=True))

    async def acquire(
        self, run: SyncStats, *, owner: str, ttl: timedelta, force: bool
    ) -> tuple[Fence, Sequence[Unclosed]]:
        """Take the slot; tell which runs are to be closed before it is used. Raises RunInProgress."""
        run_id = run.run_id or ""
        mine = {**_SLOT, "run_id": run_id, "owner": owner}
        may_take = {"$expr": {"$or": [{"$not": [_HELD]}, _EXPIRED]}}
        wanted = {**_SLOT, "run_id": {"$ne": run_id}, **({} if force else may_take)}
        taken = _taking(run, owner=owner, ttl=ttl)

        async def attempt() -> dict[str, Any] | None:
            found = await self._slots.find_one_and_update(wanted, taken, return_document=_AFTER)
            # None may mean that an earlier try succeeded whose answer was lost. The look is a write, because
            # its acknowledgement vouches for everything before it.
            return found or await self._slots.find_one_and_update(
                mine, {"$set": {"owner": owner}}, return_document=_AFTER
            )

        # No try may come so late that the run could have been closed as dead since the first one.
        seconds = max(_LEAST_SECONDS, min(OPERATION_SECONDS, ttl.total_seconds() / 2))
        with reaching(seconds):
            found = await replace(self._connection.retry, within=seconds)(attempt)
        if found is None:
            raise RunInProgress("同步任务正在运行中")
        return Fence(token=found["token"], owner=owner, run_id=run_id), _unclosed_in(found)

    async def renew(self, fence: Fence, ttl: timedelta) -> bool:
        """Prolong the lease; tell whether somebody asked to cancel. Raises LeaseLost."""
        found = await self._slots.find_one_and_update(
            _held_by(fence), [{"$set": {"expires": _in(ttl)}}], return_document=_AFTER
        )
        if found is None:
            raise lost()
        return bool(found["cancel_requested"])

    async def check(self, fence: Fence) -> int:
        """Refuse a writer whose token is not the newest; tell with which token every row was sealed last.

        Raises LeaseLost.
        """
        found = await self._slots.find_one(_held_by(fence), {"sealed": 1})
        if found is None:
            raise lost()
        return int(found.get("sealed", 0))

    async def give_up(self, fence: Fence) -> None:
        """Leave the slot, and the run to be closed; nothing where somebody else has it already."""
        await self._slots.update_one(_held_by(fence), _leaving())

    async def end(self, fence: Fence, ended: SyncStats) -> Unclosed:
        """Let the next run have it, and note how this one ended, in one step. Raises LeaseLost."""
        run = Unclosed(
            run_id=fence.run_id,
            token=fence.token + 1 if ended.reason in _UNCERTAIN else None,
            ended=True,
            reason=ended.reason or Reason.ERROR,
            run=ended,
        )
        note = {"run_id": run.run_id, "token": run.token, "ended": True, "reason": run.reason.value}
        noted = {**_SLOT, "unclosed": {"$elemMatch": {"run_id": fence.run_id, "ended": True}}}
        mine = {**_literal({**note, "run": _document(ended)}), "since": "$$NOW"}
        left = {"unclosed": {"$concatArrays": ["$unclosed", [mine]]}, **_literal(_FREE)}
        if run.token is not None:
            left["token"] = _literal({"token": run.token})["token"]
        done = await self._slots.update_one(_held_by(fence), [{"$set": left}])
        if not done.matched_count and await self._slots.find_one(noted, {"_id": 1}) is None:
            raise lost()  # else it was done by an earlier try whose answer was lost
        return run

    async def request_cancel(self, run_id: str) -> bool:
        """Leave word for the owner of a run; False where it does not hold the slot."""
        wish = {"$set": {"cancel_requested": True}}
        return (await self._slots.update_one({**_SLOT, "run_id": run_id}, wish)).matched_count == 1

    async def overdue(self) -> int | None:
        """Tell the token under which something is to be closed, None where all is well."""
        found = await self._slots.find_one(
            {**_SLOT, "$expr": {"$or": [_dead(), _left_behind()]}}, {"token": 1}
        )
        return None if found is None else int(found["token"])

    async def bury(self) -> Sequence[Unclosed]:
        """Free the slot of a dead owner; give what is to be closed, also what was left behind."""
        found = await self._slots.find_one_and_update(
            {**_SLOT, "$expr": _dead()},
            _leaving(),
            return_document=_AFTER,
        ) or await self._slots.find_one({**_SLOT, "$expr": _left_behind()})
        return [] if found is None else _unclosed_in(found)

    async def sealed(self) -> int:
        """Tell with which token every row was sealed last."""
        found = await self._slots.find_one(_SLOT, {"sealed": 1})
        return int((found or {}).get("sealed", 0))

    async def note_sealed(self, token: int) -> None:
        """Note that every row has been sealed with a token."""
        await self._slots.update_one(_SLOT, {"$max": {"sealed": token}})

    async def is_unclosed(self, run_id: str) -> bool:
        """Whether the end of a run that left the slot is still to be written."""
        return await self._slots.find_one({**_SLOT, "unclosed.run_id": run_id}, {"_id": 1}) is not None

    async def closed(self, run: Unclosed) -> None:
        """Note that the end of a run is written."""
        await self._slots.update_one(_SLOT, {"$pull": {"unclosed": {"run_id": run.run_id}}})


def lost() -> LeaseLost:
    """Say that somebody else has the slot."""
    return LeaseLost("运行权已被其他进程接管")


def _document(stats: SyncStats) -> dict[str, Any]:
    document: dict[str, Any] = storable_tree(to_wire(stats))
    return document


def _held_by(fence: Fence) -> dict[str, Any]:
    return {**_SLOT, "owner": fence.owner, "token": fence.token}


def _in(ttl: timedelta) -> dict[str, Any]:
    return {"$add": ["$$NOW", max(1, round(ttl.total_seconds() * 1000))]}


def _literal(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values in a pipeline, where a text that begins with $ would be a path."""
    return {name: {"$literal": value} for name, value in values.items()}


def _dead() -> dict[str, Any]:
    return {"$and": [_HELD, _EXPIRED]}


def _left_behind() -> dict[str, Any]:
    long_ago = {"$lt": ["$$each.since", {"$subtract": ["$$NOW", _LEFT_BEHIND_MS]}]}
    return {"$anyElementTrue": [{"$map": {"input": "$unclosed", "as": "each", "in": long_ago}}]}


def _unclosed(reason: Any) -> dict[str, Any]:
    """What is still to be closed, and the run that holds the slot now."""
    holder = {
        "run_id": "$run_id",
        "run": "$run",
        "token": {"$add": ["$token", 1]},
        "ended": {"$literal": False},
        "reason": {"$cond": ["$cancel_requested", Reason.CANCELLED.value, reason]},
        "since": "$$NOW",
    }
    return {"$concatArrays": ["$unclosed", {"$cond": [_HELD, [holder], []]}]}


def _taking(run: SyncStats, *, owner: str, ttl: timedelta) -> list[dict[str, Any]]:
    who = {"owner": owner, "run_id": run.run_id, "run": _document(run)}
    mine = _literal({**who, "cancel_requested": False})
    token = {"$add": ["$token", 1]}
    unclosed = _unclosed({"$cond": [_EXPIRED, Reason.INTERRUPTED.value, Reason.SUPERSEDED.value]})
    return [{"$set": {**mine, "token": token, "expires": _in(ttl), "unclosed": unclosed}}]


def _leaving() -> list[dict[str, Any]]:
    unclosed = _unclosed(Reason.INTERRUPTED.value)
    return [{"$set": {"token": {"$add": ["$token", 1]}, "unclosed": unclosed, **_literal(_FREE)}}]


def _unclosed_in(found: Mapping[str, Any]) -> Sequence[Unclosed]:
    return [
        Unclosed(
            run_id=each["run_id"],
            token=each["token"],
            ended=each["ended"],
            reason=Reason(each["reason"]) if each["reason"] in set(Reason) else Reason.INTERRUPTED,
            run=_readable(each["run"]),
        )
        for each in found["unclosed"]
    ]


def _readable(document: Mapping[str, Any]) -> SyncStats | None:
    try:
        return load(document)
    except StoreInvalid:
        return None
