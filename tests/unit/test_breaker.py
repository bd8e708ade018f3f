"""When a source is left alone, and for how long."""

from datetime import UTC, datetime, timedelta

import pytest

from stocksync.domain.health import SourceHealth
from stocksync.domain.stock import Dataset
from stocksync.errors import (
    SourceBanned,
    SourceDenied,
    SourceEmpty,
    SourceError,
    SourceIncomplete,
    SourceNonsense,
    SourceNotFinal,
    SourceRateLimited,
    SourceTimeout,
    SourceUnreachable,
)
from stocksync.sync.breaker import BAN, LIMIT, PATIENCE, TROUBLE, after_failure

NOW = datetime(2026, 11, 23, 18, 0, tzinfo=UTC)
HEALTHY = SourceHealth(source="akshare", dataset=Dataset.DAILY_DATA)


def after(errors: list[SourceError]) -> SourceHealth:
    health = HEALTHY
    for error in errors:
        health = after_failure(health, error, NOW)
    return health


@pytest.mark.parametrize(
    ("error", "times"), [(SourceBanned("封禁"), BAN), (SourceRateLimited("限流"), LIMIT)]
)
def test_one_is_enough(error: SourceError, times: tuple[timedelta, timedelta]) -> None:
    assert after([error]).open_until == NOW + times[0]


@pytest.mark.parametrize("kind", [SourceTimeout, SourceUnreachable, SourceNonsense])
def test_trouble_is_borne_for_a_while(kind: type[SourceError]) -> None:
    for failures in range(1, PATIENCE):
        assert after([kind("x")] * failures).open_until is None
    assert after([kind("x")] * PATIENCE).open_until == NOW + TROUBLE[0]


def test_cool_downs_double_up_to_a_limit() -> None:
    waits = [after([SourceBanned("x")] * n).open_until for n in range(1, 40)]
    hours = [(wait - NOW) / timedelta(hours=1) for wait in waits if wait is not None]
    assert hours[:4] == [1, 2, 4, 6]
    assert set(hours[3:]) == {BAN[1] / timedelta(hours=1)}


@pytest.mark.parametrize("kind", [SourceDenied, SourceEmpty, SourceIncomplete, SourceNotFinal])
def test_an_answer_is_no_failure_of_the_source(kind: type[SourceError]) -> None:
    health = after([kind("说明")] * 10)
    assert (health.failures, health.open_until) == (0, None)
    assert health.last_error == "说明"
