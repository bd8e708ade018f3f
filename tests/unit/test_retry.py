import asyncio
from collections.abc import Iterator

import pytest

from stocksync.stores.retry import Retry


class Passing(Exception):
    """Gone the next time."""


class Lasting(Exception):
    """There to stay."""


def is_passing(exc: BaseException) -> bool:
    return isinstance(exc, Passing)


class Attempts:
    """Fails with these errors, one a time, and then succeeds."""

    def __init__(self, *errors: BaseException) -> None:
        self._errors = list(errors)
        self.made = 0

    async def __call__(self) -> str:
        self.made += 1
        if self._errors:
            raise self._errors.pop(0)
        return "done"


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """The pauses that were made; none of them takes any time."""
    made: list[float] = []

    async def sleep(seconds: float) -> None:
        made.append(seconds)

    monkeypatch.setattr("stocksync.stores.retry.asyncio.sleep", sleep)
    return made


retry = Retry(transient=is_passing)


@pytest.mark.parametrize("failures", range(4))
async def test_what_fails_in_passing_is_tried_again_until_it_succeeds(
    waits: list[float], failures: int
) -> None:
    attempts = Attempts(*(Passing() for _ in range(failures)))
    assert await retry(attempts) == "done"
    assert (attempts.made, len(waits)) == (failures + 1, failures)


async def test_after_the_last_try_its_error_is_the_callers(waits: list[float]) -> None:
    errors = [Passing(f"try {n}") for n in range(9)]
    attempts = Attempts(*errors)
    with pytest.raises(Passing, match="try 3"):
        await retry(attempts)
    assert (attempts.made, len(waits)) == (4, 3)


@pytest.mark.parametrize("failures", range(4))
async def test_what_will_not_pass_is_the_callers_at_once(waits: list[float], failures: int) -> None:
    attempts = Attempts(*(Passing() for _ in range(failures)), Lasting())
    with pytest.raises(Lasting):
        await retry(attempts)
    assert (attempts.made, len(waits)) == (failures + 1, failures)


async def test_the_pauses_grow_and_are_spread(waits: list[float]) -> None:
    for _ in range(50):
        with pytest.raises(Passing):
            await retry(Attempts(*(Passing() for _ in range(4))))
    for n, middle in enumerate((2.0, 4.0, 8.0)):
        pauses = waits[n::3]
        assert all(middle * 0.75 <= pause <= middle * 1.25 for pause in pauses)
        assert max(pauses) > min(pauses) * 1.1, "who failed together does not come back together"


async def test_tries_and_base_can_be_set(waits: list[float]) -> None:
    attempts = Attempts(*(Passing() for _ in range(6)))
    with pytest.raises(Passing):
        await Retry(transient=is_passing, retries=1, base=10)(attempts)
    assert attempts.made == 2
    assert 7.5 <= waits[0] <= 12.5
    with pytest.raises(Passing):
        await Retry(transient=is_passing, retries=0)(attempts)
    assert attempts.made == 3


async def test_a_cancellation_is_never_tried_again() -> None:
    attempts = Attempts(asyncio.CancelledError())
    with pytest.raises(asyncio.CancelledError):
        await retry(attempts)
    assert attempts.made == 1


async def test_a_cancellation_in_a_pause_ends_it() -> None:
    attempts = Attempts(Passing())
    trying = asyncio.create_task(Retry(transient=is_passing, base=60)(attempts))
    await asyncio.sleep(0.01)
    trying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await trying
    assert attempts.made == 1
