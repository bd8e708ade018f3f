import asyncio
import csv
import json
import math
import os
import re
import time
from collections.abc import AsyncIterator
from datetime import date
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from stocksync.simulator import Simulator, SimulatorOptions, open_simulator, tushare
from stocksync.simulator.faults import FaultInvalid, Kind
from stocksync.simulator.http import BODY_LIMIT
from stocksync.simulator.made_up import MadeUpMarket
from stocksync.simulator.replay import DAILY_FILE, LIST_FILE, ReplayInvalid
from stocksync.simulator.tables import POISON_CODES
from stocksync.simulator.tushare_tables import APIS

TODAY = date(2026, 4, 15)
NEWEST, EARLIER = "20260415", "20260414"
SIZE = 300
TOKEN = SimulatorOptions().token
Json = dict[str, Any]


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with open_simulator(SimulatorOptions(size=SIZE, today=TODAY)) as running:
        yield running


@pytest.fixture
async def client(simulator: Simulator) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=simulator.base_url, trust_env=False, timeout=5) as opened:
        yield opened


def body(api: str, fields: str = "", token: str = TOKEN, **params: Any) -> Json:
    return {"api_name": api, "token": token, "params": params, "fields": fields}


async def call(client: httpx.AsyncClient, api: str, fields: str = "", **params: Any) -> Json:
    response = await client.post("/", json=body(api, fields, **params))
    response.raise_for_status()
    answer: Json = response.json()
    return answer


async def items(client: httpx.AsyncClient, api: str, fields: str = "", **params: Any) -> list[list[Any]]:
    answer = await call(client, api, fields, **params)
    assert answer["code"] == 0, answer["msg"]
    rows: list[list[Any]] = answer["data"]["items"]
    return rows


# ---- the shape of answers


async def test_an_answer_has_the_bytes_of_the_real_one(
    client: httpx.AsyncClient, simulator: Simulator
) -> None:
    stock = simulator.market.stocks[0]
    response = await client.post(
        "/", json=body("stock_basic", "ts_code,name,exchange", ts_code=stock.ts_code)
    )
    assert response.headers["content-type"] == "application/json"
    request_id = response.json()["request_id"]
    assert str(UUID(request_id)) == request_id
    assert response.content.decode() == (
        f'{{"request_id":"{request_id}","code":0,"data":{{"fields":["ts_code","name","exchange"],'
        f'"items":[["{stock.ts_code}","{stock.name}","{stock.exchange}"]],"has_more":false,"count":-1}},"msg":""}}'
    )


async def test_a_refusal_has_no_data(client: httpx.AsyncClient) -> None:
    response = await client.post("/", json=body("stock_basic", token=TOKEN[1:]))
    answer = response.json()
    del answer["request_id"]
    assert (response.status_code, answer) == (
        200,
        {"code": 40101, "msg": "您的token不对，请确认。", "data": None},
    )


@pytest.mark.parametrize("path", ["/stock_basic", "/dataapi/stock_basic", "/", "/dataapi"])
async def test_the_api_is_named_by_the_path_or_the_body(client: httpx.AsyncClient, path: str) -> None:
    response = await client.post(path, json=body("stock_basic"))
    assert len(response.json()["data"]["items"]) == SIZE


async def test_the_path_goes_before_the_body(client: httpx.AsyncClient) -> None:
    response = await client.post("/stock_basic", json=body("nonsense"))
    assert response.json()["code"] == 0


async def test_fields_come_in_the_order_asked_and_unknown_ones_not_at_all(client: httpx.AsyncClient) -> None:
    answer = await call(client, "stock_basic", " name, no_such_field,ts_code ,list_date")
    assert answer["data"]["fields"] == ["name", "ts_code", "list_date"]
    default = await call(client, "stock_basic")
    assert default["data"]["fields"][:5] == ["ts_code", "symbol", "name", "area", "industry"]
    assert "exchange" not in default["data"]["fields"]


