"""A ban is never hammered: not in the next run, not by another process, not after a restart."""

from datetime import datetime, timedelta
from pathlib import Path

from stocksync.app import open_app
from stocksync.domain.status import Outcome, Reason, SyncStats, SyncStatus
from stocksync.domain.stock import Dataset
from stocksync.simulator import Simulator
from support import BriskClock, running_app, settings_for


class LaterClock(BriskClock):
    """The real clock, some time ahead."""

    def __init__(self, ahead: timedelta) -> None:
        self._ahead = ahead

    def now(self) -> datetime:
        return super().now() + self._ahead


def outcome(stats: SyncStats) -> Outcome:
    return next(attempt.outcome for attempt in stats.attempts if attempt.dataset is Dataset.STOCK_LIST)


async def test_a_ban_is_remembered_over_processes_and_forgotten_in_time(
    simulator: Simulator, tmp_path: Path
) -> None:
    simulator.faults.set("tushare.stock_basic", "http403")
    async with running_app(simulator, tmp_path) as app:
        assert outcome(await app.service.run_full_sync()) is Outcome.BANNED
    simulator.calls.reset()
    async with running_app(simulator, tmp_path) as other:
        stats = await other.service.run_full_sync()
        assert outcome(stats) is Outcome.SKIPPED
        assert stats.reason is Reason.ALL_SOURCES_FAILED
        assert "冷却中" in (stats.message or "")
        assert simulator.calls.of("tushare.stock_basic") == 0
    simulator.faults.clear()
    async with open_app(
        settings_for(simulator, tmp_path), LaterClock(timedelta(hours=1, minutes=1))
    ) as later:
        assert (await later.service.run_full_sync()).status is SyncStatus.SUCCESS
        health = await later.store.health.get("tushare", Dataset.STOCK_LIST)
        assert (health.failures, health.open_until) == (0, None)


async def test_only_the_banned_dataset_cools_down(simulator: Simulator, tmp_path: Path) -> None:
    simulator.faults.set("tushare.fina_indicator_vip", "http403")
    async with running_app(simulator, tmp_path) as app:
        for _ in range(2):
            assert (await app.service.run_full_sync()).status is SyncStatus.SUCCESS
        assert simulator.calls.of("tushare.fina_indicator_vip") == 1
        assert simulator.calls.of("tushare.stock_basic") == 2


async def test_trouble_opens_after_three_in_a_row(simulator: Simulator, tmp_path: Path) -> None:
    simulator.faults.set("tushare.stock_basic", "html")
    async with running_app(simulator, tmp_path) as app:
        seen = [outcome(await app.service.run_full_sync()) for _ in range(4)]
    assert seen == [Outcome.ERROR] * 3 + [Outcome.SKIPPED]
