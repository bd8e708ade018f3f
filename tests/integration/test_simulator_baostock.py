"""BaoStock's replica: its frames against recorded ones, and the real client against it."""

import asyncio
import json
import time
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import Any

import httpx
import pytest

from baostock_client import Client, needs_baostock, running_client
from stocksync.simulator import Simulator, SimulatorOptions, open_simulator
from stocksync.simulator.baostock_wire import END, SPLIT, FrameInvalid, Request, encode, record
from stocksync.simulator.faults import Kind
from stocksync.simulator.market import DayMetrics, Stock

TODAY = date(2026, 4, 15)
SIZE = 300
DAILY_FIELDS = [
    "date", "code", "open", "high", "low", "close", "preclose", "volume", "amount", "adjustflag", "turn",
    "tradestatus", "pctChg", "peTTM", "pbMRQ", "psTTM", "pcfNcfTTM", "isST",
]  # fmt: skip


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with open_simulator(SimulatorOptions(size=SIZE, today=TODAY)) as running:
        yield running


@pytest.fixture
async def client(simulator: Simulator) -> AsyncIterator[Client]:
    async with running_client(address(simulator)) as running:
        yield running


def address(simulator: Simulator) -> str:
    return simulator.settings["STOCKSYNC_BAOSTOCK_ADDRESS"]


def covered(simulator: Simulator) -> list[Stock]:
    return [stock for stock in simulator.market.stocks if stock.exchange != "BSE"]


def spelled(ts_code: str) -> str:
    return f"{ts_code[7:].lower()}.{ts_code[:6]}"


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - it comes true in another process
            await asyncio.sleep(0.02)


# ---- the frames, without the client

RECORDED = [
    ("01", ("0", "success", "login", "anonymous", "20260422163759563"), "0000000043", 4202758179),
    ("04", ("10004020", "错误的消息类型"), "0000000016", 1867595674),
    (
        "46",
        (
            *("0", "success", "query_stock_basic", "anonymous", "1", "10000"),
            record([("sh.600000", "浦发银行", "1999-11-10", "", "1", "1")]),
            *("sh.600000", "", "code, code_name, ipoDate, outDate, type, status"),
        ),
        "0000000162",
        3528582555,
    ),
]


@pytest.mark.parametrize(("kind", "fields", "length", "checksum"), RECORDED, ids=["login", "error", "list"])
def test_frames_are_those_of_the_real_server(
    kind: str, fields: tuple[str, ...], length: str, checksum: int
) -> None:
    """Lengths (in characters) and checksums are the real server's of April 2026, the code being ours."""
    head = SPLIT.join(("00.9.00", kind, length))
    expected = (head + SPLIT.join(fields) + f"{SPLIT}{checksum}").encode() + END
    assert encode(kind, fields) == expected


def test_a_compressed_body_says_its_bytes() -> None:
    frame = encode("99", ("0", "岚"))
    length = int(frame[11:21])
    assert zlib.decompress(frame[21 : 21 + length]).decode() == "0\x01岚"
    assert frame[21 + length :] == b"\x01%d" % zlib.crc32(frame[: 21 + length]) + END


def request_of(kind: str, *fields: str) -> bytes:
    body = SPLIT.join(fields)
    covered = f"00.9.40{SPLIT}{kind}{SPLIT}{len(body):010d}{body}".encode()
    return covered + f"{SPLIT}{zlib.crc32(covered)}\n".encode()


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"GET / HTTP/1.1\r",
        request_of("00", "login")[:-2],
        request_of("00", "login").replace(b"login", b"logon").rstrip(b"\n"),
        request_of("00", "login").replace(b"0000000005", b"0000000004").rstrip(b"\n"),
    ],
)
def test_what_is_no_request_is_refused(frame: bytes) -> None:
    with pytest.raises(FrameInvalid):
        Request.read(frame)


async def talk(simulator: Simulator, *requests: bytes) -> list[list[str]]:
    """Send requests over one connection; give the fields of each answer's body, the checksum last."""
    host, port = address(simulator).split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    answers = []
    for request in requests:
        writer.write(request)
        frame = await reader.readuntil(END)
        answers.append(frame[21:].removesuffix(END).decode().split(SPLIT))
    writer.close()
    return answers


LOGIN = request_of("00", "login", "anonymous", "123456", "0")


