"""The steps of a run, and what each of them hands to the store."""

import asyncio
from dataclasses import replace

import pytest

from builders import FakeClock, a_reject, a_run
from stocksync.domain.status import SourceCount, SyncStats
from stocksync.errors import LeaseLost, StoreError, StoreInvalid, StoreUnavailable
from stocksync.ports import Fence, Journal, UpsertCount
from stocksync.sync.tracker import PATIENCE_SECONDS, RunTracker

FENCE = Fence(token=4, owner="me", run_id="run-1")
RUN = replace(a_run(), revision=FENCE.first_revision)
AWAY = StoreUnavailable("away")


class Steps:
    """Takes what a tracker stores, or refuses it."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.failure: StoreError | LeaseLost | None = None
        self.taken: list[tuple[SyncStats, Journal]] = []
        self.offered: list[Journal] = []
        self.let_go = asyncio.Event()
        self.let_go.set()
        self.tracker = RunTracker(RUN, FENCE, persist=self.persist, clock=self.clock, typical_ms=None)

    async def persist(self, fence: Fence, stats: SyncStats, journal: Journal) -> bool:
        assert fence is FENCE
        self.offered.append(journal)
        await self.let_go.wait()
        if self.failure is not None:
            raise self.failure
        self.taken.append((stats, journal))
        return False


def lines(journal: Journal) -> list[tuple[int, str]]:
    return [(place, event.message) for place, event in enumerate(journal.events, journal.first_event)]


def rejected(journal: Journal) -> list[tuple[int, str]]:
    return [(place, reject.code) for place, reject in enumerate(journal.rejects, journal.first_reject)]


@pytest.fixture
def steps() -> Steps:
    return Steps()


def say(steps: Steps, *words: str) -> None:
    for word in words:
        steps.tracker.log("note", word)
    steps.tracker._reject([a_reject(f"row {word}") for word in words])


async def test_every_line_has_its_place_in_the_whole_log(steps: Steps) -> None:
    say(steps, "a", "b")
    await steps.tracker.step()
    await steps.tracker.step()
    say(steps, "c")
    await steps.tracker.step()
    say(steps, "d")
    _, last = steps.tracker.last_step(RUN)
    journals = [journal for _, journal in steps.taken] + [last]
    assert [line for journal in journals for line in lines(journal)] == list(enumerate("abcd"))
    assert [each for journal in journals for each in rejected(journal)] == [
        (place, f"row {word}") for place, word in enumerate("abcd")
    ]


async def test_lines_of_a_step_that_failed_come_again_in_the_same_places_before_the_new_ones(
    steps: Steps,
) -> None:
    say(steps, "a")
    await steps.tracker.step()
    steps.failure = AWAY
    say(steps, "b", "c")
    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            await steps.tracker.step()
    assert [lines(journal) for journal in steps.offered[1:]] == [[(1, "b"), (2, "c")]] * 3
    steps.failure = None
    say(steps, "d")
    await steps.tracker.step()
    stats, journal = steps.taken[-1]
    assert lines(journal) == [(1, "b"), (2, "c"), (3, "d")]
    assert rejected(journal) == [(1, "row b"), (2, "row c"), (3, "row d")]
    assert stats.revision == FENCE.revision(6), "a failed step may have been stored: its number is used up"


async def test_lines_that_come_up_during_a_failing_step_follow_those_of_that_step(steps: Steps) -> None:
    say(steps, "a")
    steps.let_go.clear()
    steps.failure = AWAY
    step = asyncio.create_task(steps.tracker.step())
    await asyncio.sleep(0.01)
    say(steps, "b")
    steps.let_go.set()
    with pytest.raises(StoreUnavailable):
        await step
    assert lines(steps.tracker.last_step(RUN)[1]) == [(0, "a"), (1, "b")]


async def test_a_cancellation_that_hides_a_failure_loses_no_line(steps: Steps) -> None:
    say(steps, "a")
    steps.let_go.clear()
    steps.failure = AWAY
    step = asyncio.create_task(steps.tracker.step())
    await asyncio.sleep(0.01)
    step.cancel()
    await asyncio.sleep(0.01)
    steps.let_go.set()
    with pytest.raises(asyncio.CancelledError):
        await step
    assert lines(steps.tracker.last_step(RUN)[1]) == [(0, "a")]


async def test_a_cancellation_of_a_step_that_succeeded_says_nothing_twice(steps: Steps) -> None:
    say(steps, "a")
    steps.let_go.clear()
    step = asyncio.create_task(steps.tracker.step())
    await asyncio.sleep(0.01)
    step.cancel()
    await asyncio.sleep(0.01)
    steps.let_go.set()
    with pytest.raises(asyncio.CancelledError):
        await step
    say(steps, "b")
    assert lines(steps.tracker.last_step(RUN)[1]) == [(1, "b")]


async def test_a_heartbeat_puts_up_with_a_minute_without_the_store(steps: Steps) -> None:
    steps.failure = AWAY
    with pytest.raises(StoreUnavailable):
        await steps.tracker.tick()
    assert PATIENCE_SECONDS == 60
    assert PATIENCE_SECONDS < steps.clock.seconds < PATIENCE_SECONDS + 1


async def test_a_heartbeats_patience_begins_anew_with_every_good_step(steps: Steps) -> None:
    persist = steps.persist

    async def flaky(fence: Fence, stats: SyncStats, journal: Journal) -> bool:
        steps.failure = AWAY if steps.clock.seconds % 51 > 1 else None
        if steps.clock.seconds > 400:
            steps.tracker.cancel_requested = True
        return await persist(fence, stats, journal)

    steps.tracker._persist = flaky
    await steps.tracker.tick()
    assert steps.clock.seconds > 400


@pytest.mark.parametrize("error", [LeaseLost("taken"), StoreInvalid("damaged")])
async def test_a_heartbeat_has_no_patience_with_what_does_not_pass(
    steps: Steps, error: StoreError | LeaseLost
) -> None:
    steps.failure = error
    with pytest.raises(type(error)):
        await steps.tracker.tick()
    assert steps.clock.seconds < 1


async def test_what_was_counted_before_the_failure_is_in_the_next_step(steps: Steps) -> None:
    steps.tracker.stats = replace(
        steps.tracker.stats, source_stats={"tushare": SourceCount(total=3)}, total=3
    )
    steps.failure = AWAY
    steps.tracker.written("tushare", UpsertCount(inserted=2, rejects=(a_reject(),)))
    with pytest.raises(StoreUnavailable):
        await steps.tracker.step()
    steps.failure = None
    await steps.tracker.step()
    stats, journal = steps.taken[0]
    assert (stats.inserted, stats.errors, len(journal.rejects)) == (2, 1, 1)


async def test_a_step_between_two_batches_leaves_the_patience_to_the_heartbeat(steps: Steps) -> None:
    say(steps, "a")
    steps.failure = AWAY
    await steps.tracker.offer()
    assert steps.taken == []
    steps.failure = None
    await steps.tracker.offer()
    assert lines(steps.taken[0][1]) == [(0, "a")]
    for error in (LeaseLost("taken"), StoreInvalid("damaged")):
        steps.failure = error
        with pytest.raises(type(error)):
            await steps.tracker.offer()
