"""The real akshare library, in a worker process, against the replicas of the sites that it reads."""

import io
import json
import sys
import time
import zipfile
from collections.abc import AsyncIterator, Mapping
from datetime import date
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import pytest

from stocksync.errors import SourceBanned, SourceError
from stocksync.simulator import Simulator, SimulatorOptions, open_simulator
from stocksync.simulator.market import DayMetrics
from stocksync.sources.isolation import WorkerPool

TODAY = date(2026, 4, 15)
PERIOD, PERIOD_TEXT = date(2025, 9, 30), "20250930"
SIZE = 600
GHOSTS = 34  # 300 of 5,450, in this market

needs_akshare = pytest.mark.skipif(find_spec("akshare") is None, reason="akshare is not installed")


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with open_simulator(SimulatorOptions(size=SIZE, today=TODAY)) as running:
        yield running


@pytest.fixture
async def worker(simulator: Simulator) -> AsyncIterator[WorkerPool]:
    redirect = {"STOCKSYNC_AKSHARE_REDIRECT": simulator.settings["STOCKSYNC_AKSHARE_REDIRECT"]}
    pool = WorkerPool("hasty_akshare_worker", {**redirect, "PYTHONPATH": str(Path(__file__).parents[1])})
    yield pool
    await pool.aclose()


@pytest.fixture
async def client(simulator: Simulator) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=simulator.base_url, trust_env=False, timeout=5) as opened:
        yield opened


