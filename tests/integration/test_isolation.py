"""Worker processes: whatever an SDK does costs its call only, and nothing is left behind."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from stocksync.errors import SourceBanned, SourceNonsense, SourceRateLimited, SourceUnreachable
from stocksync.sources.isolation import WorkerPool

WORKERS = str(Path(__file__).parents[1] / "workers")


@pytest.fixture
async def pool() -> AsyncIterator[WorkerPool]:
    made = WorkerPool("naughty_worker", {"PYTHONPATH": WORKERS})
    yield made
    await made.aclose()


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def gone(pid: int, seconds: float = 5) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not alive(pid):
            return True
        await asyncio.sleep(0.02)
    return False


async def test_a_call_goes_there_and_back(pool: WorkerPool) -> None:
    for value in (None, 1.5, "万科Ａ", {"a": [1, None]}):
        assert await pool.call("echo", value) == value
    assert len(await pool.call("big")) == 6000


async def test_a_worker_is_used_again(pool: WorkerPool) -> None:
    assert await pool.call("own_pid") == await pool.call("own_pid")


async def test_calls_at_once_have_a_process_each(pool: WorkerPool) -> None:
    pids = await asyncio.gather(*(pool.call("own_pid") for _ in range(3)))
    assert len(set(pids)) == 3


async def test_a_crowd_waits_for_a_place(pool: WorkerPool) -> None:
    pids = await asyncio.gather(*(pool.call("own_pid") for _ in range(20)))
    assert len(set(pids)) <= 3


async def test_a_worker_sees_none_of_our_secrets(pool: WorkerPool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUSHARE_TOKEN", "canary")
    monkeypatch.setenv("STOCKSYNC_TUSHARE_TOKEN", "canary")
    pid = await pool.call("own_pid")
    assert b"canary" not in await asyncio.to_thread(Path(f"/proc/{pid}/environ").read_bytes)


@pytest.mark.parametrize("mischief", ["hang", "spin"])
async def test_a_call_that_does_not_end_is_killed_by_its_deadline(pool: WorkerPool, mischief: str) -> None:
    pid = await pool.call("own_pid")
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await pool.call(mischief)
    assert time.monotonic() - began < 2
    assert await gone(pid)
    assert await pool.call("own_pid") != pid


@pytest.mark.parametrize("mischief", ["die", "leave"])
async def test_a_worker_that_dies_costs_its_call_only(pool: WorkerPool, mischief: str) -> None:
    with pytest.raises(SourceUnreachable, match="意外退出"):
        await pool.call(mischief)
    assert await pool.call("echo", "again") == "again"


async def test_a_kill_from_outside_costs_the_running_call_only(pool: WorkerPool) -> None:
    pid = await pool.call("own_pid")
    running = asyncio.create_task(pool.call("hang"))
    await asyncio.sleep(0.2)
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(SourceUnreachable):
        await running
    assert await pool.call("echo", 1) == 1


async def test_errors_keep_their_class(pool: WorkerPool) -> None:
    with pytest.raises(SourceBanned, match="封禁"):
        await pool.call("banned")
    with pytest.raises(SourceRateLimited) as caught:
        await pool.call("limited")
    assert caught.value.retry_after == 7
    for wrong in ("broken", "no_such_call"):
        with pytest.raises(SourceNonsense):
            await pool.call(wrong)


async def test_a_module_that_cannot_be_imported_is_an_error_of_the_source() -> None:
    pool = WorkerPool("no_such_module", {"PYTHONPATH": WORKERS})
    with pytest.raises(SourceUnreachable):
        await pool.call("echo", 1)
    await pool.aclose()


async def test_an_idle_worker_ends() -> None:
    pool = WorkerPool("naughty_worker", {"PYTHONPATH": WORKERS}, idle_seconds=0.2)
    pid = await pool.call("own_pid")
    assert await gone(pid)
    assert await pool.call("own_pid") != pid
    await pool.aclose()


async def test_closing_leaves_no_process_behind(pool: WorkerPool) -> None:
    idle = await pool.call("own_pid")
    busy = [asyncio.create_task(pool.call("spin")) for _ in range(2)]
    await asyncio.sleep(0.3)
    await pool.aclose()
    results = await asyncio.gather(*busy, return_exceptions=True)
    assert all(isinstance(result, SourceUnreachable) for result in results)
    assert await gone(idle)


PARENT = """
import asyncio, sys
from stocksync.sources.isolation import WorkerPool

async def main():
    pool = WorkerPool("naughty_worker", {"PYTHONPATH": sys.argv[1]})
    print(await pool.call("own_pid"), flush=True)
    await pool.call("spin")

asyncio.run(main())
"""


async def test_a_worker_does_not_outlive_a_killed_parent() -> None:
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PARENT, WORKERS, stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    pid = int(await parent.stdout.readline())
    await asyncio.sleep(0.2)
    assert alive(pid)
    parent.kill()
    await parent.wait()
    assert await gone(pid)
