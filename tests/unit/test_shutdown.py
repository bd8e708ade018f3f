"""Stop signals: ours first, then the server's, and none is lost."""

import asyncio
import os
import signal
from contextlib import suppress

import pytest

from stocksync.api.shutdown import on_stop_signal
from stocksync.cli import serve


@pytest.fixture
def done() -> list[str]:
    return []


async def signalled(done: list[str], *, pipe_is_full: bool) -> None:
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, done.append, "theirs")
    old = signal.getsignal(signal.SIGTERM)
    try:
        with on_stop_signal(lambda: done.append("ours")):
            if pipe_is_full:
                with suppress(BlockingIOError):
                    while True:
                        loop._csock.send(b"\0")  # type: ignore[attr-defined] # what wakes the loop
            os.kill(os.getpid(), signal.SIGTERM)
            async with asyncio.timeout(2):
                while len(done) < 2:  # noqa: ASYNC110 - a list has no event
                    await asyncio.sleep(0.01)
            await asyncio.sleep(0.05)
    finally:
        signal.signal(signal.SIGTERM, old)
        loop.remove_signal_handler(signal.SIGTERM)


@pytest.mark.parametrize("pipe_is_full", [False, True])
async def test_a_stop_signal_is_told_once_to_us_and_then_to_the_server(
    done: list[str], *, pipe_is_full: bool
) -> None:
    await signalled(done, pipe_is_full=pipe_is_full)
    assert done == ["ours", "theirs"]


@pytest.mark.parametrize(
    ("limit", "streams", "raised_to"),
    [
        ((1024, 20_000), 10_000, 11_280),
        ((20_000, 20_000), 10_000, None),
        ((1024, 4096), 2816, 4096),
        ((512, 512), 1, 512),
        ((1024, -1), 10_000, 11_280),
        ((-1, -1), 10_000, None),
    ],
)
def test_streams_are_fitted_into_the_limit_of_open_files(
    limit: tuple[int, int],
    streams: int,
    raised_to: int | None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    changed: list[tuple[int, int]] = []
    monkeypatch.setattr(serve.resource, "getrlimit", lambda _: limit)
    monkeypatch.setattr(serve.resource, "setrlimit", lambda _, new: changed.append(new))
    assert serve.affordable_streams(10_000) == streams
    assert changed == ([(raised_to, limit[1])] if raised_to else [])
    assert (str(limit[1]) in capsys.readouterr().err) == (streams < 10_000)
