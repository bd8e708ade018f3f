"""The stock lists of the three exchanges' own sites, as the akshare library asks for them.

Shanghai sends JSON, Shenzhen a workbook, Beijing JSON in a callback. Keys, columns and their order are the
real ones (Shanghai's order is unverified; its columns are read by name).
"""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from stocksync.simulator.market import DayMetrics, Market, Stock
from stocksync.simulator.tables import Row, Table
from stocksync.simulator.xlsx import workbook

Params = Mapping[str, str]

_SSE: Final = (
    "A_STOCK_CODE", "AREA_NAME_DESC", "B_STOCK_CODE", "COMPANY_ABBR", "COMPANY_ABBR_EN", "COMPANY_CODE",
    "CSRC_CODE", "CSRC_CODE_DESC", "DELIST_DATE", "FULL_NAME", "FULL_NAME_IN_ENGLISH", "LIST_BOARD",
    "LIST_DATE", "NUM", "PRODUCT_STATUS", "SEC_NAME_CN", "SEC_NAME_FULL", "STATE_CODE_STOCK", "STOCK_TYPE",
)  # fmt: skip
_SZSE: Final = (
    "板块", "公司全称", "英文名称", "注册地址", "A股代码", "A股简称", "A股上市日期", "A股总股本",
    "A股流通股本", "B股代码", "B股 简 称", "B股上市日期", "B股总股本", "B股流通股本", "地      区",
    "省    份", "城     市", "所属行业", "公司网址", "未盈利", "具有表决权差异安排", "具有协议控制架构",
)  # fmt: skip
_BSE: Final = (
    "fxssrq", "xxbldw", "xxbnsy", "xxcfgbz", "xxcqcx", "xxcyhbjq", "xxdqr", "xxdtjg", "xxdzdtjg", "xxdzztjg",
    "xxfcbj", "xxfxsgb", "xxghfl", "xxgprq", "xxgxsj", "xxhbzl", "xxhxcs", "xxhyzl", "xxisin", "xxjczq",
    "xxjgdw", "xxjsfl", "xxjsrq", "xxmbxl", "xxmgmz", "xxqtyw", "xxsbcs", "xxsldw", "xxsnsy", "xxssdq",
    "xxtpbz", "xxwltp", "xxxjxz", "xxyhsl", "xxywjc", "xxzbqs", "xxzgb", "xxzhbl", "xxzqdm", "xxzqjb",
    "xxzqjc", "xxzqqxr", "xxzrdw", "xxzrlx", "xxzrzt", "xxzsssl", "xxztjg", "xxzxsbsl",
)  # fmt: skip
_STAR_TYPE: Final = "8"
_BSE_PAGE: Final = 20
_WITH_B_SHARES: Final = 40
"""One A share in so many also has a B share, whose columns lie beside the A share's."""


def plain_code(digits: str, _suffix: str) -> str:
    """Spell a code as all these sites do: six digits and nothing else."""
    return digits


def shares(wan: float | None) -> int | None:
    """Turn 万股 into shares, or 万元 into yuan."""
    return None if wan is None else round(wan * 10_000)


def _latest(market: Market) -> dict[str, DayMetrics]:
    return {metrics.ts_code: metrics for metrics in market.metrics(market.latest_day)}


def sse_table(market: Market, params: Params) -> Table:
    """List Shanghai's main board (STOCK_TYPE 1) or STAR market (8)."""
    kind = params.get("STOCK_TYPE", "")
    wanted = [
        stock
        for stock in market.stocks
        if stock.exchange == "SSE" and (stock.symbol.startswith("68") == (kind == _STAR_TYPE))
    ]
    rows = [_sse_row(number, stock, kind) for number, stock in enumerate(wanted, start=1)]
    return Table(fields=_SSE, rows=rows, code="A_STOCK_CODE", vital="SEC_NAME_CN", spell=plain_code)


def _sse_row(number: int, stock: Stock, kind: str) -> Row:
    b_code = "-" if kind == _STAR_TYPE or number % _WITH_B_SHARES else f"900{number % 1000:03d}"
    return (
        *(stock.symbol, stock.area or "-", b_code, stock.name, "-", stock.symbol, "C", stock.industry or "-"),
        *("-", stock.name, "-", "2" if kind == _STAR_TYPE else "1", stock.list_date or "-", str(number)),
        *("L", stock.name, stock.name, "4", kind),
    )


