"""The one slot that all runs share, as one document; time is the server's own ($$NOW).

The document is never deleted: its token only grows. Who displaces a run notes that in the same atomic step
(`unclosed`), so that whoever dies in between, the displaced run is closed by somebody else.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from pymongo import ReturnDocument

from stocksync.domain.status import Reason, SyncStats
from stocksync.domain.wire import from_wire, to_wire
from stocksync.errors import LeaseLost, RunInProgress
from stocksync.ports import Fence
from stocksync.stores.mongo.connection import Connection
from stocksync.stores.mongo.schema import LEASE

_SLOT: Final = {"_id": "stock_basics"}
_LONG_AGO: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LEFT_BEHIND_MS: Final = 3000
"""A displaced run that is still not closed after this long was left behind by whoever displaced it."""

_EXPIRED: Final[Mapping[str, Any]] = {"$lte": ["$expires", "$$NOW"]}
_HELD: Final[Mapping[str, Any]] = {"$ne": ["$run_id", None]}
_FREE: Final[Mapping[str, Any]] = {
    "owner": None,
    "run_id": None,
    "run": None,
    "expires": _LONG_AGO,
    "cancel_requested": False,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Displaced:
    """A run that lost the slot to `token` and is to be closed. `first` is how it stood when it began."""

    run_id: str
    token: int
    reason: Reason
    first: SyncStats


class Lease:
    """The slot. Every method raises StoreError."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._slots = connection[LEASE]

    async def seed(self) -> None:
        """Make the document where there is none yet."""
        first = {"token": 0, "unclosed": [], **_FREE}
        await self._connection.persistently(
            lambda: self._slots.update_one(_SLOT, {"$setOnInsert": first}, upsert=True)
        )

    async def acquire(
        self, run: SyncStats, *, owner: str, ttl: timedelta, force: bool
    ) -> tuple[Fence, Sequence[Displaced]]:
        """Take the slot; tell which runs are to be closed before it is used. Raises RunInProgress."""
        run_id = run.run_id or ""
        may_take = {"$expr": {"$or": [{"$not": [_HELD]}, _EXPIRED]}}
        wanted = {**_SLOT, "run_id": {"$ne": run_id}, **({} if force else may_take)}
        taken = _taking(run, owner=owner, ttl=ttl)

        async def attempt() -> dict[str, Any] | None:
            found = await self._slots.find_one_and_update(wanted, taken, return_document=ReturnDocument.AFTER)
            # None may mean that an earlier try succeeded whose answer was lost. The look is a write, because
            # the acknowledgement of a write vouches for everything before it.
            return found or await self._slots.find_one_and_update(
                {**_SLOT, "run_id": run_id, "owner": owner}, {"$set": {"owner": owner}},
                return_document=ReturnDocument.AFTER,
            )  # fmt: skip

        found = await self._connection.persistently(attempt)
        if found is None:
            raise RunInProgress("同步任务正在运行中")
        return Fence(token=found["token"], owner=owner, run_id=run_id), _displaced(found)

    async def renew(self, fence: Fence, ttl: timedelta) -> bool:
        """Prolong the lease; tell whether somebody asked to cancel. Raises LeaseLost."""
        found = await self._slots.find_one_and_update(
            _held_by(fence), [{"$set": {"expires": _in(ttl)}}], return_document=ReturnDocument.AFTER
        )
        if found is None:
            raise lost()
        return bool(found["cancel_requested"])

    async def check(self, fence: Fence) -> None:
        """Refuse a writer whose token is not the newest. Raises LeaseLost."""
        if await self._slots.find_one(_held_by(fence), {"_id": 1}) is None:
            raise lost()

    async def free(self, fence: Fence) -> None:
        """Let the next run have it; nothing where somebody else has it already."""
        await self._slots.update_one(_held_by(fence), {"$set": _FREE})

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

    async def bury(self) -> Sequence[Displaced]:
        """Free the slot of a dead owner; give what is to be closed, also what was left behind."""
        found = await self._slots.find_one_and_update(
            {**_SLOT, "$expr": _dead()},
            [{"$set": {"token": {"$add": ["$token", 1]}, "unclosed": _unclosed(), **_literal(_FREE)}}],
            return_document=ReturnDocument.AFTER,
        ) or await self._slots.find_one({**_SLOT, "$expr": _left_behind()})
        return [] if found is None else _displaced(found)

    async def sealed_against(self, fence: Fence) -> bool:
        """Whether the run of a fenced-off owner has been closed, and with it every row been sealed."""
        still_open = {**_SLOT, "$or": [{"token": fence.token}, {"unclosed.run_id": fence.run_id}]}
        return await self._slots.find_one(still_open, {"_id": 1}) is None

    async def closed(self, displaced: Displaced) -> None:
        """Note that a displaced run is closed."""
        await self._slots.update_one(_SLOT, {"$pull": {"unclosed": {"run_id": displaced.run_id}}})


def lost() -> LeaseLost:
    """Say that somebody else has the slot."""
    return LeaseLost("运行权已被其他进程接管")


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


def _unclosed() -> dict[str, Any]:
    """What is still to be closed, and the run that holds the slot now."""
    holder = {
        "run_id": "$run_id",
        "run": "$run",
        "token": {"$add": ["$token", 1]},
        "reason": {"$cond": [_EXPIRED, Reason.INTERRUPTED.value, Reason.SUPERSEDED.value]},
        "since": "$$NOW",
    }
    return {"$concatArrays": ["$unclosed", {"$cond": [_HELD, [holder], []]}]}


def _taking(run: SyncStats, *, owner: str, ttl: timedelta) -> list[dict[str, Any]]:
    who = {"owner": owner, "run_id": run.run_id, "run": to_wire(run)}
    mine = _literal({**who, "cancel_requested": False})
    token = {"$add": ["$token", 1]}
    return [{"$set": {**mine, "token": token, "expires": _in(ttl), "unclosed": _unclosed()}}]


def _displaced(found: Mapping[str, Any]) -> Sequence[Displaced]:
    return [
        Displaced(
            run_id=each["run_id"],
            token=int(each["token"]),
            reason=Reason(each["reason"]),
            first=from_wire(each["run"]),
        )
        for each in found["unclosed"]
    ]