async def test_the_list_says_what_the_market_says(client: httpx.AsyncClient, simulator: Simulator) -> None:
    fields = "ts_code,symbol,name,area,industry,market,exchange,list_date,is_hs"
    expected = [
        [s.ts_code, s.symbol, s.name, s.area, s.industry, s.board, s.exchange, s.list_date, s.is_hs]
        for s in simulator.market.stocks
    ]
    assert await items(client, "stock_basic", fields) == expected
    assert await items(client, "stock_basic", fields, list_status="L") == expected
    assert await items(client, "stock_basic", fields, list_status="D") == []
    beijing = await items(client, "stock_basic", "ts_code", exchange="BSE")
    assert 0 < len(beijing) < SIZE
    assert all(code.endswith(".BJ") for (code,) in beijing)


async def test_the_calendar_is_newest_first_with_the_open_day_before(client: httpx.AsyncClient) -> None:
    answer = await call(client, "trade_cal", exchange="SSE", start_date="20260410", end_date="20260414")
    assert answer["data"]["fields"] == ["exchange", "cal_date", "is_open", "pretrade_date"]
    assert answer["data"]["items"] == [
        ["SSE", "20260414", 1, "20260413"],
        ["SSE", "20260413", 1, "20260410"],
        ["SSE", "20260412", 0, "20260410"],
        ["SSE", "20260411", 0, "20260410"],
        ["SSE", "20260410", 1, "20260409"],
    ]
    only_open = await items(
        client, "trade_cal", "cal_date", start_date="20260410", end_date="20260414", is_open="1"
    )
    assert only_open == [["20260414"], ["20260413"], ["20260410"]]
    assert (await items(client, "trade_cal"))[0][1] == "20261231"
    assert await items(client, "trade_cal", exchange="LSE") == []


async def test_daily_figures_are_the_markets(client: httpx.AsyncClient, simulator: Simulator) -> None:
    answer = await call(client, "daily_basic", trade_date=NEWEST)
    rows = simulator.market.metrics(TODAY)
    assert answer["data"]["items"] == [[row[0], NEWEST, *row[1:]] for row in rows]
    assert answer["data"]["fields"] == ["ts_code", "trade_date", *rows[0]._fields[1:]]
    pe = await items(client, "daily_basic", "pe", trade_date=NEWEST)
    assert [None] in pe


async def test_figures_move_from_day_to_day(client: httpx.AsyncClient) -> None:
    today, before = [
        dict(await items(client, "daily_basic", "ts_code,total_mv", trade_date=day))
        for day in (NEWEST, EARLIER)
    ]
    assert sum(today[code] != before.get(code) for code in today) > 0.9 * len(today)


@pytest.mark.parametrize("day", ["20260412", "20260416"])
async def test_closed_and_future_days_are_empty(client: httpx.AsyncClient, day: str) -> None:
    answer = await call(client, "daily_basic", "ts_code", trade_date=day)
    assert answer["data"] == {"fields": ["ts_code"], "items": [], "has_more": False, "count": -1}


async def test_a_stocks_days_come_newest_first(client: httpx.AsyncClient, simulator: Simulator) -> None:
    code = simulator.market.metrics(TODAY)[0].ts_code
    rows = await items(
        client, "daily_basic", "ts_code,trade_date", ts_code=code, start_date="20260410", end_date="20260430"
    )
    assert [day for _, day in rows] == ["20260415", "20260414", "20260413", "20260410"]
    assert {name for name, _ in rows} == {code}
    assert len(await items(client, "daily_basic", "trade_date", ts_code=code)) == 30


async def test_roe_needs_a_period_and_points(client: httpx.AsyncClient, simulator: Simulator) -> None:
    rows = await items(client, "fina_indicator_vip", "ts_code,end_date,roe", period="20250930")
    expected = simulator.market.roe(date(2025, 9, 30))
    assert rows == [[code, "20250930", roe] for code, roe in expected.items()]
    assert await items(client, "fina_indicator_vip", "ts_code", period="20250929") == []
    poor = SimulatorOptions(size=5, today=TODAY, points=4999)
    async with (
        open_simulator(poor) as other,
        httpx.AsyncClient(base_url=other.base_url, trust_env=False) as asking,
    ):
        answer = await call(asking, "fina_indicator_vip", period="20250930")
        assert (answer["code"], answer["data"]) == (40203, None)
        assert re.search(r"没有接口.*访问权限", answer["msg"])
        assert len(await items(asking, "stock_basic")) == 5


