"""Fixtures of the tests that drive processes."""

import asyncio
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.shell import SECRET, WAIT_SECONDS, Shell
from stocksync.simulator import Simulator, SimulatorOptions, open_simulator
from support import SMALL


@pytest.fixture(scope="module")
def shared_simulator() -> Iterator[Simulator]:
    """A simulator on a thread of its own, because the tests wait for processes."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    opened = open_simulator(SimulatorOptions(size=SMALL, token=SECRET))
    try:
        yield asyncio.run_coroutine_threadsafe(opened.__aenter__(), loop).result(WAIT_SECONDS)
        asyncio.run_coroutine_threadsafe(opened.__aexit__(None, None, None), loop).result(WAIT_SECONDS)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.fixture
def shell(shared_simulator: Simulator, tmp_path: Path) -> Iterator[Shell]:
    store = tmp_path / "stocks.db"
    environment = {
        **os.environ,
        **shared_simulator.settings,
        "STOCKSYNC_STORE": f"sqlite:///{store}",
        "STOCKSYNC_MIN_STOCKS": str(SMALL // 2),
        "STOCKSYNC_SOURCES": "tushare",
        "COLUMNS": "120",
    }
    yield Shell(environment, store)
    shared_simulator.faults.clear()
