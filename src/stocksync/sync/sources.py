"""How the sources do, for people: availability from real calls, who is used now, what to recommend."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from stocksync.domain.health import Recommendations, SourceHealth, SourceReport, SourceStanding
from stocksync.domain.stock import Dataset, DataSourcePriority
from stocksync.domain.wire import MARKET_ZONE
from stocksync.errors import SourceError, UnknownSource
from stocksync.ports import Clock, HealthStore, Source
from stocksync.sync.breaker import BreakerState, breaker_state
from stocksync.sync.fallback import UNFORESEEN

CHECK_SECONDS: Final = 10.0
"""How long a connectivity test may take."""

CACHE_SECONDS: Final = 60.0
"""How long pages that poll are answered from the last test, without a call to any upstream."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Check:
    """How one real call went; no `error` where it went well."""

    error: str | None
    at: datetime | None = None
    took_ms: int | None = None


class SourceMonitor:
    """Tests the sources and remembers the answers for a minute."""

    def __init__(
        self,
        sources: Mapping[str, Source],
        health: HealthStore,
        clock: Clock,
        *,
        tokens: Mapping[str, str | None],
    ) -> None:
        """`tokens`: of each source that needs one, where its token comes from; None where it is missing."""
        self._sources = sources
        self._health = health
        self._clock = clock
        self._tokens = tokens
        self._kept: tuple[SourceReport, ...] = ()
        self._kept_at = float("-inf")
        self._turn = asyncio.Lock()
        self._checks: dict[str, asyncio.Task[_Check]] = {}

    async def aclose(self) -> None:
        """End the tests that are under way. Idempotent."""
        tasks = list(self._checks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def reports(self) -> Sequence[SourceReport]:
        """Every source in order of trust, from the last minute's test; one caller tests for all who wait."""
        async with self._turn:
            if self._clock.monotonic() - self._kept_at > CACHE_SECONDS:
                self._kept = tuple(await self._look())
                self._kept_at = self._clock.monotonic()
            return self._kept

    def forget(self) -> int:
        """Drop what was kept of the last test, so that the next question makes real calls; count it."""
        dropped, self._kept, self._kept_at = len(self._kept), (), float("-inf")
        return dropped

    async def health(self) -> Sequence[SourceStanding]:
        """Every source in order of trust, with what is known of each dataset that it was asked for."""
        reports, known = await self.reports(), await self._health.all()
        return [
            SourceStanding(
                report=report, datasets=tuple(each for each in known if each.source == report.name)
            )
            for report in reports
        ]

    async def test(self, name: str | None = None) -> Sequence[SourceReport]:
        """Make a real call to every source, or to one, side by side. Raises UnknownSource, StoreError."""
        if name is not None and name not in self._sources:
            usable = "、".join(self._sources)
            raise UnknownSource(f"未知或未启用的数据源：{name}。可用的数据源：{usable}")
        wanted = [self._sources[name]] if name else list(self._sources.values())
        checks = await asyncio.gather(*map(self._check, wanted))
        return [self._report(source, check) for source, check in zip(wanted, checks, strict=True)]

    async def _look(self) -> Sequence[SourceReport]:
        """Test what may be asked: not a source that cools down for the list or the daily data."""
        resting = {each.source: each for each in await self._cooling() if each.dataset in _ESSENTIAL}
        asked = [source for name, source in self._sources.items() if name not in resting]
        checks = {name: _Check(error=_cooling_line(health)) for name, health in resting.items()}
        checks |= {
            source.name: check
            for source, check in zip(asked, await asyncio.gather(*map(self._check, asked)), strict=True)
        }
        return [self._report(source, checks[name]) for name, source in self._sources.items()]

    async def _cooling(self) -> Sequence[SourceHealth]:
        now = self._clock.now()
        return [
            health for health in await self._health.all() if breaker_state(health, now) is BreakerState.OPEN
        ]

    async def current(self) -> SourceReport | None:
        """The source that the next run would begin with: the first one that answers."""
        return next((report for report in await self.reports() if report.available), None)

    async def recommendations(self) -> Recommendations:
        """Say which source to rely on, and name the cause of whatever stands in the way."""
        reports = await self.reports()
        usable = [report for report in reports if report.available]
        broken = [report for report in reports if not report.available]
        warnings = [f"{report.name} 不可用：{report.message}" for report in broken]
        cooling = await self._cooling()
        warnings += [
            _cooling_line(each) for report in reports for each in cooling if each.source == report.name
        ]
        return Recommendations(
            primary=usable[0].name if usable else None,
            reason="优先级最高的可用数据源" if usable else None,
            fallbacks=tuple(report.name for report in usable[1:]),
            suggestions=tuple(_suggestions(reports, usable)),
            warnings=tuple(warnings),
        )

    async def _check(self, source: Source) -> _Check:
        """Test a source; whoever asks while a test is under way gets that one's answer."""
        if source.name not in self._checks:
            task = asyncio.create_task(self._call(source))
            self._checks[source.name] = task
            task.add_done_callback(lambda _: self._checks.pop(source.name))
        return await asyncio.shield(self._checks[source.name])

    async def _call(self, source: Source) -> _Check:
        at, began = self._clock.now(), self._clock.monotonic()
        error = await _check(source)
        return _Check(error=error, at=at, took_ms=round((self._clock.monotonic() - began) * 1000))

    def _report(self, source: Source, check: _Check) -> SourceReport:
        return SourceReport(
            name=source.name,
            priority=priority_of(source.name),
            available=check.error is None,
            description=source.description,
            message=check.error or "连接正常",
            provides=tuple(dataset for dataset in Dataset if dataset in source.provides),
            token_required=source.name in self._tokens,
            token_source=self._tokens.get(source.name),
            checked_at=check.at,
            check_ms=check.took_ms,
        )


def priority_of(name: str) -> int:
    """How far a source goes first: larger is earlier."""
    return DataSourcePriority[name.upper()]


async def _check(source: Source) -> str | None:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            await source.check()
    except SourceError as exc:
        return str(exc)
    except TimeoutError:
        return f"{CHECK_SECONDS:g} 秒内没有应答"
    except UNFORESEEN as exc:
        return f"应答无法理解（{type(exc).__name__}）"
    return None


_ESSENTIAL: Final = frozenset({Dataset.STOCK_LIST, Dataset.DAILY_DATA})

_DATASETS: Final = {
    Dataset.STOCK_LIST: "股票列表",
    Dataset.TRADE_DATE: "交易日历",
    Dataset.DAILY_DATA: "每日指标",
    Dataset.ROE: "净资产收益率",
}


def _cooling_line(health: SourceHealth) -> str:
    until = health.open_until.astimezone(MARKET_ZONE) if health.open_until else None
    return f"{health.source} 的{_DATASETS[health.dataset]}冷却至 {until:%m-%d %H:%M}：{health.last_error}"


def _suggestions(reports: Sequence[SourceReport], usable: Sequence[SourceReport]) -> list[str]:
    tips = []
    tushare = next((report for report in reports if report.name == "tushare"), None)
    if tushare is not None and not tushare.available and tushare.token_source is None:
        tips.append("配置 STOCKSYNC_TUSHARE_TOKEN 后可使用 Tushare，数据最完整")
    if not usable:
        tips.append("所有数据源都不可用，请检查网络与上述原因后重试")
    elif len(usable) == 1:
        tips.append("只有一个数据源可用，它失败时没有后备")
    return tips
