"""The four tables of BaoStock that stocksync asks for, made from a market. Every value is a text, "" unknown.

BaoStock knows Shanghai and Shenzhen. Its list also holds what is no listed A share: indices that share digits
with stocks, delisted stocks, convertible bonds, funds. Prices carry ten decimals, ratios and percents six.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

from stocksync.domain.calendar import compact
from stocksync.simulator.market import DayMetrics, Market, Stock
from stocksync.simulator.tables import Row, Table

_STOCK_BASIC: Final = ("code", "code_name", "ipoDate", "outDate", "type", "status")
_INDUSTRY: Final = ("updateDate", "code", "code_name", "industry", "industryClassification")
_TRADE_DATES: Final = ("calendar_date", "is_trading_day")
_DAILY: Final = (
    "date", "code", "open", "high", "low", "close", "preclose", "volume", "amount", "adjustflag", "turn",
    "tradestatus", "pctChg", "peTTM", "pbMRQ", "psTTM", "pcfNcfTTM", "isST",
)  # fmt: skip

_NO_STOCKS: Final = (
    ("sh.000001", "上证综合指数", "1991-07-15", "", "2", "1"),
    ("sh.000002", "上证A股指数", "1992-02-21", "", "2", "1"),
    ("sz.399001", "深证成份指数", "1995-01-23", "", "2", "1"),
    ("sh.000973", "虚技术领先", "2011-01-04", "2018-02-05", "2", "0"),
    ("sh.113991", "虚岚转债", "2021-07-01", "", "4", "1"),
    ("sz.123991", "幻璃转债", "2019-03-08", "2022-05-06", "4", "0"),
    ("sh.510991", "拟五十ETF", "2012-05-28", "", "5", "1"),
    ("sz.159991", "臆创业ETF", "2011-12-09", "", "5", "1"),
)
"""Indices (2), convertible bonds (4) and funds (5); two of them are gone."""

_DELISTED_PREFIXES: Final = ("600", "000", "002", "300")
_WALK_BACK: Final = 6
"""Open days looked at for the last figures of a suspended stock: its suspension lasts a week."""

_SHARES_PER_WAN: Final = 10_000


class ParameterInvalid(ValueError):
    """A parameter that the upstream refuses; carries its error code and text."""

    def __init__(self, code: str, text: str) -> None:
        """Keep the code beside the text."""
        super().__init__(text)
        self.code = code
        self.text = text


@dataclass(frozen=True, slots=True)
class Api:
    """One call: its answer's type, how many arguments it takes, its table, whether it comes in pages."""

    call: str
    answer: str
    arguments: int
    table: Callable[[Market, Sequence[str]], Table]
    paged: bool = True


def prefixed(digits: str, suffix: str) -> str:
    """Spell a code as BaoStock does: "600000", "SH" → "sh.600000"."""
    return f"{suffix.lower()}.{digits}"


def iso(text: str | None) -> str:
    """Write "YYYYMMDD" with dashes; "" for None."""
    return f"{text[:4]}-{text[4:6]}-{text[6:]}" if text else ""


def _code(ts_code: str) -> str:
    return prefixed(ts_code[:6], ts_code[7:])


def _covered(market: Market) -> Iterator[Stock]:
    return (stock for stock in market.stocks if stock.exchange in {"SSE", "SZSE"})


def _delisted(market: Market) -> Iterator[tuple[str, str]]:
    """Give codes and names of stocks that are gone; each code is one that nobody carries now."""
    taken = {stock.symbol for stock in market.stocks}
    for prefix in _DELISTED_PREFIXES:
        digits = next(free for n in range(999, 0, -1) if (free := f"{prefix}{n:03d}") not in taken)
        yield prefixed(digits, "SH" if prefix == "600" else "SZ"), f"退市{prefix}"


def _stock_basic(market: Market, arguments: Sequence[str]) -> Table:
    wanted, name = arguments
    rows: list[Row] = [
        (_code(stock.ts_code), stock.name, iso(stock.list_date), "", "1", "1") for stock in _covered(market)
    ]
    # Behind the stocks, so that faults which take the first rows or copy the first one hit a stock.
    rows += [(code, title, "2001-03-01", "2016-05-27", "1", "0") for code, title in _delisted(market)]
    rows += _NO_STOCKS
    rows = [row for row in rows if wanted in {"", row[0]} and name in str(row[1])]
    return Table(fields=_STOCK_BASIC, rows=rows, code="code", vital="code_name", spell=prefixed)


