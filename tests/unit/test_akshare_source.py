"""AkshareSource over a worker that answers what the test says."""

from datetime import date, datetime, timedelta
from typing import Any

import pytest

from stocksync.clock import SystemClock
from stocksync.domain.codes import Exchange
from stocksync.domain.stock import METRICS, Dataset
from stocksync.domain.wire import MARKET_ZONE
from stocksync.errors import (
    SourceEmpty,
    SourceNonsense,
    SourceNotFinal,
    SourceSkipped,
)
from stocksync.sources.akshare import AkshareSource, snapshot_day
from stocksync.sources.isolation import NotInstalled

WEDNESDAY = date(2026, 4, 15)
Json = dict[str, Any]


class FixedClock(SystemClock):
    def __init__(self, *moment: int) -> None:
        self.moment = datetime(*moment, tzinfo=MARKET_ZONE)  # type: ignore[misc, arg-type]

    def now(self) -> datetime:
        return self.moment

    def monotonic(self) -> float:
        return self.moment.timestamp()


class FakeWorker:
    def __init__(self, **answers: Any) -> None:
        self.answers = answers
        self.asked: list[tuple[object, ...]] = []
        self.during: Any = lambda: None

    async def call(self, name: str, *arguments: object) -> Any:
        self.asked.append((name, *arguments))
        self.during()
        answer = self.answers[name]
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def aclose(self) -> None:
        self.asked.append(("aclose",))


def listed(code: str, exchange: str, **more: object) -> Json:
    row = {"code": code, "name": "甲", "list_date": "20200102", "area": None, "industry": None}
    return {**row, "total_share": 1.0, "float_share": 1.0, "exchange": exchange, **more}


def quoted(code: str, **more: object) -> Json:
    row = {"code": code, "name": "甲", "price": 10.0, "total_mv": 2.5e9, "circ_mv": 1e9, "pe_dynamic": 9.0}
    return {**row, "turnover_rate": 1.23, "volume_ratio": 0.9, "pb": 1.5, **more}


LIST: Json = {
    "rows": [
        listed("600000", "SH"),
        listed("000001", "SZ", name="万  科Ａ", industry="C 制造业"),
        listed("920001", "BJ", area="湖北省"),
        listed("200011", "SZ"),  # a B share
        listed("601999", "SZ"),  # not Shenzhen's
        listed("999999", "SH"),
    ],
    "failed": {},
}
SNAPSHOT: Json = {
    "rows": [
        quoted("600000"),
        quoted("000001", pb=None, turnover_rate=0.0),
        quoted("900901"),  # a B share
        quoted("abc"),
    ],
    "dropped": 300,
    "day": "20260415",
}
REPORT = [
    {"code": "600000", "roe": 5.5, "industry": "银行Ⅱ"},
    {"code": "000001", "roe": None, "industry": "房地产开发"},
    {"code": "900901", "roe": 1.0, "industry": "半导体"},
]
NO_REPORT = SourceEmpty("没有")
EVENING = FixedClock(2026, 4, 15, 18, 0)


def source(clock: FixedClock = EVENING, *, as_of: date | None = None, **answers: Any) -> AkshareSource:
    answers = {"stock_list": LIST, "snapshot": SNAPSHOT, "report": REPORT, **answers}
    return AkshareSource(FakeWorker(**answers), clock, as_of=as_of)


def asked(akshare: AkshareSource) -> list[tuple[object, ...]]:
    assert isinstance(akshare._worker, FakeWorker)
    return akshare._worker.asked


def test_what_it_declares() -> None:
    assert AkshareSource.provides == {Dataset.STOCK_LIST, Dataset.DAILY_DATA, Dataset.ROE}
    assert AkshareSource.exchanges == set(Exchange)
    assert AkshareSource.metrics == {"total_mv", "circ_mv", "pb", "turnover_rate", "volume_ratio"}
    assert set(METRICS) >= AkshareSource.metrics
    assert AkshareSource.texts == {"industry"}


async def test_check_and_close_reach_the_worker() -> None:
    akshare = source(check=None)
    await akshare.check()
    await akshare.aclose()
    assert asked(akshare) == [("check",), ("aclose",)]


async def test_it_has_no_calendar() -> None:
    with pytest.raises(SourceSkipped):
        await source().open_days(WEDNESDAY, WEDNESDAY)


# ---- the list


async def test_the_list_is_checked_row_by_row() -> None:
    answer = await source().stock_list()
    assert [(item.code, item.name, item.area, item.industry) for item in answer.listings] == [
        ("600000", "甲", None, None),
        ("000001", "万科A", None, None),
        ("920001", "甲", "湖北省", None),
    ]
    assert [item.market for item in answer.listings] == ["主板", "主板", "北交所"]
    assert [(reject.code, reject.reason) for reject in answer.rejects] == [
        ("601999", "交易所与代码不符"),
        ("999999", "未知的代码前缀"),
    ]
    assert answer.dropped == 1
    assert answer.exchanges == set(Exchange)


