"""Which interrupted run is followed by a new one, and which is not."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from builders import NOON, a_run
from stocksync.domain.status import Job, Reason, SyncStats, Trigger, fail
from stocksync.errors import RunInProgress, StoreError, StoreInvalid, StoreUnavailable
from stocksync.sync.board import StatusBoard
from stocksync.sync.resume import Resumption
from unit.fakes import FakeRuns, StepClock, settle


def ended(
    run_id: str,
    token: int,
    *,
    job: Job = Job.MULTI,
    reason: Reason = Reason.INTERRUPTED,
    trigger: Trigger = Trigger.API,
) -> SyncStats:
    run = replace(a_run(run_id, job), trigger=trigger, revision=token * 1_000_000)
    return fail(run, at=NOON, reason=reason, message="完")


class Scene:
    """Somebody who resumes, over a store and a board that show what a test says."""

    def __init__(self) -> None:
        self.clock = StepClock()
        self.runs = FakeRuns()
        self.board = StatusBoard()
        self.started: list[Job] = []
        self.error: StoreError | RunInProgress | None = None
        self.resumption = Resumption(self.runs.as_port(), self.board, self.clock, start=self.start)

    async def start(self, job: Job) -> None:
        self.started.append(job)
        if self.error is not None:
            raise self.error

    async def show(self, stats: SyncStats) -> None:
        """Store a run's end, and show it."""
        self.runs.stored[stats.job] = stats
        self.runs.runs.insert(0, stats)
        self.board.publish(stats)
        await settle()


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    made = Scene()
    task = asyncio.create_task(made.resumption.keep_going())
    yield made
    assert not task.done(), task
    task.cancel()


@pytest.mark.parametrize("job", list(Job))
async def test_an_interrupted_run_is_followed_by_one_of_its_job_once(scene: Scene, job: Job) -> None:
    await scene.show(ended("dead", 5, job=job))
    await scene.clock.advance(60)
    assert scene.started == [job]
    await scene.show(ended("dead too", 7, job=job, trigger=Trigger.RESCUE))
    assert scene.started == [job, job]


@pytest.mark.parametrize("reason", [reason for reason in Reason if reason is not Reason.INTERRUPTED])
async def test_a_run_that_ended_otherwise_is_not_followed(scene: Scene, reason: Reason) -> None:
    await scene.show(ended("failed", 5, reason=reason))
    await scene.clock.advance(10)
    assert scene.started == []


async def test_what_another_process_began_meanwhile_is_not_overtaken(scene: Scene) -> None:
    """The board does not show it yet; the store tells."""
    scene.runs.stored[Job.SINGLE] = replace(a_run("next", Job.SINGLE), revision=6_000_001)
    await scene.show(ended("dead", 5))
    await scene.clock.advance(10)
    assert scene.started == []


async def test_a_lost_race_is_no_event(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    scene.error = RunInProgress("同步任务正在运行中")
    await scene.show(ended("dead", 5))
    await scene.clock.advance(60)
    assert scene.started == [Job.MULTI]
    assert caplog.text == ""


async def test_without_the_store_it_waits_until_the_store_is_back(scene: Scene) -> None:
    scene.error = StoreUnavailable("away")
    await scene.show(ended("dead", 5))
    await scene.clock.advance(2.5)
    assert len(scene.started) == 3, "the board does not say yet that the store is out of reach"
    scene.board.mark_stale(NOON)
    await scene.clock.advance(100)
    assert len(scene.started) <= 4
    tried = len(scene.started)
    scene.error = None
    scene.board.mark_stale(None)
    await scene.clock.advance(100)
    assert len(scene.started) == tried + 1


async def test_a_store_that_cannot_be_read_is_said_once(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    scene.runs.failure = StoreInvalid("不认识")
    await scene.show(ended("dead", 5))
    await scene.clock.advance(60)
    assert scene.started == []
    assert caplog.text.count("cannot be resumed") == 1


async def test_after_three_resumed_runs_that_died_too_it_stops(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    await scene.show(ended("first", 1))
    for n in range(1, 3):
        await scene.show(ended(f"again-{n}", 1 + n, trigger=Trigger.RESCUE))
    assert len(scene.started) == 3
    assert caplog.text == ""
    await scene.show(ended("again-3", 4, trigger=Trigger.RESCUE))
    await scene.clock.advance(60)
    assert len(scene.started) == 3
    assert caplog.text.count("is not resumed") == 1
    await scene.show(ended("by hand", 5))
    assert len(scene.started) == 4, "somebody tried again, so there is something to resume again"


@pytest.mark.parametrize("third", [Reason.CANCELLED, Reason.ALL_SOURCES_FAILED])
async def test_only_interruptions_in_a_row_count(scene: Scene, third: Reason) -> None:
    scene.runs.runs = [
        ended("b", 3, trigger=Trigger.RESCUE),
        ended("a", 2, trigger=Trigger.RESCUE, reason=third),
        ended("0", 1, trigger=Trigger.RESCUE),
    ]
    await scene.show(ended("c", 4, trigger=Trigger.RESCUE))
    assert len(scene.started) == 1