async def test_the_server_refuses_as_the_real_one(simulator: Simulator) -> None:
    answers = await talk(
        simulator,
        request_of("33", "query_trade_dates", "anonymous", "1", "2000", "2026-04-01", "2026-04-02"),
        request_of("00", "login", "anonymous", "wrong", "0"),
        LOGIN,
        request_of("81", "query_stock_concept", "anonymous"),
        b"nonsense\n",
        request_of("33", "query_trade_dates", "anonymous", "1", "2000", "2026-04-02", "2026-04-01"),
        request_of("33", "query_trade_dates", "anonymous", "1", "2000", "2026-04-02"),
        request_of("33", "query_trade_dates", "anonymous", "0", "2000", "2026-04-01", "2026-04-02"),
        request_of("98", "query_daily_history_k_AStock", "anonymous", "yesterday"),
        request_of("33", "query_trade_dates", "anonymous", "1", "2000", "2026-04-01", "2026-04-02"),
        request_of("02", "logout", "anonymous", "20260415000000"),
        request_of("33", "query_trade_dates", "anonymous", "1", "2000", "2026-04-01", "2026-04-02"),
    )
    assert [answer[0] for answer in answers] == [
        "10001001", "10001002", "0", "10004020", "10004019", "10004009", "10004006", "10004006", "10004010",
        "0", "0", "10001001",
    ]  # fmt: skip
    assert answers[9][2:10] == [
        *("query_trade_dates", "anonymous", "1", "2000"),
        '{"record":[["2026-04-01","1"],["2026-04-02","1"]]}',
        *("2026-04-01", "2026-04-02", "calendar_date, is_trading_day"),
    ]


async def test_a_page_is_as_long_as_the_client_asks(simulator: Simulator) -> None:
    pages = [request_of("45", "query_stock_basic", "anonymous", str(n), "120", "", "") for n in range(1, 5)]
    _, *answers = await talk(simulator, LOGIN, *pages)
    counts = [len(json.loads(answer[6])["record"]) for answer in answers]
    total = len(covered(simulator)) + 12  # four delisted stocks, eight that are none
    assert counts == [120, 120, total - 240, 0]


async def test_faults_are_set_over_http_and_calls_counted(simulator: Simulator) -> None:
    async with httpx.AsyncClient(base_url=simulator.base_url, trust_env=False) as http:
        answer = await http.put("/_control/faults", json={"baostock.login": "banned:1"})
        assert answer.json() == {"baostock.login": "banned:1"}
        assert [(await talk(simulator, LOGIN))[0][0] for _ in range(2)] == ["10001011", "0"]
        assert (await http.get("/_control/calls")).json() == {"baostock.login": 2}


async def test_leaving_does_not_wait_for_hanging_connections() -> None:
    async with open_simulator(SimulatorOptions(size=20, faults=("baostock.*=hang",))) as running:
        host, port = address(running).split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(LOGIN)
        await until(lambda: running.calls.of("baostock.login") == 1)
        began = time.monotonic()
    assert time.monotonic() - began < 1
    with suppress(ConnectionResetError):
        assert await reader.read() == b""
    writer.close()


# ---- the real client, healthy


def on_day(day: date, stock: Stock, metrics: DayMetrics, row: dict[str, str]) -> None:
    assert (row["date"], row["tradestatus"]) == (day.isoformat(), "1")
    for column, value in (("turn", metrics.turnover_rate), ("pbMRQ", metrics.pb), ("psTTM", metrics.ps_ttm)):
        assert row[column] == ("" if value is None else f"{value:.6f}"), (stock, column)
    assert (float(row["peTTM"]) < 0) if metrics.pe_ttm is None else (float(row["peTTM"]) == metrics.pe_ttm)
    assert float(row["low"]) <= float(row["close"]) == metrics.close <= float(row["high"])
    assert row["isST"] == str(int("ST" in stock.name))


@needs_baostock
async def test_the_real_client_reads_the_market(simulator: Simulator, client: Client) -> None:
    login = await client("login")
    assert (login["code"], login["text"], login["user"]) == ("0", "success", "anonymous")

    days = await client("query_trade_dates", "2026-04-10", "2026-04-14")
    assert days["fields"] == ["calendar_date", "is_trading_day"]
    assert [row[1] for row in days["rows"]] == ["1", "0", "0", "1", "1"]

    stocks = covered(simulator)
    listed = await client("query_stock_basic")
    assert listed["fields"] == ["code", "code_name", "ipoDate", "outDate", "type", "status"]
    shares = [row for row in listed["rows"] if row[4:] == ["1", "1"]]
    assert [row[0] for row in shares] == [spelled(stock.ts_code) for stock in stocks]
    assert [row[1] for row in shares] == ["".join(stock.name.split()) for stock in stocks]
    assert [row[2].replace("-", "") for row in shares] == [stock.list_date for stock in stocks]
    assert {(row[4], row[5]) for row in listed["rows"]} > {("1", "0"), ("2", "1"), ("4", "1"), ("5", "1")}

    industries = await client("query_stock_industry")
    assert industries["fields"] == ["updateDate", "code", "code_name", "industry", "industryClassification"]
    known = {row[1]: row[3] for row in industries["rows"]}
    assert [known[spelled(stock.ts_code)] for stock in stocks] == [stock.industry or "" for stock in stocks]

    daily = await client("query_daily_history_k_AStock", TODAY.isoformat())
    assert daily["fields"] == DAILY_FIELDS
    rows = {row[1]: dict(zip(DAILY_FIELDS, row, strict=True)) for row in daily["rows"]}
    traded = {metrics.ts_code: metrics for metrics in simulator.market.metrics(TODAY)}
    assert rows.keys() == {"sh.000001", "sz.399001", *(spelled(stock.ts_code) for stock in stocks)}
    for stock in stocks:
        row = rows[spelled(stock.ts_code)]
        if stock.ts_code in traded:
            on_day(TODAY, stock, traded[stock.ts_code], row)
        else:
            assert (row["tradestatus"], row["turn"], row["volume"]) == ("0", "", "0")
            assert row["pbMRQ"]

    closed = await client("query_daily_history_k_AStock", "2026-04-12")
    assert (closed["code"], closed["rows"]) == ("0", [])
    assert (await client("logout"))["code"] == "0"
    assert (await client("login"))["code"] == "0"
    assert simulator.calls.of("baostock.query_daily") == 2