def by_code(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {row["code"]: row for row in rows}


def latest(simulator: Simulator) -> dict[str, DayMetrics]:
    market = simulator.market
    return {metrics.ts_code[:6]: metrics for metrics in market.metrics(market.latest_day)}


def two(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


# ---- the real library against the replicas


@needs_akshare
async def test_the_lists_are_the_market(worker: WorkerPool, simulator: Simulator) -> None:
    answer = await worker.call("stock_list")
    rows = by_code(answer["rows"])
    assert answer["failed"] == {}
    assert len(answer["rows"]) == len(rows) == SIZE
    metrics = latest(simulator)
    for stock in simulator.market.stocks:
        row, day = rows[stock.symbol], metrics.get(stock.symbol)
        assert (row["name"], row["list_date"]) == (stock.name, stock.list_date)
        assert row["exchange"] == stock.ts_code[-2:]
        assert row["area"] == (stock.area if stock.exchange == "BSE" else None)
        if stock.exchange == "SSE" or day is None:
            assert (row["total_share"], row["float_share"]) == (None, None)
        else:
            assert day.total_share is not None
            assert row["total_share"] == round(day.total_share * 10_000)


@needs_akshare
async def test_the_snapshot_is_the_newest_day(worker: WorkerPool, simulator: Simulator) -> None:
    answer = await worker.call("snapshot")
    rows, metrics = by_code(answer["rows"]), latest(simulator)
    assert answer["day"] == "20260415"
    assert rows.keys() == metrics.keys()
    assert answer["dropped"] == GHOSTS + SIZE - len(metrics)
    for code, day in metrics.items():
        assert day.total_mv is not None
        assert day.circ_mv is not None
        assert rows[code] == {
            "code": code,
            "name": rows[code]["name"],
            "price": day.close,
            "total_mv": round(day.total_mv * 10_000),
            "circ_mv": round(day.circ_mv * 10_000),
            "turnover_rate": two(day.turnover_rate),
            "volume_ratio": two(day.volume_ratio),
            "pb": two(day.pb),
            "pe_dynamic": two(day.pe_ttm),
        }


@needs_akshare
async def test_the_report_is_the_quarter(worker: WorkerPool, simulator: Simulator) -> None:
    rows = by_code(await worker.call("report", PERIOD_TEXT))
    roe = simulator.market.roe(PERIOD)
    industries = {stock.symbol: stock.industry for stock in simulator.market.stocks}
    for ts_code, value in roe.items():
        assert rows[ts_code[:6]] == {"code": ts_code[:6], "roe": value, "industry": industries[ts_code[:6]]}
    assert {code[:3] for code in rows.keys() - {ts_code[:6] for ts_code in roe}} <= {"200", "900"}  # B shares


@needs_akshare
async def test_nothing_is_remembered_no_pause_is_made_and_nothing_is_printed(
    worker: WorkerPool, simulator: Simulator, capfd: pytest.CaptureFixture[str]
) -> None:
    for call, site, requests in (("stock_list", "sse", 2), ("snapshot", "spot", 8)):
        await worker.call(call)
        simulator.calls.reset()
        started = time.monotonic()
        await worker.call(call)
        assert time.monotonic() - started < 3  # seven pauses of 0.5 to 1.5 s otherwise
        assert simulator.calls.of(f"akshare.{site}") == requests
    await worker.call("check")
    assert capfd.readouterr() == ("", "")


@needs_akshare
async def test_this_process_stays_clean(worker: WorkerPool) -> None:
    await worker.call("check")
    assert not {"akshare", "pandas", "numpy"} & sys.modules.keys()


@needs_akshare
async def test_a_small_fault_heals(worker: WorkerPool, simulator: Simulator) -> None:
    for fault in ("http502:2", "reset:2", "truncated:1"):
        simulator.faults.set("akshare.spot", fault)
        await worker.call("snapshot")
        assert simulator.faults.get() == {}


@needs_akshare
async def test_a_ban_is_not_asked_again(worker: WorkerPool, simulator: Simulator) -> None:
    simulator.faults.set("akshare.spot", "close")
    simulator.calls.reset()
    with pytest.raises(SourceBanned):
        await worker.call("snapshot")
    assert simulator.calls.of("akshare.spot") == 1


ANY_CALL = {
    "http400": "SourceNonsense",
    "http403": "SourceBanned",
    "http404": "SourceNonsense",
    "http429": "SourceRateLimited",
    "http500": "SourceUnreachable",
    "http502": "SourceUnreachable",
    "http503": "SourceUnreachable",
    "hang": "SourceTimeout",
    "reset": "SourceUnreachable",
    "close": "SourceBanned",
    "banned": "SourceBanned",
    "drip": "SourceTimeout",
    "truncated": "SourceUnreachable",
    "badjson": "SourceNonsense",
    "html": "SourceNonsense",
    "empty": "SourceEmpty",
    "renamed": "SourceNonsense",
    "missing_column": "SourceNonsense",
    "wrong_types": "SourceNonsense",
}


async def outcomes(
    worker: WorkerPool, simulator: Simulator, site: str, call: str, *arguments: str, faults: Mapping[str, str]
) -> dict[str, str]:
    seen = {}
    for fault in faults:
        simulator.faults.set(f"akshare.{site}", fault)
        try:
            await worker.call(call, *arguments)
            seen[fault] = "ok"
        except SourceError as exc:
            seen[fault] = "a bug" if "内部错误" in str(exc) else type(exc).__name__
    simulator.faults.clear()
    return seen


@needs_akshare
async def test_faults_of_the_snapshot(worker: WorkerPool, simulator: Simulator) -> None:
    # What is well-formed and too little is for the engine to judge, which knows how much there should be.
    expected = {**ANY_CALL, "repeated": "SourceIncomplete", "ten_rows": "ok", "half": "ok", "nan": "ok"}
    expected |= {"poison": "ok", "unpublished": "SourceEmpty"}
    assert await outcomes(worker, simulator, "spot", "snapshot", faults=expected) == expected


@needs_akshare
async def test_faults_of_the_report(worker: WorkerPool, simulator: Simulator) -> None:
    expected = {**ANY_CALL, "repeated": "SourceIncomplete", "half": "ok", "poison": "ok"}
    assert await outcomes(worker, simulator, "yjbb", "report", PERIOD_TEXT, faults=expected) == expected


@needs_akshare
async def test_faults_of_the_check(worker: WorkerPool, simulator: Simulator) -> None:
    expected = {name: ANY_CALL[name] for name in ("http403", "http502", "hang", "close", "html", "empty")}
    assert await outcomes(worker, simulator, "spot", "check", faults=expected) == expected


@needs_akshare
@pytest.mark.parametrize(("site", "exchange"), [("sse", "SH"), ("szse", "SZ"), ("bse", "BJ")])
async def test_a_faulty_exchange_fails_alone(
    worker: WorkerPool, simulator: Simulator, site: str, exchange: str
) -> None:
    seen = {}
    for fault in ANY_CALL:
        simulator.faults.set(f"akshare.{site}", fault)
        answer = await worker.call("stock_list")
        assert {row["exchange"] for row in answer["rows"]} == {"SH", "SZ", "BJ"} - {exchange}
        (told,) = answer["failed"].values()
        assert exchange in answer["failed"]
        assert told["message"]
        seen[fault] = "".join(word.title() for word in told["error"].split("_"))
    assert seen == ANY_CALL


@needs_akshare
async def test_all_exchanges_faulty_is_an_error(worker: WorkerPool, simulator: Simulator) -> None:
    simulator.faults.set("akshare.*", "http403")
    with pytest.raises(SourceError, match="拒绝访问"):
        await worker.call("stock_list")


@needs_akshare
async def test_poison_stays_alone(worker: WorkerPool, simulator: Simulator) -> None:
    simulator.faults.set("akshare.*", "poison")
    listed = await worker.call("stock_list")
    assert listed["failed"] == {}
    assert {stock.symbol for stock in simulator.market.stocks} <= by_code(listed["rows"]).keys()
    quoted = by_code((await worker.call("snapshot"))["rows"])
    assert latest(simulator).keys() <= quoted.keys()


# ---- the bytes of the replicas


SPOT = "/82.push2.eastmoney.com/api/qt/clist/get"
FIELDS = "f1,f2,f12,f62,f128,f136,f115,f152"


async def test_a_quote_has_the_bytes_of_the_real_one(client: httpx.AsyncClient, simulator: Simulator) -> None:
    answer = await client.get(SPOT, params={"pn": 1, "pz": 100, "fields": FIELDS})
    head = (
        '{"rc":0,"rt":6,"svr":177617930,"lt":1,"full":1,"dlmkts":"","data":{"total":634,"diff":[{"f1":2,"f2":'
    )
    assert answer.text.startswith(head)
    row = answer.json()["data"]["diff"][0]
    assert list(row) == ["f1", "f2", "f12", "f62", "f115", "f128", "f140", "f141", "f136", "f152"]
    assert row["f128"] == "-"
    assert len(answer.json()["data"]["diff"]) == 100
    assert simulator.calls.of("akshare.spot") == 1


async def test_a_page_behind_the_last_has_no_data(client: httpx.AsyncClient) -> None:
    answer = await client.get(SPOT, params={"pn": 8, "pz": 100, "fields": FIELDS})
    assert answer.json()["data"] is None


async def test_a_ghost_has_dashes(client: httpx.AsyncClient) -> None:
    answer = await client.get(SPOT, params={"pn": 1, "pz": 100, "fields": "f2,f12,f14,f20"})
    ghosts = [row for row in answer.json()["data"]["diff"] if row["f14"].startswith("退市")]
    assert ghosts
    assert all(row["f2"] == row["f20"] == "-" for row in ghosts)


async def test_beijing_answers_in_a_callback(client: httpx.AsyncClient, simulator: Simulator) -> None:
    answer = await client.post("/www.bse.cn/nqxxController/nqxxCnzq.do", data={"page": "1", "typejb": "T"})
    assert answer.text.startswith('null([{"content":[{"fxssrq":"')
    assert answer.text.endswith("}])")
    (block,) = json.loads(answer.text[5:-1])
    listed = [stock.symbol for stock in simulator.market.stocks if stock.exchange == "BSE"]
    assert [row["xxzqdm"] for row in block["content"]] == listed[20:]
    assert {key: block[key] for key in ("totalElements", "totalPages", "number", "lastPage")} == {
        "totalElements": len(listed), "totalPages": 2, "number": 1, "lastPage": True,
    }  # fmt: skip
    assert len(block["content"][0]) == 48


async def test_shenzhen_answers_with_a_workbook(client: httpx.AsyncClient, simulator: Simulator) -> None:
    params = {"SHOWTYPE": "xlsx", "CATALOGID": "1110", "TABKEY": "tab1"}
    answer = await client.get("/www.szse.cn/api/report/ShowReport", params=params)
    assert answer.headers["content-type"].endswith("spreadsheetml.sheet")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as workbook:
        assert workbook.testzip() is None
        sheet = workbook.read("xl/worksheets/sheet1.xml").decode()
    listed = sum(stock.exchange == "SZSE" for stock in simulator.market.stocks)
    assert sheet.count("<row>") == listed + 1
    assert ">A股代码</t>" in sheet
    again = await client.get("/www.szse.cn/api/report/ShowReport", params=params)
    assert again.content == answer.content


async def test_shanghai_tells_its_total(client: httpx.AsyncClient) -> None:
    path = "/query.sse.com.cn/sseQuery/commonQuery.do"
    answer = (await client.get(path, params={"STOCK_TYPE": "8", "pageHelp.pageSize": "10000"})).json()
    assert answer["pageHelp"]["total"] == len(answer["result"]) > 0
    assert all(row["A_STOCK_CODE"].startswith("68") for row in answer["result"])


async def test_a_period_without_reports(client: httpx.AsyncClient) -> None:
    path = "/datacenter-web.eastmoney.com/api/data/v1/get"
    answer = await client.get(path, params={"filter": "(REPORTDATE='2026-03-31')", "pageSize": "500"})
    assert answer.text == (
        '{"version":null,"result":null,"success":false,"message":"返回数据为空","code":9201}'
    )


async def test_what_no_site_has_is_not_found(client: httpx.AsyncClient, simulator: Simulator) -> None:
    for path in ("/www.szse.cn/elsewhere", "/query.sse.com.cn/", "/push2.eastmoney.com/api"):
        assert (await client.get(path)).status_code == 404
    assert (await client.get(SPOT, params={"pn": "x"})).status_code == 400
    assert simulator.calls.of("akshare.spot") == 1
