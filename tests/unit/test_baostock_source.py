"""BaostockSource over a made-up worker: what becomes of each row, and of answers that are none."""

from collections.abc import Mapping
from datetime import date
from typing import Any

import pytest

from stocksync.clock import SystemClock
from stocksync.domain.codes import Exchange
from stocksync.domain.stock import Dataset
from stocksync.errors import SourceBanned, SourceEmpty, SourceError, SourceNonsense, SourceSkipped
from stocksync.settings import load_settings
from stocksync.sources.baostock import BaostockSource, build_baostock

DAY = date(2026, 4, 15)
LIST_FIELDS = ["code", "code_name", "ipoDate", "outDate", "type", "status", "industry"]
DAILY_FIELDS = ["date", "code", "turn", "peTTM", "pbMRQ", "psTTM"]
BANK = ["sz.000001", "虚岚银行", "1991-04-03", "", "1", "1", "J66货币金融服务"]


class Worker:
    """Answers as told, and remembers what it was asked."""

    def __init__(self, answers: Mapping[str, Any]) -> None:
        self.answers = answers
        self.asked: list[tuple[object, ...]] = []
        self.closed = 0

    async def call(self, name: str, *arguments: object) -> Any:
        self.asked.append((name, *arguments))
        answer = self.answers[name]
        if isinstance(answer, SourceError):
            raise answer
        return answer

    async def aclose(self) -> None:
        self.closed += 1


def source(**answers: Any) -> BaostockSource:
    return BaostockSource(Worker(answers))


def listed(*rows: list[Any]) -> BaostockSource:
    return source(stock_list={"fields": LIST_FIELDS, "rows": list(rows)})


def measured(*rows: list[Any]) -> BaostockSource:
    return source(daily_data={"fields": DAILY_FIELDS, "rows": list(rows)})


def test_it_declares_what_it_has() -> None:
    made = build_baostock(load_settings(), SystemClock())
    assert made.provides == {Dataset.STOCK_LIST, Dataset.TRADE_DATE, Dataset.DAILY_DATA}
    assert made.exchanges == {Exchange.SSE, Exchange.SZSE}
    assert made.metrics == {"turnover_rate", "pe_ttm", "pb_mrq", "ps_ttm"}
    assert made.texts == {"industry"}


async def test_a_listing_carries_name_industry_and_first_day() -> None:
    answer = await listed(
        BANK,
        ["sh.600000", "虚  璃Ａ", "1999-11-10", "", "1", "1", ""],
        ["sh.689009", "幻霁-WD", "", "", "1", "1", None],
    ).stock_list()
    assert [
        (item.code, item.name, item.industry, item.list_date, item.market) for item in answer.listings
    ] == [
        ("000001", "虚岚银行", "J66货币金融服务", "19910403", "主板"),
        ("600000", "虚璃A", None, "19991110", "主板"),
        ("689009", "幻霁-WD", None, None, "科创板"),
    ]
    assert (answer.source, answer.rejects, answer.dropped) == ("baostock", (), 0)
    assert answer.exchanges == {Exchange.SSE, Exchange.SZSE}
    assert all(item.area is None for item in answer.listings)


@pytest.mark.parametrize(
    "row",
    [
        ["sh.000001", "上证综合指数", "1991-07-15", "", "2", "1", None],
        ["sh.113991", "虚岚转债", "2021-07-01", "", "4", "1", None],
        ["sh.510991", "拟五十ETF", "2012-05-28", "", "5", "1", None],
        ["sh.600991", "退市虚岚", "2001-03-01", "2016-05-27", "1", "0", ""],
        ["sh.900901", "虚岚B股", "1992-02-21", "", "1", "1", None],
        ["bj.920001", "虚北", "2021-11-15", "", "1", "1", None],
        ["sh.600001", "虚岚", "2001-03-01", "", 1, "1", None],
    ],
    ids=lambda row: f"{row[0]}-{row[4]}-{row[5]}",
)
async def test_what_is_no_listed_share_of_shanghai_or_shenzhen_is_dropped(row: list[Any]) -> None:
    answer = await listed(BANK, row).stock_list()
    assert ([item.code for item in answer.listings], answer.rejects, answer.dropped) == (["000001"], (), 1)