def _stock_industry(market: Market, arguments: Sequence[str]) -> Table:
    wanted, day = arguments
    latest = _day(day, "10004010", "日期格式不正确") if day else market.latest_day
    updated = (latest - timedelta(days=latest.weekday())).isoformat()
    known = [(_code(stock.ts_code), stock.name, stock.industry or "") for stock in _covered(market)]
    known += [(code, title, "") for code, title in _delisted(market)]
    rows: list[Row] = [(updated, *row, "证监会行业分类") for row in known if wanted in {"", row[0]}]
    return Table(fields=_INDUSTRY, rows=rows, code="code", vital="industry", spell=prefixed)


def _trade_dates(market: Market, arguments: Sequence[str]) -> Table:
    start = _day(arguments[0], "10004007", "起始日期格式不正确")
    end = _day(arguments[1], "10004008", "截止日期格式不正确")
    if start > end:
        raise ParameterInvalid("10004009", "起始日期大于终止日期")
    rows: list[Row] = [
        (entry.day.isoformat(), str(int(entry.is_open)))
        for entry in market.calendar
        if start <= entry.day <= end
    ]
    return Table(fields=_TRADE_DATES, rows=rows, code=None, vital="is_trading_day")


def _day(text: str, code: str, complaint: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ParameterInvalid(code, complaint) from None


def _daily(market: Market, arguments: Sequence[str]) -> Table:
    day = _day(arguments[0], "10004010", "日期格式不正确")
    rows: list[Row] = list(_trading(market, day)) if market.metrics(day) else []
    return Table(fields=_DAILY, rows=rows, code="code", vital="peTTM", spell=prefixed)


def _trading(market: Market, day: date) -> Iterator[Row]:
    """Write one row a listed stock, traded or suspended, and two indices that nobody asked for."""
    today = {metrics.ts_code: metrics for metrics in market.metrics(day)}
    listed = [stock for stock in _covered(market) if (stock.list_date or "") <= compact(day)]
    before = _last_figures(market, day, {stock.ts_code for stock in listed} - today.keys())
    for stock in listed:
        yield _row(stock, day, today.get(stock.ts_code), before.get(stock.ts_code))
    for code in ("sh.000001", "sz.399001"):
        yield (day.isoformat(), code, *[""] * 4, "", "0", "0.0000", "3", "", "1", *[""] * 5, "0")


def _last_figures(market: Market, day: date, missing: set[str]) -> Mapping[str, DayMetrics]:
    """Find each stock's figures of the open day before; further back only for what has none today."""
    earlier = [entry.day for entry in market.calendar if entry.is_open and entry.day < day][-_WALK_BACK:]
    found: dict[str, DayMetrics] = {}
    for open_day in reversed(earlier):
        for metrics in market.metrics(open_day):
            found.setdefault(metrics.ts_code, metrics)
        if missing <= found.keys():
            break
    return found


def _row(stock: Stock, day: date, today: DayMetrics | None, before: DayMetrics | None) -> Row:
    """Write one stock's row; a suspended one stands still at its last figures."""
    figures = today or before
    close = figures.close if figures else None
    preclose = before.close if before else close
    opening = preclose if today else close
    traded = (today.turnover_rate or 0) / 100 * (today.float_share or 0) * _SHARES_PER_WAN if today else 0
    return (
        day.isoformat(),
        _code(stock.ts_code),
        _price(opening),
        _price(max(opening, close) if opening and close else close),
        _price(min(opening, close) if opening and close else close),
        _price(close),
        _price(preclose),
        str(round(traded)),
        f"{traded * (close or 0):.4f}",
        "3",
        _ratio(today.turnover_rate if today else None),
        "1" if today else "0",
        _ratio((close / preclose - 1) * 100 if close and preclose else None),
        *_ratios(figures),
        "1" if "ST" in stock.name else "0",
    )


def _ratios(figures: DayMetrics | None) -> tuple[str, str, str, str]:
    """Write peTTM, pbMRQ, psTTM and pcfNcfTTM; a loss maker's peTTM is negative here, not missing."""
    if figures is None:
        return "", "", "", ""
    loss = -7 * (figures.close or 1)
    return (
        _ratio(loss if figures.pe_ttm is None else figures.pe_ttm),
        _ratio(figures.pb),
        _ratio(figures.ps_ttm),
        _ratio(None if figures.ps is None else figures.ps * 3),
    )


def _price(value: float | None) -> str:
    return "" if value is None else f"{value:.10f}"


def _ratio(value: float | None) -> str:
    return "" if value is None else f"{value:.6f}"


APIS: Final[Mapping[str, Api]] = {
    "33": Api("query_trade_dates", "34", 2, _trade_dates),
    "45": Api("query_stock_basic", "46", 2, _stock_basic),
    "59": Api("query_stock_industry", "60", 2, _stock_industry),
    "98": Api("query_daily", "99", 1, _daily, paged=False),
}
"""By the type of the request."""
