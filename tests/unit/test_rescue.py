"""Two looks with time in between: who could not renew his lease is not who is dead."""

import math
from dataclasses import replace

import pytest

from builders import FakeClock, a_run
from stocksync.errors import StoreUnavailable
from stocksync.sync.follower import SWEEP_SECONDS
from stocksync.sync.rescue import GRACE_SHARE, LEASE_SHARE, Suspicion, close_dead_run
from unit.fakes import FakeRuns

GRACE = 1.5
DEAD = replace(a_run("dead"), revision=5_000_000)


def look(suspicion: Suspicion, token: int | None, at: float, took: float = 0.0) -> bool:
    return suspicion.confirmed(token, asked=at, answered=at + took)


def test_one_look_proves_nothing_and_two_need_time_in_between() -> None:
    suspicion = Suspicion(GRACE)
    assert not look(suspicion, 4, 0.0)
    assert not look(suspicion, 4, 1.4)
    assert look(suspicion, 4, 1.5)


@pytest.mark.parametrize("between", [None, 5])
def test_an_owner_that_renewed_or_a_new_one_is_given_the_whole_time(between: int | None) -> None:
    suspicion = Suspicion(GRACE)
    look(suspicion, 4, 0.0)
    look(suspicion, between, 1.0)
    assert not look(suspicion, 4, 1.6)
    assert look(suspicion, 4, 3.1)


def test_a_failed_look_in_between_begins_anew() -> None:
    suspicion = Suspicion(GRACE)
    look(suspicion, 4, 0.0)
    suspicion.drop()
    assert not look(suspicion, 4, 2.0)
    assert look(suspicion, 4, 3.5)


def test_the_time_that_a_look_waited_for_the_database_is_nobodys_chance() -> None:
    suspicion = Suspicion(GRACE)
    look(suspicion, 4, 0.0, took=8.0)
    assert not look(suspicion, 4, 8.3, took=4.0)
    assert look(suspicion, 4, 9.5)


async def test_at_the_start_a_dead_run_costs_the_grace_and_nothing_else_costs_anything() -> None:
    runs, clock = FakeRuns(), FakeClock()
    assert await close_dead_run(runs.as_port(), clock, grace=GRACE) is None
    assert (clock.seconds, runs.asked) == (0, {"overdue": 1})
    runs.token, runs.closed = 4, DEAD
    assert await close_dead_run(runs.as_port(), clock, grace=GRACE) is DEAD
    assert (clock.seconds, runs.asked) == (GRACE, {"overdue": 3, "rescue": 1})


@pytest.mark.parametrize("later", [None, 5])
async def test_at_the_start_an_owner_that_renews_meanwhile_is_left_alone(later: int | None) -> None:
    class Renewing(FakeClock):
        async def sleep(self, seconds: float) -> None:
            await super().sleep(seconds)
            runs.token = later

    runs = FakeRuns()
    runs.token = 4
    assert await close_dead_run(runs.as_port(), Renewing(), grace=GRACE) is None
    assert "rescue" not in runs.asked


async def test_at_the_start_a_store_that_is_out_of_reach_is_said() -> None:
    runs = FakeRuns()
    runs.failure = StoreUnavailable("away")
    with pytest.raises(StoreUnavailable):
        await close_dead_run(runs.as_port(), FakeClock(), grace=GRACE)


@pytest.mark.parametrize("seconds", [2, 3, 15, 600])
def test_a_dead_run_is_closed_within_the_time_that_was_promised(seconds: float) -> None:
    """A sweep until it is noticed, whole sweeps for the grace; the rest is for closing."""
    grace = seconds * GRACE_SHARE
    sweep = min(SWEEP_SECONDS, grace)
    assert seconds * LEASE_SHARE + sweep + math.ceil(round(grace / sweep, 6)) * sweep < seconds
