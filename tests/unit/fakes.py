"""Time and a run store that do only what a test says."""

import asyncio
import heapq
from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from itertools import count
from typing import Any

from builders import NOON
from stocksync.domain.status import Job, SyncStats
from stocksync.errors import StoreError


async def settle() -> None:
    """Give everybody on the loop as many turns as he can use."""
    for _ in range(30):
        await asyncio.sleep(0)


class StepClock:
    """Time that passes only in `advance`: sleepers wake in order, each at his moment."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._order = count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def now(self) -> datetime:
        return NOON + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        woken = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self.seconds + seconds, next(self._order), woken))
        await woken

    async def advance(self, seconds: float) -> None:
        end = self.seconds + seconds
        await settle()
        while self._sleepers and self._sleepers[0][0] <= end:
            at, _, woken = heapq.heappop(self._sleepers)
            self.seconds = max(at, self.seconds)
            if not woken.done():
                woken.set_result(None)
            await settle()
        self.seconds = end
        await settle()

    def block(self, seconds: float) -> None:
        """Let time pass while nobody gets a turn, as a busy event loop does."""
        self.seconds += seconds


class FakeRuns:
    """A run store that answers at once, raises `failure`, or hangs; counts what it was asked for."""

    def __init__(self) -> None:
        self.token: int | None = None
        self.stored: dict[Job, SyncStats] = {}
        self.runs: list[SyncStats] = []
        self.closed: SyncStats | None = None
        self.failure: StoreError | None = None
        self.failing_only: set[str] = set()
        self.answering = asyncio.Event()
        self.answering.set()
        self.asked: dict[str, int] = {}
        self.changes: asyncio.Queue[SyncStats | StoreError] = asyncio.Queue()

    async def _meet(self, name: str) -> None:
        self.asked[name] = self.asked.get(name, 0) + 1
        if self.failure is not None and name in (self.failing_only or {name}):
            raise self.failure
        await self.answering.wait()

    async def overdue(self) -> int | None:
        await self._meet("overdue")
        return self.token

    async def rescue(self, now: datetime) -> SyncStats | None:
        assert now.tzinfo is not None
        await self._meet("rescue")
        self.token = None
        return self.closed

    async def newest(self) -> int:
        await self._meet("newest")
        return max((stats.revision for stats in self.stored.values()), default=0)

    async def latest(self, job: Job) -> SyncStats | None:
        await self._meet("latest")
        return self.stored.get(job)

    async def history(self, *, limit: int) -> Sequence[SyncStats]:
        await self._meet("history")
        return self.runs[:limit]

    async def watch(self) -> AsyncIterator[SyncStats]:
        self.asked["watch"] = self.asked.get("watch", 0) + 1
        while True:
            change = await self.changes.get()
            if isinstance(change, StoreError):
                raise change
            yield change

    def as_port(self) -> Any:
        """Itself: it has what the code under test uses of ports.RunStore, and no more."""
        return self