@pytest.mark.parametrize(
    ("row", "code", "field"),
    [
        (["sh.000001", "岚", "1991-04-03", "", "1", "1", ""], "000001", "code"),
        (["sz.600000", "岚", "1991-04-03", "", "1", "1", ""], "600000", "code"),
        (["600000.SH", "岚", "1991-04-03", "", "1", "1", ""], "SH", "code"),
        (["sh.999999", "岚", "1991-04-03", "", "1", "1", ""], "999999", "code"),
        ([600000, "岚", "1991-04-03", "", "1", "1", ""], "", "code"),
        (["sh.600000", "", "1991-04-03", "", "1", "1", ""], "600000", "name"),
        (["sh.600000", None, "1991-04-03", "", "1", "1", ""], "600000", "name"),
        (["sh.600000", "毒\x00药", "1991-04-03", "", "1", "1", ""], "600000", "name"),
        (["sh.600000", "岚", "1991-13-03", "", "1", "1", ""], "600000", "list_date"),
        (["sh.600000", "岚", "03/04/1991", "", "1", "1", ""], "600000", "list_date"),
        (["sh.600000", "岚", 19910403, "", "1", "1", ""], "600000", "list_date"),
        (["sh.600000", "岚", "1991-04-03", "", "1", "1", ["银行"]], "600000", "industry"),
    ],
    ids=str,
)
async def test_a_malformed_share_is_rejected_by_name(row: list[Any], code: str, field: str) -> None:
    answer = await listed(BANK, row).stock_list()
    assert [(reject.code, reject.field) for reject in answer.rejects] == [(code, field)]
    assert (len(answer.listings), answer.dropped) == (1, 0)


async def test_a_list_without_a_usable_row_is_none() -> None:
    with pytest.raises(SourceEmpty):
        await listed().stock_list()
    with pytest.raises(SourceNonsense, match="全部无法识别"):
        await listed(["sh.600000", "岚", "1991-04-03", "", ["1"], 12.5, ""]).stock_list()


async def test_ratios_are_read_and_losses_have_no_ratio() -> None:
    answer = await measured(
        ["2026-04-15", "sz.000001", "0.234500", "5.123400", "0.600000", "1.500000"],
        ["2026-04-15", "sh.600000", "1.000000", "-42.000000", "-3.100000", ""],
    ).daily_data(DAY)
    bank, loser = answer.metrics["000001"], answer.metrics["600000"]
    assert (bank.turnover_rate, bank.pe_ttm, bank.pb_mrq, bank.ps_ttm) == (0.2345, 5.1234, 0.6, 1.5)
    assert (loser.turnover_rate, loser.pe_ttm, loser.pb_mrq, loser.ps_ttm) == (1.0, None, None, None)
    assert bank.pe is bank.pb is bank.ps is bank.total_mv is None
    assert (answer.source, answer.day, answer.dropped) == ("baostock", DAY, 0)


@pytest.mark.parametrize("turn", ["", "0.000000", None])
async def test_a_suspended_stock_keeps_its_ratios_and_has_no_turnover(turn: str | None) -> None:
    answer = await measured(["2026-04-15", "sz.000001", turn, "5.1", "0.6", "1.5"]).daily_data(DAY)
    assert (answer.metrics["000001"].turnover_rate, answer.metrics["000001"].pe_ttm) == (None, 5.1)


async def test_rows_of_no_share_or_without_figures_are_dropped_and_counted() -> None:
    answer = await measured(
        ["2026-04-15", "sz.000001", "1", "2", "3", "4"],
        ["2026-04-15", "sh.000001", "1", "2", "3", "4"],
        ["2026-04-15", "sz.399001", "", "", "", ""],
        ["2026-04-15", "bj.920001", "1", "2", "3", "4"],
        ["2026-04-15", "sh.600000", "", "", "", ""],
        ["2026-04-15", "sh.600001", "nan", "inf", "-", {"value": 1}],
    ).daily_data(DAY)
    assert (list(answer.metrics), answer.dropped) == (["000001"], 5)


async def test_a_day_without_rows_or_of_another_date_is_none() -> None:
    with pytest.raises(SourceEmpty, match="2026-04-15"):
        await measured().daily_data(DAY)
    with pytest.raises(SourceNonsense, match="以外日期"):
        await measured(["2026-04-14", "sz.000001", "1", "2", "3", "4"]).daily_data(DAY)
    with pytest.raises(SourceNonsense, match="全部无法识别"):
        await measured(["2026-04-15", "sz.399001", "1", "2", "3", "4"]).daily_data(DAY)


async def test_the_calendar_is_read_in_order() -> None:
    made = source(open_days=["2026-04-15", "2026-04-14"])
    assert await made.open_days(date(2026, 4, 11), DAY) == [date(2026, 4, 14), DAY]
    assert made._worker.asked == [("open_days", "2026-04-11", "2026-04-15")]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("days", "error"), [([], SourceEmpty), (["20260415x"], SourceNonsense), ([12.5], SourceNonsense)]
)
async def test_a_calendar_that_is_none(days: list[object], error: type[SourceError]) -> None:
    with pytest.raises(error):
        await source(open_days=days).open_days(DAY, DAY)


async def test_the_workers_errors_pass_and_roe_is_not_provided() -> None:
    made = source(check=SourceBanned("封禁"), stock_list=SourceBanned("封禁"))
    for ask in (made.check, made.stock_list):
        with pytest.raises(SourceBanned):
            await ask()
    with pytest.raises(SourceSkipped):
        await made.roe(date(2025, 12, 31))


async def test_closing_closes_the_worker() -> None:
    worker = Worker({})
    await BaostockSource(worker).aclose()
    assert worker.closed == 1