@pytest.mark.parametrize(
    ("api", "params"),
    [
        ("daily_basic", {"trade_date": "2026-04-15"}),
        ("daily_basic", {}),
        ("fina_indicator_vip", {}),
        ("trade_cal", {"start_date": "yesterday"}),
        ("stock_basic", {"limit": -1}),
        ("stock_basic", {"offset": "9" * 5000}),
    ],
)
async def test_a_senseless_parameter_is_refused(client: httpx.AsyncClient, api: str, params: Json) -> None:
    answer = await call(client, api, **params)
    assert answer["code"] == -1
    assert "参数校验失败" in answer["msg"]


async def test_an_unknown_api_is_refused(client: httpx.AsyncClient, simulator: Simulator) -> None:
    answer = await call(client, "no_such_api")
    assert (answer["code"], answer["msg"], answer["data"]) == (-1, "请指定正确的接口名", None)
    assert simulator.calls.get() == {"tushare.unknown": 1}


# ---- paging and size


async def test_pages_add_up_to_the_whole(client: httpx.AsyncClient) -> None:
    whole = await items(client, "daily_basic", "ts_code", trade_date=NEWEST)
    pages: list[list[Any]] = []
    more = True
    while more:
        answer = await call(client, "daily_basic", "ts_code", trade_date=NEWEST, limit=120, offset=len(pages))
        pages += answer["data"]["items"]
        more = answer["data"]["has_more"]
    assert pages == whole
    assert len(whole) == 299
    exact = await call(client, "daily_basic", "ts_code", trade_date=NEWEST, limit="100", offset="199")
    assert (len(exact["data"]["items"]), exact["data"]["has_more"]) == (100, False)


async def test_a_call_never_holds_more_than_6000_rows() -> None:
    market = MadeUpMarket(size=5, today=TODAY)
    table = APIS["trade_cal"].table(market, {})
    assert len(table.rows) == 2557
    many = tushare._encode(
        table.__class__(fields=("n",), rows=[(n,) for n in range(6001)], code=None, vital="n"), 0, 6000
    )
    answer = json.loads(many)
    assert (len(answer["items"]), answer["items"][-1], answer["has_more"]) == (6000, [5999], True)


async def test_a_whole_market_is_served_quickly_and_from_memory_the_second_time() -> None:
    async with (
        open_simulator(SimulatorOptions(today=TODAY)) as simulator,
        httpx.AsyncClient(base_url=simulator.base_url, trust_env=False) as client,
    ):
        seconds = []
        for _ in range(3):
            begin = time.perf_counter()
            response = await client.post("/", json=body("daily_basic", trade_date=NEWEST, limit=9999))
            seconds.append(time.perf_counter() - begin)
            assert len(response.content) > 500_000
        assert len(await items(client, "daily_basic", trade_date=NEWEST)) == 5439
        assert seconds[0] < 1
        assert min(seconds[1:]) < 0.05
        table = APIS["daily_basic"].table(simulator.market, {"trade_date": NEWEST})
        encodings = []
        for _ in range(5):
            begin = time.perf_counter()
            tushare._encode(table, 0, 6000)
            encodings.append(time.perf_counter() - begin)
        assert min(encodings) < 0.05


async def test_two_simulators_with_one_seed_answer_alike(
    simulator: Simulator, client: httpx.AsyncClient
) -> None:
    for seed, alike in ((1, True), (2, False)):
        options = SimulatorOptions(size=SIZE, today=TODAY, seed=seed)
        async with (
            open_simulator(options) as other,
            httpx.AsyncClient(base_url=other.base_url, trust_env=False) as asking,
        ):
            assert other.base_url != simulator.base_url
            for api, params in (("stock_basic", {}), ("daily_basic", {"trade_date": NEWEST})):
                same = await items(asking, api, **params) == await items(client, api, **params)
                assert same is alike


# ---- HTTP


