"""In step with the store, or stale since the last contact: with a clock that only the tests move."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest

from builders import NOON, a_run
from stocksync.domain.status import Job, Reason, fail
from stocksync.errors import StoreInvalid, StoreUnavailable
from stocksync.sync import follower
from stocksync.sync.board import StatusBoard
from stocksync.sync.follower import StoreFollower
from unit.fakes import FakeRuns, StepClock, settle

GRACE = 1.5
AWAY = StoreUnavailable("连接断开")
RUN = replace(a_run("run-1"), revision=4_000_001)
LATER = replace(RUN, revision=4_000_007, total=9)
CLOSED = replace(fail(RUN, at=NOON, reason=Reason.INTERRUPTED, message="中断"), revision=5_000_000)


class Scene:
    """A follower over a store that does what it is told."""

    def __init__(self, grace: float = GRACE) -> None:
        self.clock = StepClock()
        self.runs = FakeRuns()
        self.board = StatusBoard()
        self.follower = StoreFollower(self.runs.as_port(), self.board, self.clock, grace=grace)

    @property
    def stale_for(self) -> float | None:
        """Seconds before now since when the board is said to be stale."""
        since = self.board.get().stale_since
        return None if since is None else round((self.clock.now() - since).total_seconds(), 6)


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    made = Scene()
    made.follower.start()
    await settle()
    yield made
    made.runs.answering.set()
    await made.follower.aclose()


async def test_the_store_is_looked_at_every_300_ms(scene: Scene) -> None:
    await scene.clock.advance(3.05)
    assert scene.runs.asked["overdue"] == 11
    assert scene.runs.asked["watch"] == 1
    assert scene.stale_for is None


async def test_what_the_watch_tells_is_shown(scene: Scene) -> None:
    scene.runs.changes.put_nowait(RUN)
    await settle()
    assert scene.board.get() == RUN


@pytest.mark.parametrize("how", ["hanging", "failing"])
async def test_without_contact_the_board_is_stale_after_a_second_and_since_the_last_one(
    scene: Scene, how: str
) -> None:
    await scene.clock.advance(0.95)  # the last look was at 0.9
    if how == "hanging":
        scene.runs.answering.clear()
    else:
        scene.runs.failure = AWAY
    await scene.clock.advance(0.9)
    assert scene.stale_for is None
    await scene.clock.advance(0.2)
    assert scene.board.get().stale_since == NOON + timedelta(seconds=0.9)
    await scene.clock.advance(30)
    assert {scene.board.get(job).stale_since for job in (None, *Job)} == {NOON + timedelta(seconds=0.9)}


async def test_a_short_failure_is_not_worth_a_word(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    scene.runs.failure = AWAY
    await scene.clock.advance(0.7)
    scene.runs.failure = None
    for _ in range(20):
        await scene.clock.advance(0.1)
        assert scene.stale_for is None
    assert caplog.text == ""


@pytest.mark.parametrize("how", ["hanging", "failing"])
async def test_after_a_loss_what_was_missed_is_read_and_the_watch_is_begun_anew(
    scene: Scene, how: str
) -> None:
    """The watch hangs in an outage without a word: it is not what tells that the store is back."""
    scene.runs.changes.put_nowait(RUN)
    await scene.clock.advance(0.5)
    if how == "hanging":
        scene.runs.answering.clear()
    else:
        scene.runs.failure = AWAY
    await scene.clock.advance(3)
    assert scene.stale_for is not None
    assert scene.board.get().revision == RUN.revision
    scene.runs.stored[Job.MULTI] = LATER
    scene.runs.failure = None
    scene.runs.answering.set()
    await scene.clock.advance(0.3)
    assert scene.board.get() == LATER
    assert scene.stale_for is None
    assert scene.runs.asked["watch"] == 2
    newest = replace(LATER, revision=LATER.revision + 1)
    scene.runs.changes.put_nowait(newest)
    await settle()
    assert scene.board.get() == newest


async def test_a_loss_and_a_return_are_each_said_once(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        caplog.clear()
        scene.runs.failure = AWAY
        scene.runs.changes.put_nowait(AWAY)
        await scene.clock.advance(20)
        scene.runs.failure = None
        await scene.clock.advance(20)
        assert [record.message for record in caplog.records] == [
            "the store is out of reach: 连接断开",
            "the store is back",
        ]


async def test_a_watch_that_breaks_off_alone_is_begun_anew_at_the_next_look(scene: Scene) -> None:
    await scene.clock.advance(0.05)
    scene.runs.changes.put_nowait(AWAY)
    scene.runs.stored[Job.MULTI] = LATER
    await scene.clock.advance(0.3)
    assert scene.board.get() == LATER
    assert scene.runs.asked["watch"] == 2
    assert scene.stale_for is None


async def test_a_state_that_cannot_be_read_is_out_of_reach_although_the_store_answers(scene: Scene) -> None:
    scene.runs.failure, scene.runs.failing_only = StoreInvalid("不认识"), {"latest"}
    scene.runs.changes.put_nowait(StoreInvalid("不认识"))
    await scene.clock.advance(1.5)
    assert scene.stale_for is not None
    await scene.clock.advance(5)
    assert scene.stale_for is not None, "it does not flicker"


async def test_a_busy_event_loop_does_not_make_a_healthy_store_look_lost(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(5):
        scene.clock.block(4)
        await scene.clock.advance(0.5)
        assert scene.stale_for is None
    assert caplog.text == ""


async def test_a_look_that_hangs_is_given_up_and_the_next_one_is_taken(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follower, "_LOOK_SECONDS", 0.02)
    scene.runs.answering.clear()
    await scene.clock.advance(0.3)
    asked = scene.runs.asked["overdue"]
    for _ in range(3):
        await asyncio.sleep(0.05)
        await scene.clock.advance(0.3)
    assert scene.runs.asked["overdue"] == asked + 3


async def test_a_dead_owners_run_is_closed_after_the_grace_and_shown(scene: Scene) -> None:
    scene.runs.token, scene.runs.closed = 4, CLOSED
    await scene.clock.advance(1.7)
    assert "rescue" not in scene.runs.asked
    await scene.clock.advance(0.3)
    assert scene.runs.asked["rescue"] == 1
    assert scene.board.get() == CLOSED
    await scene.clock.advance(5)
    assert scene.runs.asked["rescue"] == 1


async def test_an_owner_that_renews_after_an_outage_keeps_his_run(scene: Scene) -> None:
    scene.runs.failure = AWAY
    await scene.clock.advance(30)
    scene.runs.failure, scene.runs.token = None, 4
    await scene.clock.advance(1.0)
    scene.runs.token = None
    await scene.clock.advance(30)
    assert "rescue" not in scene.runs.asked


async def test_an_outage_between_two_looks_gives_the_owner_his_chance_anew(scene: Scene) -> None:
    scene.runs.token = 4
    await scene.clock.advance(0.4)
    for _ in range(10):  # out of reach again and again: one good look, then a failed one
        scene.runs.failure = AWAY
        await scene.clock.advance(0.9)
        scene.runs.failure = None
        await scene.clock.advance(1.2)
        assert "rescue" not in scene.runs.asked
    await scene.clock.advance(1.2)
    assert scene.runs.asked["rescue"] == 1


async def test_a_rescue_that_fails_needs_two_new_looks(scene: Scene) -> None:
    scene.runs.failure, scene.runs.failing_only = StoreUnavailable("磁盘已满"), {"rescue"}
    scene.runs.token = 4
    await scene.clock.advance(2.0)
    assert scene.runs.asked["rescue"] == 1
    await scene.clock.advance(1.0)
    assert scene.runs.asked["rescue"] == 1
    await scene.clock.advance(1.0)
    assert scene.runs.asked["rescue"] == 2


async def test_where_little_time_is_promised_the_sweeps_are_closer() -> None:
    scene = Scene(grace=0.2)
    scene.follower.start()
    scene.runs.token = 4
    await scene.clock.advance(0.25)
    assert scene.runs.asked["rescue"] == 1
    await scene.follower.aclose()


async def test_a_watch_that_hangs_alone_is_replaced_when_two_looks_found_more_than_it_told(
    scene: Scene,
) -> None:
    scene.runs.stored[Job.MULTI] = RUN
    await scene.clock.advance(follower.SWEEP_SECONDS * 2)
    assert scene.board.get(Job.MULTI) == RUN
    assert scene.stale_for is None
    assert scene.runs.asked["watch"] == 2
