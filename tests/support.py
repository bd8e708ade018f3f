"""What many tests share: an application over a simulator, a clock that does not dawdle, a recorder."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from stocksync.app import App, open_app
from stocksync.clock import SystemClock
from stocksync.domain.status import SyncStats, broken_invariants, broken_steps
from stocksync.settings import Settings, load_settings
from stocksync.simulator import Simulator

SMALL = 600
"""A market that is quick to sync and still has every board."""


class BriskClock(SystemClock):
    """Waits of a second and more (retries, rate limits) pass fifty times faster."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds if seconds < 1 else seconds / 50)


def settings_for(simulator: Simulator, folder: Path, **overrides: object) -> Settings:
    """Settings as the simulator prints them, over a store in `folder`."""
    given = {name.removeprefix("STOCKSYNC_").lower(): value for name, value in simulator.settings.items()}
    given |= {"store": f"sqlite:///{folder / 'stocks.db'}", "min_stocks": SMALL // 2, "sources": "tushare"}
    return load_settings(**{**given, **overrides})


@dataclass
class Recorder:
    """Every snapshot that a board showed, checked against the invariants as it came."""

    snapshots: list[SyncStats]

    def check(self) -> None:
        for stats in self.snapshots:
            assert broken_invariants(stats) == [], stats
        for before, after in zip(self.snapshots, self.snapshots[1:], strict=False):
            assert broken_steps(before, after) == [], (before, after)


def record(app: App) -> Recorder:
    """Record what the board shows from now on."""
    board = app.service.board
    recorder = Recorder([])
    publish = board.publish

    def recorded(stats: SyncStats) -> None:
        before = board.get(stats.job)
        publish(stats)
        if board.get(stats.job) is not before:
            recorder.snapshots.append(stats)

    board.publish = recorded  # type: ignore[method-assign]
    return recorder


@asynccontextmanager
async def running_app(simulator: Simulator, folder: Path, **overrides: object) -> AsyncIterator[App]:
    """An open application over the simulator, with a brisk clock."""
    async with open_app(settings_for(simulator, folder, **overrides), BriskClock()) as app:
        yield app
