"""How a run ends: stored as soon as the store takes it, truly, and quickly where the process is to stop."""

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from builders import a_run
from stocksync.clock import SystemClock
from stocksync.domain.status import (
    Job,
    Reason,
    SourceCount,
    SyncStats,
    SyncStatus,
    broken_invariants,
    complete,
)
from stocksync.errors import LeaseLost, StocksyncError, StoreInvalid, StoreUnavailable
from stocksync.ports import Fence, Journal, UpsertCount
from stocksync.sync import execution
from stocksync.sync.board import StatusBoard
from stocksync.sync.execution import RunExecution
from stocksync.sync.tracker import PATIENCE_SECONDS, RunTracker

FENCE = Fence(token=4, owner="me", run_id="run-1")
LISTED = replace(
    a_run(), revision=FENCE.first_revision, total=10, source_stats={"tushare": SourceCount(total=10)}
)
TAKEN_OVER = replace(a_run("run-2"), revision=5_000_001)
AWAY = StoreUnavailable("连接断开")


class Scene:
    """A run whose engine is a function, over a store that fails as often as it is told."""

    def __init__(self) -> None:
        self.clock = SystemClock()
        self.board = StatusBoard()
        self.closing = asyncio.Event()
        self.tracker = RunTracker(LISTED, FENCE, persist=self.persist, clock=self.clock, typical_ms=None)
        self.outcome: StocksyncError | None = None
        self.hangs = False
        self.steps_fail: StocksyncError | None = None
        self.ends_fail: list[StocksyncError] = []
        self.ends_hang = False
        self.offered: list[tuple[SyncStats, Journal]] = []
        self.stored: SyncStats | None = None
        self.in_rows: dict[str, tuple[int, int]] = {}
        self.marks_fail: list[StocksyncError] = []
        self.asked: list[str] = []

    async def persist(self, fence: Fence, stats: SyncStats, journal: Journal) -> bool:
        assert fence is FENCE
        assert journal.first_event >= 0
        if self.steps_fail is not None:
            raise self.steps_fail
        self.board.publish(stats)
        return False

    # --- what the execution uses of the engine and of the stores

    store: Any = property(lambda self: self)
    stocks: Any = property(lambda self: self)

    async def run(self) -> SyncStats:
        if self.hangs:
            await asyncio.Event().wait()
        if self.outcome is not None:
            raise self.outcome
        self.tracker.written("tushare", UpsertCount(inserted=10))
        return complete(self.tracker.stats, at=self.clock.now(), message="同步完成")

    async def marks(self, run_id: str) -> Mapping[str, tuple[int, int]]:
        assert run_id == "run-1"
        self.asked.append("marks")
        if self.marks_fail:
            raise self.marks_fail.pop(0)
        return self.in_rows

    async def finish(self, fence: Fence, stats: SyncStats, journal: Journal) -> SyncStats:
        assert fence is FENCE
        self.offered.append((stats, journal))
        if self.ends_hang:
            await asyncio.Event().wait()
        if self.ends_fail:
            raise self.ends_fail.pop(0)
        self.stored = stats
        return stats

    async def retract(self, fence: Fence) -> None:
        assert fence is FENCE
        self.asked.append("retract")

    async def latest(self, job: Job) -> SyncStats:
        self.asked.append(f"latest {job}")
        return TAKEN_OVER

    async def rescue(self, now: object) -> None:
        self.asked.append(f"rescue {now}")

    async def prune(self, before: object) -> int:
        self.asked.append("prune" if before else "")
        return 0

    async def prepare(self) -> None:
        pass

    def execution(self) -> RunExecution:
        me: Any = self
        return RunExecution(
            engine=me, track=self.tracker, runs=me, board=self.board, clock=self.clock,
            keep=timedelta(days=1), closing=self.closing, prepare=self.prepare,
        )  # fmt: skip

    async def carry_out(self) -> SyncStats:
        async with asyncio.timeout(10):
            await self.execution().carry_out()
        return self.board.get(Job.MULTI)


@pytest.fixture
def scene() -> Scene:
    return Scene()


async def test_a_run_that_went_well_is_stored_and_then_shown(scene: Scene) -> None:
    shown = await scene.carry_out()
    assert shown == scene.stored
    assert (shown.status, shown.inserted) == (SyncStatus.SUCCESS, 10)
    assert scene.asked == ["prune"], "what was counted well is not counted again"


