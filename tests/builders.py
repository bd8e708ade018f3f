"""What the tests are made of: listings, stocks, answers and runs with sensible defaults."""

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

from hypothesis import HealthCheck, settings

from stocksync.domain.codes import Exchange
from stocksync.domain.journal import RunEvent
from stocksync.domain.merge import DailyAnswer, ListAnswer, StockRef
from stocksync.domain.status import Job, Reject, SyncStats, Trigger, begin
from stocksync.domain.stock import DailyMetrics, StockBasic, StockListing, listing
from stocksync.ports import Store

NOON = datetime(2026, 4, 15, 4, 0, tzinfo=UTC)
"""12:00 in Shanghai."""

DAY = date(2026, 4, 15)

ALL_EXCHANGES = frozenset(Exchange)


def examples(count: int) -> settings:
    """So many generated examples; no deadline, because the machine is shared."""
    return settings(
        max_examples=count,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


def a_listing(code: str = "600519", **fields: object) -> StockListing:
    return listing(code=code, **{"name": f"股票{code}", **fields})


def a_stock(code: str = "600519", source: str = "tushare", **fields: Any) -> StockBasic:
    return StockBasic(
        **{"code": code, "source": source, "name": f"股票{code}", "market": "主板", **fields},
    )


def measured(code: str = "600519", source: str = "tushare", day: str = "20260415", **figures: float) -> Any:
    """A stock whose figures all come from its own source, of one day."""
    return a_stock(
        code,
        source,
        trade_date=day,
        figures=figures,
        field_sources=dict.fromkeys(figures, f"{source}:{day}"),
    )


def a_reject(code: str = "600519", reason: str = "坏行") -> Reject:
    return Reject(code=code, field="name", value="''", reason=reason)


def a_list(
    source: str,
    listings: Iterable[StockListing],
    exchanges: frozenset[Exchange] = ALL_EXCHANGES,
    rejects: Iterable[Reject] = (),
) -> ListAnswer:
    return ListAnswer(source=source, exchanges=exchanges, listings=tuple(listings), rejects=tuple(rejects))


def a_daily(source: str, figures: Mapping[str, Mapping[str, float]], day: date = DAY) -> DailyAnswer:
    metrics = {code: DailyMetrics(code=code, **values) for code, values in figures.items()}
    return DailyAnswer(source=source, day=day, metrics=metrics)


def a_ref(code: str, name: str = "某股份", list_date: str | None = "20200101") -> StockRef:
    return StockRef(code=code, name=name, list_date=list_date)


def a_run(run_id: str = "run-1", job: Job = Job.MULTI, at: datetime = NOON) -> SyncStats:
    return begin(job=job, run_id=run_id, trigger=Trigger.API, started_at=at)


async def log_of(store: Store, run_id: str) -> list[RunEvent]:
    """What a run said, without the places of the lines."""
    return [line.event for line in await store.runs.events(run_id)]


class FakeClock:
    """Time that passes only when a test says so."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> datetime:
        return NOON + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        self.seconds += seconds
