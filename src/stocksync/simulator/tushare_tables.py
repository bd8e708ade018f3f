"""The four tables of Tushare Pro that stocksync asks for, made from a market."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from itertools import islice
from typing import Final

from stocksync.domain.calendar import compact, parse_compact
from stocksync.simulator.market import DayMetrics, Market
from stocksync.simulator.tables import Row, Table

_STOCK_BASIC: Final = (
    "ts_code", "symbol", "name", "area", "industry", "cnspell", "market", "list_date", "act_name",
    "act_ent_type", "fullname", "exchange", "list_status", "curr_type", "enname", "delist_date", "is_hs",
)  # fmt: skip
_DAILY_BASIC: Final = ("ts_code", "trade_date", *DayMetrics._fields[1:])
_TRADE_CAL: Final = ("exchange", "cal_date", "is_open", "pretrade_date")
_FINA_INDICATOR: Final = ("ts_code", "ann_date", "end_date", "roe")
_DAYS_WITHOUT_DATE: Final = 30


class ParameterInvalid(ValueError):
    """A parameter that the upstream would refuse; str() names it."""


@dataclass(frozen=True, slots=True)
class Api:
    """One API: its table, and the columns that come when none are asked for."""

    table: Callable[[Market, Mapping[str, str]], Table]
    default_fields: tuple[str, ...]


def _day(params: Mapping[str, str], name: str) -> date | None:
    text = params.get(name, "")
    if not text:
        return None
    try:
        return parse_compact(text)
    except ValueError:
        raise ParameterInvalid(name) from None


def _names(params: Mapping[str, str], name: str) -> frozenset[str]:
    """Read a comma-separated parameter; empty means that it does not narrow anything."""
    return frozenset(part.strip() for part in params.get(name, "").split(",") if part.strip())


def _stock_basic(market: Market, params: Mapping[str, str]) -> Table:
    statuses = _names(params, "list_status") or {"L"}
    exchanges, wanted = _names(params, "exchange"), _names(params, "ts_code")
    rows: list[Row] = [
        (
            *(stock.ts_code, stock.symbol, stock.name, stock.area, stock.industry, None, stock.board),
            *(stock.list_date, None, None, None, stock.exchange, "L", "CNY", None, None, stock.is_hs),
        )
        for stock in market.stocks
        if "L" in statuses  # no market here knows delisted or paused stocks
        and (not exchanges or stock.exchange in exchanges)
        and (not wanted or stock.ts_code in wanted)
    ]
    return Table(fields=_STOCK_BASIC, rows=rows, code="ts_code", vital="name")


def _trade_cal(market: Market, params: Mapping[str, str]) -> Table:
    exchange = params.get("exchange") or "SSE"
    start, end = _day(params, "start_date") or date.min, _day(params, "end_date") or date.max
    is_open = params.get("is_open", "")
    rows: list[Row] = [
        (exchange, compact(day.day), int(day.is_open), compact(day.previous) if day.previous else None)
        for day in reversed(market.calendar)  # newest first, as the real one sends it
        if exchange in {"SSE", "SZSE"} and start <= day.day <= end and is_open in {"", str(int(day.is_open))}
    ]
    return Table(fields=_TRADE_CAL, rows=rows, code=None, vital="is_open")


def _daily_basic(market: Market, params: Mapping[str, str]) -> Table:
    wanted = _names(params, "ts_code")
    rows: list[Row] = [
        (metrics[0], compact(day), *metrics[1:])
        for day in _asked_days(market, params)
        for metrics in market.metrics(day)
        if not wanted or metrics.ts_code in wanted
    ]
    return Table(fields=_DAILY_BASIC, rows=rows, code="ts_code", vital="total_mv")


def _asked_days(market: Market, params: Mapping[str, str]) -> list[date]:
    """List the one trade date, or for a stock its newest open days; bounded, for each is made on demand."""
    day = _day(params, "trade_date")
    if day is not None:
        return [day]
    if not params.get("ts_code"):
        raise ParameterInvalid("trade_date")
    start, end = _day(params, "start_date") or date.min, _day(params, "end_date") or date.max
    end = min(end, market.latest_day)
    days = (entry.day for entry in reversed(market.calendar) if entry.is_open and start <= entry.day <= end)
    return list(islice(days, _DAYS_WITHOUT_DATE))


def _fina_indicator_vip(market: Market, params: Mapping[str, str]) -> Table:
    period = _day(params, "period")
    if period is None:
        raise ParameterInvalid("period")
    wanted = _names(params, "ts_code")
    rows: list[Row] = [
        (ts_code, None, compact(period), roe)
        for ts_code, roe in market.roe(period).items()
        if not wanted or ts_code in wanted
    ]
    return Table(fields=_FINA_INDICATOR, rows=rows, code="ts_code", vital="roe")


APIS: Final[Mapping[str, Api]] = {
    "stock_basic": Api(_stock_basic, _STOCK_BASIC[:10]),
    "trade_cal": Api(_trade_cal, _TRADE_CAL),
    "daily_basic": Api(_daily_basic, _DAILY_BASIC),
    "fina_indicator_vip": Api(_fina_indicator_vip, _FINA_INDICATOR),
}