async def test_the_list_answers_for_the_exchanges_that_answered() -> None:
    failed = {"SH": {"error": "source_banned", "message": "拒绝"}}
    rows = [row for row in LIST["rows"] if row["exchange"] != "SH"]
    answer = await source(stock_list={"rows": rows, "failed": failed}).stock_list()
    assert answer.exchanges == {Exchange.SZSE, Exchange.BSE}


async def test_a_list_of_nothing_usable_is_nonsense() -> None:
    with pytest.raises(SourceNonsense):
        await source(stock_list={"rows": [listed("999999", "SH")], "failed": {}}).stock_list()


# ---- return on equity


async def test_roe_drops_b_shares_and_the_unknown() -> None:
    answer = await source().roe(date(2025, 9, 30))
    assert dict(answer.values) == {"600000": 5.5}
    assert dict(answer.industries) == {"600000": "银行Ⅱ", "000001": "房地产开发"}
    assert answer.dropped == 2


async def test_no_roe_at_all_is_empty() -> None:
    with pytest.raises(SourceEmpty):
        await source(report=REPORT[1:]).roe(date(2025, 9, 30))


# ---- the snapshot


async def test_units_and_drops() -> None:
    answer = await source().daily_data(WEDNESDAY)
    row = answer.metrics["600000"]
    assert (row.total_mv, row.circ_mv, row.pb, row.turnover_rate, row.volume_ratio) == (
        25,
        10,
        1.5,
        1.23,
        0.9,
    )
    assert (row.pe, row.pe_ttm, row.total_share) == (None, None, None)
    assert (answer.metrics["000001"].pb, answer.metrics["000001"].turnover_rate) == (None, None)
    assert answer.day == WEDNESDAY
    assert answer.metrics.keys() == {"600000", "000001"}
    assert answer.dropped == 300 + 2


async def test_a_snapshot_of_nothing_usable_is_nonsense() -> None:
    bare = quoted("600000", total_mv=None, circ_mv=None, pb=None, turnover_rate=None, volume_ratio=None)
    with pytest.raises(SourceNonsense):
        await source(snapshot={**SNAPSHOT, "rows": [bare]}).daily_data(WEDNESDAY)


@pytest.mark.parametrize(
    ("now", "held"),
    [
        ((2026, 4, 15, 9, 14), date(2026, 4, 14)),  # before the auction it is still yesterday's
        ((2026, 4, 15, 9, 15), None),
        ((2026, 4, 15, 12, 0), None),
        ((2026, 4, 15, 15, 4), None),
        ((2026, 4, 15, 15, 5), WEDNESDAY),
        ((2026, 4, 18, 11, 0), date(2026, 4, 17)),  # a Saturday
        ((2026, 2, 18, 11, 0), date(2026, 2, 13)),  # the Spring Festival
    ],
)
def test_the_day_of_a_snapshot(now: tuple[int, ...], held: date | None) -> None:
    assert snapshot_day(FixedClock(*now).now()) == held


async def test_the_evening_has_no_history() -> None:
    akshare = source()
    with pytest.raises(SourceSkipped):
        await akshare.daily_data(date(2026, 4, 14))
    assert asked(akshare) == []


async def test_while_the_market_trades_nothing_is_final() -> None:
    akshare = source(FixedClock(2026, 4, 15, 11, 0))
    for day in (WEDNESDAY, date(2026, 4, 14)):
        with pytest.raises(SourceNotFinal):
            await akshare.daily_data(day)
    with pytest.raises(SourceSkipped):
        await akshare.daily_data(date(2026, 4, 13))
    assert asked(akshare) == []


async def test_a_day_that_begins_during_the_snapshot_spoils_it() -> None:
    clock = FixedClock(2026, 4, 16, 9, 14)
    akshare = source(clock)

    def later() -> None:
        clock.moment += timedelta(minutes=2)

    assert isinstance(akshare._worker, FakeWorker)
    akshare._worker.during = later
    with pytest.raises(SourceNotFinal):
        await akshare.daily_data(WEDNESDAY)


async def test_the_sites_own_date_is_believed() -> None:
    with pytest.raises(SourceEmpty, match="20260414"):
        await source(snapshot={**SNAPSHOT, "day": "20260414"}).daily_data(WEDNESDAY)
    answer = await source(snapshot={**SNAPSHOT, "day": None}).daily_data(WEDNESDAY)
    assert len(answer.metrics) == 2


async def test_a_replay_stands_on_the_evening_of_its_day() -> None:
    akshare = source(FixedClock(2026, 11, 20, 11, 0), as_of=WEDNESDAY)
    assert (await akshare.daily_data(WEDNESDAY)).day == WEDNESDAY
    with pytest.raises(SourceSkipped):
        await akshare.daily_data(date(2026, 4, 14))


async def test_without_the_library_it_is_skipped() -> None:
    akshare = AkshareSource(NotInstalled("akshare"), EVENING)
    with pytest.raises(SourceSkipped, match="akshare"):
        await akshare.check()
    await akshare.aclose()
