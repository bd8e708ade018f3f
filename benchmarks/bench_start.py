"""How long a start takes and what it weighs, and how long a sync ever holds the event loop up."""

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from harness import free_port, memory_mib, process
from stocksync.api.application import keep_collections_short
from stocksync.app import open_app
from stocksync.settings import load_settings

ROUNDS = 5


def seconds(*arguments: str) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def start_of_the_server(folder: str) -> tuple[float, float]:
    port = free_port()
    began = time.perf_counter()
    with process(
        ["-m", "stocksync", "serve", "--port", str(port)],
        port,
        {"STOCKSYNC_STORE": f"sqlite:///{folder}/s.db"},
    ) as pid:
        ready = time.perf_counter() - began
        time.sleep(0.5)
        return ready, memory_mib(pid)


async def longest_block(folder: str) -> tuple[float, float]:
    """The longest that the loop was held up, idle and during a sync of the whole market, in ms."""

    async def watch(gaps: list[float]) -> None:
        while True:
            before = time.perf_counter()
            await asyncio.sleep(0.001)
            gaps.append(time.perf_counter() - before - 0.001)

    idle: list[float] = []
    busy: list[float] = []
    port = free_port()
    # The simulator lives in a process of its own: its work must not be blamed on the sync.
    with process(["-m", "stocksync", "simulate", "--port", str(port)], port):
        settings = load_settings(
            store=f"sqlite:///{folder}/l.db",
            tushare_url=f"http://127.0.0.1:{port}",
            tushare_token="simulated-token",
            sources="tushare",
        )
        async with open_app(settings) as app:
            keep_collections_short()  # as the server does
            for gaps, work in ((idle, asyncio.sleep(1)), (busy, app.service.run_full_sync())):
                watcher = asyncio.create_task(watch(gaps))
                await work
                watcher.cancel()
    return max(idle) * 1000, max(busy) * 1000


def main() -> None:
    bare = statistics.median(seconds("-c", "pass") for _ in range(ROUNDS))
    helped = statistics.median(seconds("-m", "stocksync", "--help") for _ in range(ROUNDS))
    print(f"stocksync --help {helped:.2f} s (python -c pass: {bare:.2f} s, ratio {helped / bare:.1f})")
    with tempfile.TemporaryDirectory() as folder:
        starts = [start_of_the_server(folder) for _ in range(ROUNDS)]
        print(f"stocksync serve accepts connections after {statistics.median(s for s, _ in starts):.2f} s")
        print(
            f"stocksync serve weighs {statistics.median(m for _, m in starts):.0f} MiB (PSS, both processes)"
        )
        blocks = [asyncio.run(longest_block(str(Path(folder) / str(n)))) for n in range(ROUNDS)]
        idle, busy = (statistics.median(values) for values in zip(*blocks, strict=True))
        print(f"longest block of the event loop: {idle:.0f} ms idle, {busy:.0f} ms in a sync of 5,450 stocks")


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    os.environ.pop("STOCKSYNC_STORE", None)
    main()