async def test_the_end_is_offered_until_the_store_takes_it_and_is_the_same_each_time(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    scene.ends_fail = [AWAY] * 5
    began = time.monotonic()
    shown = await scene.carry_out()
    assert time.monotonic() - began > 5 * 0.1
    assert shown == scene.stored
    assert len(scene.offered) == 6
    assert all(offer == scene.offered[0] for offer in scene.offered)
    assert caplog.text.count("cannot be stored yet") == 1


async def test_a_minute_is_what_the_store_gets(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    assert PATIENCE_SECONDS == 60
    assert execution.PATIENCE_SECONDS is PATIENCE_SECONDS
    monkeypatch.setattr(execution, "PATIENCE_SECONDS", 0.5)
    scene.ends_fail = [AWAY] * 1000
    began = time.monotonic()
    shown = await scene.carry_out()
    assert 0.4 < time.monotonic() - began < 2
    assert len(scene.offered) > 2
    assert not shown.final, "nothing is shown that is not stored"


@pytest.mark.parametrize("how", ["failing", "hanging"])
@pytest.mark.parametrize("when", ["before", "meanwhile"])
async def test_a_process_that_is_to_stop_tries_for_two_seconds(
    scene: Scene, when: str, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert execution._HURRY_SECONDS == 2
    monkeypatch.setattr(execution, "_HURRY_SECONDS", 0.4)
    scene.ends_fail, scene.ends_hang = [AWAY] * 1000, how == "hanging"
    if when == "before":
        scene.closing.set()
    else:
        asyncio.get_running_loop().call_later(0.3, scene.closing.set)
    began = time.monotonic()
    await scene.carry_out()
    assert 0.3 < time.monotonic() - began < 1.5
    assert "prune" not in scene.asked


async def test_a_cancelled_run_of_a_process_that_stops_is_stored(scene: Scene) -> None:
    scene.hangs = True
    task = asyncio.create_task(scene.execution().carry_out())
    await asyncio.sleep(0.3)
    scene.closing.set()
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert scene.stored is not None
    assert (scene.stored.status, scene.stored.reason) == (SyncStatus.FAILED, Reason.CANCELLED)
    assert "prune" not in scene.asked, "there is no time for it"


async def test_a_run_without_its_store_is_counted_by_what_the_rows_say(scene: Scene) -> None:
    """A batch of seven landed whose answer was lost; at first nobody can even ask."""
    scene.outcome = AWAY
    scene.in_rows = {"tushare": (6, 1)}
    scene.marks_fail = [AWAY] * 2
    scene.ends_fail = [AWAY]
    shown = await scene.carry_out()
    assert shown == scene.stored
    assert (shown.reason, shown.inserted, shown.updated) == (Reason.STORE_UNAVAILABLE, 6, 1)
    assert shown.source_stats == {"tushare": SourceCount(total=10, success=7)}
    assert broken_invariants(shown) == []
    assert "连接断开" in (shown.message or "")
    assert scene.asked.count("marks") == 4


async def test_a_store_that_is_not_as_it_must_be_is_an_error_with_its_own_words(scene: Scene) -> None:
    scene.outcome = StoreInvalid("存在重复的 (code, source)，请运行 stocksync repair")
    shown = await scene.carry_out()
    assert shown == scene.stored
    assert (shown.reason, shown.message) == (Reason.ERROR, str(scene.outcome))


@pytest.mark.parametrize("where", ["engine", "heartbeat", "end"])
async def test_who_was_taken_over_takes_back_strays_and_looks_how_it_stands(scene: Scene, where: str) -> None:
    lost = LeaseLost("运行权已被其他进程接管")
    if where == "engine":
        scene.outcome = lost
    elif where == "heartbeat":
        scene.hangs, scene.steps_fail = True, lost
    else:
        scene.ends_fail = [lost]
    assert await scene.carry_out() == TAKEN_OVER
    assert scene.asked == ["retract", f"latest {Job.MULTI}"]
    assert scene.stored is None


async def test_an_outage_shorter_than_a_minute_costs_a_run_nothing(scene: Scene) -> None:
    scene.hangs = True
    execution_ = scene.execution()
    task = asyncio.create_task(execution_.carry_out())
    await asyncio.sleep(0.2)
    scene.steps_fail = AWAY
    await asyncio.sleep(1)
    assert not task.done()
    scene.steps_fail = None
    revision = scene.board.get().revision
    await asyncio.sleep(0.5)
    assert scene.board.get().revision > revision
    scene.tracker.cancel_requested = True
    await task
    assert scene.stored is not None
    assert scene.stored.reason is Reason.CANCELLED