@needs_baostock
async def test_the_real_client_pages_through_a_long_list() -> None:
    async with (
        open_simulator(SimulatorOptions(size=4500, today=TODAY)) as simulator,
        running_client(address(simulator)) as client,
    ):
        await client("login")
        listed = await client("query_stock_basic")
        assert len(listed["rows"]) == len(covered(simulator)) + 12 > 4000
        assert len({row[0] for row in listed["rows"]}) == len(listed["rows"])
        assert simulator.calls.of("baostock.query_stock_basic") == 3
        days = await client("query_trade_dates", "2020-01-01", "2026-12-31")
        assert len(days["rows"]) == len(simulator.market.calendar)
        daily = await client("query_daily_history_k_AStock", TODAY.isoformat())
        assert len(daily["rows"]) == len(covered(simulator)) + 2
        assert simulator.calls.of("baostock.query_daily") == 1


@needs_baostock
async def test_the_real_client_hides_a_page_that_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second page's connection is reset: the client ends with 2000 rows and error code 0."""
    async with (
        open_simulator(SimulatorOptions(size=2500, today=TODAY)) as simulator,
        running_client(address(simulator)) as client,
    ):
        await client("login")
        faults = iter([None, Kind.RESET])
        monkeypatch.setattr(simulator.faults, "take", lambda *_: next(faults))
        listed = await client("query_stock_basic")
        assert (listed["code"], len(listed["rows"])) == ("0", 2000)


# ---- the real client, faults


@needs_baostock
async def test_what_the_real_client_makes_of_faults(simulator: Simulator, client: Client) -> None:
    async def suffer(fault: str, call: str = "query_stock_basic") -> dict[str, Any]:
        await client("login")
        simulator.faults.set(f"baostock.{call}", f"{fault}:1")
        names = {"query_daily": ("query_daily_history_k_AStock", TODAY.isoformat())}
        answer = await client(*names.get(call, (call,)))
        assert simulator.faults.get() == {}
        return answer

    for fault, code in {
        "banned": "10001011",
        "login_limit": "10001005",
        "bad_token": "10001002",
        "no_permission": "10001006",
        "not_logged_in": "10001001",
        "unknown_code": "10009999",
        "reset": "10002007",
    }.items():
        assert (await suffer(fault))["code"] == code, fault
        assert (await suffer(fault, "query_daily"))["code"] == code, fault
    assert (await suffer("empty"))["rows"] == []
    assert len((await suffer("ten_rows", "query_daily"))["rows"]) == 10
    assert len((await suffer("half"))["rows"]) == (len(covered(simulator)) + 12) // 2
    assert (await suffer("renamed"))["fields"][0] == "code_new"
    assert "peTTM" not in (await suffer("missing_column", "query_daily"))["fields"]
    assert (await suffer("wrong_types"))["rows"][0][1] == ["".join(covered(simulator)[0].name.split())]
    assert (await suffer("unpublished", "query_daily"))["rows"] == []
    assert len((await suffer("half_published", "query_daily"))["rows"]) == 10
    # A body cut short is a parsing error of the library; a compressed one it calls a network error.
    assert (await suffer("badframe"))["raised"] == "JSONDecodeError"
    assert (await suffer("badframe", "query_daily"))["code"] == "10002007"
    assert (await suffer("badframe", "login"))["raised"] == "IndexError"
    for fault in ("banned", "login_limit", "bad_token"):
        assert (await suffer(fault, "login"))["code"] != "0"


@needs_baostock
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads processor times as Linux has them")
@pytest.mark.parametrize("fault", ["truncated", "close", "html"])
async def test_the_real_client_spins_for_ever_when_the_server_closes(
    simulator: Simulator, client: Client, fault: str
) -> None:
    await client("login")
    simulator.faults.set("baostock.query_stock_basic", fault)
    before = client.cpu_seconds()
    client.start("query_stock_basic")
    await until(lambda: client.cpu_seconds() >= before + 0.5)
    assert client.process.returncode is None
    assert simulator.calls.of("baostock.query_stock_basic") == 1


@needs_baostock
@pytest.mark.parametrize("fault", ["hang", "drip"])
async def test_the_real_client_waits_for_ever(simulator: Simulator, client: Client, fault: str) -> None:
    await client("login")
    simulator.faults.set("baostock.query_daily", fault)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await client("query_daily_history_k_AStock", TODAY.isoformat())
    assert client.process.returncode is None