@pytest.mark.parametrize(
    ("method", "path", "content", "status"),
    [
        ("GET", "/", b"", 405),
        ("HEAD", "/stock_basic", b"", 405),
        ("PUT", "/", b"{}", 405),
        ("POST", "/some/where/else", b"{}", 404),
        ("POST", "/", b"no json", 400),
        ("POST", "/", b"[1]", 400),
        ("POST", "/", b"[" * 100_000, 400),
        ("POST", "/", b"", 400),
        ("POST", "/", b"x" * (BODY_LIMIT + 1), 413),
    ],
)
async def test_what_is_no_call_is_an_http_error(
    client: httpx.AsyncClient, simulator: Simulator, *, method: str, path: str, content: bytes, status: int
) -> None:
    response = await client.request(method, path, content=content)
    assert response.status_code == status
    assert simulator.calls.get() == {}
    assert len(await items(client, "stock_basic")) == SIZE


async def speak(simulator: Simulator, *parts: bytes) -> bytes:
    """Send bytes as they are and read to the end of the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(simulator.base_url.rpartition(":")[2]))
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
        async with asyncio.timeout(3):
            return await reader.read()
    finally:
        writer.close()


def raw(api: str, **params: Any) -> bytes:
    content = json.dumps(body(api, "", **params)).encode()
    return b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n" % len(content) + b"%s\r\n" + content


async def test_a_connection_serves_several_requests(simulator: Simulator) -> None:
    keep, close = raw("trade_cal") % b"", raw("trade_cal") % b"connection: close\r\n"
    answer = await speak(simulator, keep, keep + close)
    assert answer.count(b"HTTP/1.1 200 OK\r\n") == 3
    assert simulator.calls.of("tushare.trade_cal") == 3


async def test_a_client_that_waits_for_100_continue_gets_it(simulator: Simulator) -> None:
    head, _, content = (raw("trade_cal") % b"expect: 100-continue\r\nconnection: close\r\n").partition(
        b"\r\n\r\n"
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", int(simulator.base_url.rpartition(":")[2]))
    writer.write(head + b"\r\n\r\n")
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
    writer.write(content)
    assert (await reader.read()).startswith(b"HTTP/1.1 200 OK\r\n")
    writer.close()


async def test_what_is_not_http_is_refused(simulator: Simulator) -> None:
    assert (await speak(simulator, b"\x00\x01 nonsense\r\n\r\n")).startswith(b"HTTP/1.1 400 ")


async def test_it_listens_on_this_machine_only() -> None:
    with pytest.raises(ValueError, match=r"this machine only, not 0\.0\.0\.0"):
        async with open_simulator(SimulatorOptions(host="0.0.0.0", size=5)):  # noqa: S104 - that is the point
            pytest.fail("opened")


# ---- faults on the wire


async def fails_with(client: httpx.AsyncClient, error: type[Exception], seconds: float = 5) -> None:
    with pytest.raises(error):
        await client.post("/", json=body("daily_basic", trade_date=NEWEST), timeout=seconds)


async def collect(
    client: httpx.AsyncClient,
    got: bytearray,
    *,
    read_timeout: float = 5,
    headers: httpx.Headers | None = None,
) -> None:
    """Read an answer into `got`, so that what came before an error can be seen."""
    content = body("daily_basic", trade_date=NEWEST)
    async with client.stream("POST", "/", json=content, timeout=read_timeout) as response:
        assert response.status_code == 200
        assert headers is None or response.headers == headers
        async for part in response.aiter_bytes():
            got += part


async def daily(client: httpx.AsyncClient) -> list[list[Any]]:
    return await items(client, "daily_basic", "ts_code,total_mv,pe", trade_date=NEWEST)


@pytest.mark.parametrize("status", [400, 403, 404, 429, 500, 502, 503])
async def test_fault_http_status(client: httpx.AsyncClient, simulator: Simulator, status: int) -> None:
    simulator.faults.set("tushare.daily_basic", f"http{status}")
    response = await client.post("/", json=body("daily_basic", trade_date=NEWEST))
    assert response.status_code == status
    assert response.text.startswith("<html>")
    assert await items(client, "trade_cal")


async def test_fault_hang(client: httpx.AsyncClient, simulator: Simulator) -> None:
    simulator.faults.set("tushare.*", "hang")
    await fails_with(client, httpx.ReadTimeout, seconds=0.3)
    assert simulator.calls.of("tushare.daily_basic") == 1


async def test_fault_reset(client: httpx.AsyncClient, simulator: Simulator) -> None:
    simulator.faults.set("tushare.*", "reset")
    await fails_with(client, httpx.ReadError)
    with pytest.raises(ConnectionResetError):
        await speak(simulator, raw("trade_cal") % b"")


async def test_fault_close(client: httpx.AsyncClient, simulator: Simulator) -> None:
    simulator.faults.set("tushare.*", "close")
    await fails_with(client, httpx.RemoteProtocolError)
    assert await speak(simulator, raw("trade_cal") % b"") == b""


async def test_fault_drip(client: httpx.AsyncClient, simulator: Simulator) -> None:
    simulator.faults.set("tushare.*", "drip")
    got = bytearray()
    with pytest.raises(TimeoutError):  # ours: the client's read time-out of half a second never fires
        await asyncio.wait_for(collect(client, got, read_timeout=0.5), 1.3)
    assert 3 <= len(got) <= 10
    assert b'{"request_id'.startswith(got[:12])


async def test_fault_truncated(client: httpx.AsyncClient, simulator: Simulator) -> None:
    whole = await client.post("/", json=body("daily_basic", trade_date=NEWEST))
    simulator.faults.set("tushare.*", "truncated")
    got = bytearray()
    with pytest.raises(httpx.RemoteProtocolError):
        await collect(client, got, headers=whole.headers)
    assert len(got) == len(whole.content) // 2
    assert got[60:] == whole.content[60 : len(got)]


@pytest.mark.parametrize(("kind", "content_type"), [("badjson", "application/json"), ("html", "text/html")])
async def test_fault_no_json(
    client: httpx.AsyncClient, simulator: Simulator, kind: str, content_type: str
) -> None:
    simulator.faults.set("tushare.daily_basic", kind)
    response = await client.post("/", json=body("daily_basic", trade_date=NEWEST))
    assert (response.status_code, response.headers["content-type"]) == (200, content_type)
    with pytest.raises(json.JSONDecodeError):
        response.json()


@pytest.mark.parametrize(("kind", "rows"), [("empty", 0), ("ten_rows", 10), ("half", 149)])
async def test_fault_fewer_rows(
    client: httpx.AsyncClient, simulator: Simulator, kind: str, rows: int
) -> None:
    whole = await daily(client)
    simulator.faults.set("tushare.daily_basic", kind)
    answer = await call(client, "daily_basic", "ts_code,total_mv,pe", trade_date=NEWEST)
    assert answer["data"]["items"] == whole[:rows]
    assert (answer["code"], answer["data"]["has_more"]) == (0, False)


@pytest.mark.parametrize(
    ("kind", "fields"),
    [("renamed", ["ts_code_new", "total_mv_new", "pe_new"]), ("missing_column", ["ts_code", "pe"])],
)
async def test_fault_columns(
    client: httpx.AsyncClient, simulator: Simulator, kind: str, fields: list[str]
) -> None:
    simulator.faults.set("tushare.daily_basic", kind)
    answer = await call(client, "daily_basic", "ts_code,total_mv,pe", trade_date=NEWEST)
    assert answer["data"]["fields"] == fields
    assert {len(row) for row in answer["data"]["items"]} == {len(fields)}


async def test_fault_wrong_types(client: httpx.AsyncClient, simulator: Simulator) -> None:
    good = await daily(client)
    simulator.faults.set("tushare.daily_basic", "wrong_types")
    bad = await daily(client)
    assert [row[0] for row in bad] == [row[0] for row in good]
    assert {row[1] for row in bad} == {"abc"}
    assert [row[2] for row in bad if isinstance(row[2], dict)] == [
        {"value": row[2]} for row in good if row[2]
    ]


async def test_fault_nan(client: httpx.AsyncClient, simulator: Simulator) -> None:
    simulator.faults.set("tushare.daily_basic", "nan")
    response = await client.post("/", json=body("daily_basic", "ts_code,total_mv", trade_date=NEWEST))
    assert b",NaN]" in response.content
    rows = response.json()["data"]["items"]
    assert sum(math.isnan(row[1]) for row in rows) == 100


async def test_fault_poison(client: httpx.AsyncClient, simulator: Simulator) -> None:
    good = await items(client, "stock_basic", "ts_code,symbol,name")
    simulator.faults.set("tushare.stock_basic", "poison")
    response = await client.post("/", json=body("stock_basic", "ts_code,symbol,name"))
    assert rb"\ud800" in response.content
    bad = response.json()["data"]["items"]
    for row in good:
        bad.remove(row)
    codes = [f"{code}.SH" for code in POISON_CODES] + ["999999.SH", "900999.SH", good[0][0]]
    assert [row[0] for row in bad] == codes
    assert [row[2] for row in bad] == [
        "毒\x00药",
        2**70,
        None,
        "毒\ud800药",
        "长" * 10_000,
        *[good[0][2]] * 3,
    ]


async def test_fault_no_exchange_bj(client: httpx.AsyncClient, simulator: Simulator) -> None:
    good = await items(client, "stock_basic", "ts_code")
    simulator.faults.set("tushare.stock_basic", "no_exchange_bj")
    left = await items(client, "stock_basic", "ts_code")
    assert left == [row for row in good if not row[0].endswith(".BJ")]
    assert len(left) < len(good)


@pytest.mark.parametrize(("kind", "rows"), [("unpublished", 0), ("half_published", 10)])
async def test_fault_newest_day_only(
    client: httpx.AsyncClient, simulator: Simulator, kind: str, rows: int
) -> None:
    simulator.faults.set("tushare.*", kind)
    assert len(await items(client, "daily_basic", trade_date=NEWEST)) == rows
    assert len(await items(client, "daily_basic", trade_date=EARLIER)) > 290
    assert len(await items(client, "stock_basic")) == SIZE


@pytest.mark.parametrize(
    ("kind", "code", "text"),
    [
        ("bad_token", 40101, r"您的token不对，请确认。"),
        ("no_permission", 40203, r"没有接口\(daily_basic\)访问权限"),
        ("minute_limit", 40203, r"每分钟最多访问该接口\d+次"),
        ("hour_limit", 40203, r"每小时最多访问该接口\d+次"),
        ("day_limit", 40203, r"每天最多访问该接口\d+次"),
        ("unknown_code", 50101, r"."),
    ],
)
async def test_fault_refusal(
    client: httpx.AsyncClient, simulator: Simulator, kind: str, code: int, text: str
) -> None:
    simulator.faults.set("tushare.daily_basic", kind)
    answer = await call(client, "daily_basic", trade_date=NEWEST)
    assert (answer["code"], answer["data"]) == (code, None)
    assert re.search(text, answer["msg"])


def test_every_kind_of_fault_is_tried_somewhere() -> None:
    folder = Path(__file__).parents[1]
    tests = "".join(path.read_text(encoding="utf-8") for path in folder.rglob("test_*.py"))
    tried = {kind for kind in Kind if f'"{kind}"' in tests}
    assert tried | {kind for kind in Kind if kind.startswith("http")} == set(Kind)


async def test_a_counted_fault_heals_and_every_call_is_counted(
    client: httpx.AsyncClient, simulator: Simulator
) -> None:
    simulator.faults.set("tushare.daily_basic", "http502:2")
    statuses = [
        (await client.post("/daily_basic", json=body("daily_basic", trade_date=NEWEST))).status_code
        for _ in range(3)
    ]
    assert statuses == [502, 502, 200]
    assert simulator.calls.of("tushare.daily_basic") == 3
    assert simulator.faults.get() == {}


async def test_faults_can_be_there_from_the_start() -> None:
    options = SimulatorOptions(size=5, today=TODAY, faults=("tushare.trade_cal=empty", "tushare.*=http503:1"))
    async with (
        open_simulator(options) as simulator,
        httpx.AsyncClient(base_url=simulator.base_url, trust_env=False) as client,
    ):
        assert await items(client, "trade_cal") == []
        assert (await client.post("/", json=body("stock_basic"))).status_code == 503
        assert len(await items(client, "stock_basic")) == 5


async def test_what_cannot_be_simulated_is_refused_before_anything_listens(tmp_path: Path) -> None:
    for options, error in (
        (SimulatorOptions(faults=("tushare.stock_basics=hang",)), FaultInvalid),
        (SimulatorOptions(pace="slow"), ValueError),
        (SimulatorOptions(replay=tmp_path), ReplayInvalid),
    ):
        with pytest.raises(error):
            async with open_simulator(options):
                pytest.fail("opened")


async def test_stalled_connections_do_not_hold_up_the_end() -> None:
    async with httpx.AsyncClient(trust_env=False, timeout=5) as client:
        async with open_simulator(SimulatorOptions(size=SIZE, today=TODAY)) as simulator:
            simulator.faults.read(["tushare.stock_basic=hang", "tushare.trade_cal=drip"])
            stalled = [
                asyncio.create_task(client.post(simulator.base_url, json=body(api)))
                for api in ("stock_basic", "trade_cal") * 5
            ]
            idle = await asyncio.open_connection("127.0.0.1", int(simulator.base_url.rpartition(":")[2]))
            async with asyncio.timeout(3):
                while sum(simulator.calls.get().values()) < len(stalled):  # noqa: ASYNC110 - nothing to await
                    await asyncio.sleep(0.01)
            begin = time.perf_counter()
        assert time.perf_counter() - begin < 0.5
        outcomes = await asyncio.gather(*stalled, return_exceptions=True)
        assert all(isinstance(outcome, httpx.TransportError) for outcome in outcomes)
        idle[1].close()
        with pytest.raises(httpx.ConnectError):
            await client.post(simulator.base_url, json=body("stock_basic"))


# ---- control, pace, settings


async def test_faults_are_controlled_over_http(client: httpx.AsyncClient) -> None:
    assert (await client.get("/_control/faults")).json() == {}
    wanted = {"tushare.daily_basic": "http502:2", "tushare.*": "empty"}
    assert (await client.put("/_control/faults", json=wanted)).json() == wanted
    assert await items(client, "stock_basic") == []
    assert (await client.put("/_control/faults", json={"tushare.*": "ten_rows"})).json() == {
        "tushare.daily_basic": "http502:2",
        "tushare.*": "ten_rows",
    }
    assert (await client.delete("/_control/faults")).json() == {}
    assert len(await items(client, "stock_basic")) == SIZE


async def test_the_market_is_moved_over_http_and_its_answers_with_it(client: httpx.AsyncClient) -> None:
    (first, _), (second, _), *_ = await items(client, "stock_basic", "ts_code,name")
    wanted = {first[:6]: "rename:某股份", second[:6]: "delist"}
    assert (await client.put("/_control/market", json=wanted)).json() == wanted
    assert (await client.get("/_control/market")).json() == wanted
    listed = await items(client, "stock_basic", "ts_code,name")
    assert len(listed) == SIZE - 1
    assert listed[0] == [first, "某股份"]
    assert (await client.delete("/_control/market")).json() == {}
    assert len(await items(client, "stock_basic")) == SIZE


async def test_calls_are_read_and_reset_over_http(client: httpx.AsyncClient) -> None:
    await items(client, "stock_basic")
    await items(client, "trade_cal")
    await items(client, "trade_cal")
    counted = (await client.get("/_control/calls")).json()
    assert counted == {"tushare.stock_basic": 1, "tushare.trade_cal": 2}
    assert (await client.delete("/_control/calls")).json() == {}
    assert (await client.get("/_control/calls")).json() == {}


@pytest.mark.parametrize(
    ("method", "path", "content", "status"),
    [
        ("PUT", "/_control/faults", b'{"tushare.daily_basic": "http999"}', 400),
        ("PUT", "/_control/faults", b'{"tushare.*": "hang", "tushare.nothing": "hang"}', 400),
        ("PUT", "/_control/faults", b'{"tushare.*": 1}', 400),
        ("PUT", "/_control/faults", b"[]", 400),
        ("PUT", "/_control/faults", b"tushare.*=hang", 400),
        ("POST", "/_control/faults", b"{}", 405),
        ("PUT", "/_control/market", b'{"600000": "explode"}', 400),
        ("PUT", "/_control/market", b"[]", 400),
        ("POST", "/_control/market", b"{}", 405),
        ("PUT", "/_control/calls", b"{}", 405),
        ("GET", "/_control/nothing", b"", 404),
    ],
)
async def test_senseless_control_is_refused_and_changes_nothing(
    client: httpx.AsyncClient, simulator: Simulator, *, method: str, path: str, content: bytes, status: int
) -> None:
    response = await client.request(method, path, content=content)
    assert response.status_code == status
    assert response.json()["error"]
    assert simulator.faults.get() == {}


async def test_the_settings_lead_to_it(simulator: Simulator) -> None:
    expected = {
        "STOCKSYNC_TUSHARE_URL": simulator.base_url,
        "STOCKSYNC_TUSHARE_TOKEN": "simulated-token",
        "STOCKSYNC_AS_OF": TODAY.isoformat(),  # the market of these tests stands still
    }
    assert expected.items() <= simulator.settings.items()
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+", simulator.base_url)


async def test_the_realistic_pace_takes_its_time() -> None:
    async with (
        open_simulator(SimulatorOptions(size=5, today=TODAY, pace="realistic")) as simulator,
        httpx.AsyncClient(base_url=simulator.base_url, trust_env=False) as client,
    ):
        begin = time.perf_counter()
        await items(client, "trade_cal")
        assert time.perf_counter() - begin >= 0.3


# ---- replay of the real dumps


@pytest.fixture
def dumps() -> Path:
    default = Path(__file__).parents[3] / "shared" / "data"
    folder = Path(os.environ.get("STOCKSYNC_TEST_DATA", default))
    if not (folder / DAILY_FILE).is_file():
        pytest.skip(f"no dumps of the real market in {folder} (set STOCKSYNC_TEST_DATA)")
    return folder


def read_dump(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


async def test_a_replay_sends_the_dumps_to_the_byte(dumps: Path) -> None:
    async with (
        open_simulator(SimulatorOptions(replay=dumps)) as simulator,
        httpx.AsyncClient(base_url=simulator.base_url, trust_env=False) as client,
    ):
        response = await client.post("/", json=body("daily_basic", trade_date=NEWEST))
        data = json.loads(response.content, parse_float=str)["data"]
        sent = {row[0]: dict(zip(data["fields"], row, strict=True)) for row in data["items"]}
        rows = {row["ts_code"]: row for row in read_dump(dumps / DAILY_FILE)}
        suspended = set(rows) - set(sent)
        assert len(suspended) == 11
        assert all(rows[code]["total_mv"] == "0.0" for code in suspended)
        for code, values in sent.items():
            for field, value in values.items():
                text = rows[code][field]
                assert value == (None if text == "0.0" else text)
        assert sum(values["pe"] is None for values in sent.values()) == 1354 - 11


async def test_a_replay_lists_the_real_market_with_boards(dumps: Path) -> None:
    async with (
        open_simulator(SimulatorOptions(replay=dumps)) as simulator,
        httpx.AsyncClient(base_url=simulator.base_url, trust_env=False) as client,
    ):
        listed = await items(client, "stock_basic", "ts_code,name,market,exchange,list_date,area")
        dump = {row["ts_code"]: row for row in read_dump(dumps / LIST_FILE)}
        assert [row[:2] for row in sorted(listed)] == sorted(
            [code, row["name"]] for code, row in dump.items()
        )
        assert {row[2] for row in listed} == {"主板", "创业板", "科创板", "北交所"}
        assert {row[3] for row in listed} == {"SSE", "SZSE", "BSE"}
        assert all(row[4] == dump[row[0]]["list_date"].replace("-", "") for row in listed)
        calendar = await items(client, "trade_cal", start_date="20260410")
        assert calendar[0] == ["SSE", "20260415", 1, "20260414"]
        assert await items(client, "fina_indicator_vip", period="20251231") == []