def sse_page(table: Table, params: Params) -> bytes:
    """Write the whole list, twice, as the real one does."""
    rows = objects(table.fields, table.rows)
    size = int(params.get("pageHelp.pageSize") or 25)
    help_ = {
        "beginPage": 1, "cacheSize": 1, "data": rows, "endDate": None, "endPage": 1, "objectResult": None,
        "pageCount": math.ceil(len(rows) / size), "pageNo": 1, "pageSize": size, "searchDate": None,
        "sort": None, "startDate": None, "total": len(rows),
    }  # fmt: skip
    answer = {
        "actionErrors": [], "actionMessages": [], "errorMessages": [], "errors": {}, "fieldErrors": {},
        "isPagination": "true", "jsonCallBack": None, "locale": "zh_CN", "pageHelp": help_, "result": rows,
        "sqlId": params.get("sqlId", ""), "texts": None, "type": "inParams", "validateCode": "",
    }  # fmt: skip
    return dump(answer)


def szse_table(market: Market, _params: Params) -> Table:
    """List Shenzhen's A shares; shares with thousands separators, as texts."""
    latest = _latest(market)
    stocks = [stock for stock in market.stocks if stock.exchange == "SZSE"]
    rows = [_szse_row(n, stock, latest.get(stock.ts_code)) for n, stock in enumerate(stocks, start=1)]
    return Table(fields=_SZSE, rows=rows, code="A股代码", vital="A股简称", spell=plain_code)


def _szse_row(number: int, stock: Stock, day: DayMetrics | None) -> Row:
    b_share: Row = (None, None, None, "0", "0")
    if not number % _WITH_B_SHARES:
        b_share = (f"200{number % 1000:03d}", f"{stock.name}Ｂ", "1995-01-01", "1,000,000", "1,000,000")
    listed = stock.list_date or ""
    return (
        *(stock.board, stock.name, None, stock.area, stock.symbol, stock.name),
        f"{listed[:4]}-{listed[4:6]}-{listed[6:]}" if listed else None,
        *(_thousands(day.total_share if day else None), _thousands(day.float_share if day else None)),
        *b_share,
        *(stock.area, stock.area, stock.area, stock.industry and f"C {stock.industry}", None, "-", "-", "-"),
    )


def _thousands(wan: float | None) -> str | None:
    count = shares(wan)
    return None if count is None else f"{count:,}"


def szse_page(table: Table, _params: Params) -> bytes:
    """Write the workbook."""
    return workbook("A股列表", [table.fields, *table.rows])


def bse_table(market: Market, _params: Params) -> Table:
    """List Beijing's stocks."""
    latest = _latest(market)
    rows = [_bse_row(stock, latest.get(stock.ts_code)) for stock in market.stocks if stock.exchange == "BSE"]
    return Table(fields=_BSE, rows=rows, code="xxzqdm", vital="xxzqjc", spell=plain_code)


def _bse_row(stock: Stock, day: DayMetrics | None) -> Row:
    known = {
        "fxssrq": stock.list_date, "xxfcbj": "2", "xxhyzl": stock.industry, "xxssdq": stock.area,
        "xxfxsgb": shares(day.float_share if day else None),
        "xxzgb": shares(day.total_share if day else None),
        "xxzqdm": stock.symbol, "xxzqjb": "T", "xxzqjc": stock.name, "xxzrlx": "C", "xxzrzt": "N",
        "xxjsrq": "20260101", "xxisin": "CNE000000000", "xxbldw": 1, "xxmgmz": 1,
    }  # fmt: skip
    return tuple(known.get(field) for field in _BSE)


def bse_page(table: Table, params: Params) -> bytes:
    """Write one page of twenty in its callback."""
    number = int(params.get("page") or 0)
    rows = table.rows[number * _BSE_PAGE : (number + 1) * _BSE_PAGE]
    pages = math.ceil(len(table.rows) / _BSE_PAGE)
    answer = {
        "content": objects(table.fields, rows), "firstPage": number == 0, "lastPage": number >= pages - 1,
        "number": number, "numberOfElements": len(rows), "size": _BSE_PAGE, "sort": None,
        "totalElements": len(table.rows), "totalPages": pages,
    }  # fmt: skip
    return b"null(" + dump([answer]) + b")"


def objects(fields: Sequence[str], rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Make a JSON object of every row."""
    return [dict(zip(fields, row, strict=True)) for row in rows]


def dump(value: object) -> bytes:
    """Write compact JSON, Chinese unescaped."""
    # A lone surrogate has no UTF-8 form; escaped, as JSON allows, it reaches the client as what it is.
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace")
