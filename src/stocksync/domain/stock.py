"""One stock, as listed, as measured and as stored. Units are part of each field's documentation."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from enum import IntEnum, StrEnum
from typing import Final

from stocksync.domain import codes
from stocksync.errors import BadRow


class Dataset(StrEnum):
    """What a source can be asked for."""

    STOCK_LIST = "stock_list"
    TRADE_DATE = "trade_date"
    DAILY_DATA = "daily_data"
    ROE = "roe"


class DataSourcePriority(IntEnum):
    """The sources in order of trust: larger is asked earlier, here and on the wire."""

    TUSHARE = 3
    AKSHARE = 2
    BAOSTOCK = 1


_NAME_LIMIT: Final = 64
_TEXT_LIMIT: Final = 64
_DATE = re.compile(r"[0-9]{8}\Z", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class StockListing:
    """One A share as an upstream lists it. Build it with `listing`, which checks every field."""

    code: str
    """Six digits."""
    name: str
    """Short name in its clean form (codes.clean_name)."""
    area: str | None = None
    """Province or city, e.g. 深圳."""
    industry: str | None = None
    market: str
    """Board: 主板, 创业板, 科创板 or 北交所."""
    list_date: str | None = None
    """First day of trading, "YYYYMMDD"."""

    @property
    def exchange(self) -> codes.Exchange:
        """The exchange, from the code."""
        return codes.locate(self.code).exchange


def listing(
    *,
    code: str,
    name: object,
    area: object = None,
    industry: object = None,
    market: object = None,
    list_date: object = None,
) -> StockListing:
    """Check one upstream row and build the listing.

    The board is the upstream's word, or the code's where the upstream gives none. Raises OutOfScope for
    what is no A share and BadRow, naming the field, for what no upstream may send.
    """
    place = codes.locate(code)
    return StockListing(
        code=code,
        name=codes.clean_name(_text(code, "name", name, _NAME_LIMIT) or _missing(code, "name", name)),
        area=_text(code, "area", area, _TEXT_LIMIT),
        industry=_text(code, "industry", industry, _TEXT_LIMIT),
        market=_text(code, "market", market, _TEXT_LIMIT) or place.board,
        list_date=_day(code, list_date),
    )


def _missing(code: str, field_name: str, value: object) -> str:
    raise BadRow(code=code, field=field_name, value=value, reason="缺少必填字段")


def _text(code: str, field_name: str, value: object, limit: int) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise BadRow(code=code, field=field_name, value=value, reason="不是文本")
    if len(value) > limit:
        raise BadRow(code=code, field=field_name, value=value, reason=f"文本超过{limit}个字符")
    words = value.split()
    if not "".join(words).isprintable():
        raise BadRow(code=code, field=field_name, value=value, reason="含有控制字符或无效字符")
    return " ".join(words) or None


def _day(code: str, value: object) -> str | None:
    text = _text(code, "list_date", value, _TEXT_LIMIT)
    if text is None:
        return None
    if not _DATE.match(text):
        raise BadRow(code=code, field="list_date", value=value, reason="日期格式不是YYYYMMDD")
    try:
        date(int(text[:4]), int(text[4:6]), int(text[6:]))
    except ValueError:
        raise BadRow(code=code, field="list_date", value=value, reason="不存在的日期") from None
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class DailyMetrics:
    """What one source measured for one stock on one trade date. Unknown is None, never 0 or NaN."""

    code: str
    total_mv: float | None = None
    """Total market value, 亿元 (10^8 CNY)."""
    circ_mv: float | None = None
    """Market value of the free float, 亿元."""
    pe: float | None = None
    """Price / earnings of the last annual report; unknown for loss makers."""
    pb: float | None = None
    """Price / book."""
    ps: float | None = None
    """Price / sales of the last annual report."""
    pe_ttm: float | None = None
    """Price / earnings, trailing twelve months."""
    pb_mrq: float | None = None
    """Price / book, most recent quarter."""
    ps_ttm: float | None = None
    """Price / sales, trailing twelve months."""
    turnover_rate: float | None = None
    """Turnover of the day, percent of the float."""
    volume_ratio: float | None = None
    """Volume against the average of the five days before."""
    total_share: float | None = None
    """Shares issued, 万股 (10^4 shares)."""
    float_share: float | None = None
    """Shares that float, 万股."""


METRICS: Final = (
    "total_mv", "circ_mv", "pe", "pb", "ps", "pe_ttm", "pb_mrq", "ps_ttm",
    "turnover_rate", "volume_ratio", "total_share", "float_share",
)  # fmt: skip
"""The fields of DailyMetrics, in the order of the schema."""

TEXTS: Final = ("area", "industry")
"""The texts of a listing that another source may fill."""

FIGURES: Final = (*METRICS, "roe")
"""Every numeric field of a stored stock."""


def known(value: object) -> float | None:
    """Read a metric as an upstream sends it: a finite number other than 0, or None for unknown.

    Upstreams write null, NaN, "-", "" or 0 for a figure they do not have; none of the daily metrics is ever
    truly zero for a stock that traded. Booleans are no figures.
    """
    if isinstance(value, str):
        try:
            value = float(value) if "_" not in value else None  # Python's own 1_000 is no upstream's
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) and number != 0 else None


def scaled(value: object, divisor: float) -> float | None:
    """Read a metric and convert its unit once, without the float noise of the division.

    Eight decimals are more than any upstream publishes after the division by at most 10^8.
    """
    number = known(value)
    return None if number is None else known(round(number / divisor, 8))


@dataclass(frozen=True, slots=True, kw_only=True)
class StockBasic:
    """One stored stock: unique by (code, source); `source` supplied the listing.

    `figures` holds the known metrics only, by the names and in the units of DailyMetrics, and roe in percent.
    `field_sources` names for each of them, and for every listing field that another source filled, who
    supplied it and for which day: {"pe": "tushare:20260415"}.
    """

    code: str
    source: str
    name: str
    area: str | None = None
    industry: str | None = None
    market: str
    list_date: str | None = None
    trade_date: str | None = None
    """Trade date of the metrics, "YYYYMMDD"; None while there are none."""
    figures: Mapping[str, float] = field(default_factory=dict)
    field_sources: Mapping[str, str] = field(default_factory=dict)

    @property
    def full_symbol(self) -> str:
        """Code with its exchange suffix, "000001.SZ"."""
        return codes.full_symbol(self.code)

    @property
    def sse(self) -> str:
        """The exchange's Chinese name."""
        return codes.locate(self.code).exchange.full_name


def overlay(stored: StockBasic, fresh: StockBasic) -> StockBasic:
    """What the store must hold after `fresh` came in: neither the unknown nor the older overwrites.

    A metric that nobody supplied this time stays, and keeps naming its older day in `field_sources`; one that
    came with an older day than the stored one's is not taken. A text that the stock's own source supplies now
    no longer names the one that had filled it.
    """
    kept_sources, figures, sources = stored.field_sources, fresh.figures, fresh.field_sources
    own = {name for name in TEXTS if name in kept_sources and getattr(fresh, name) is not None}
    if own:
        kept_sources = {name: source for name, source in kept_sources.items() if name not in own}
    older = _older(stored, fresh)
    if older:
        figures = {name: value for name, value in figures.items() if name not in older}
        sources = {name: source for name, source in sources.items() if name not in older}
    return StockBasic(
        code=fresh.code,
        source=fresh.source,
        name=fresh.name,
        area=fresh.area or stored.area,
        industry=fresh.industry or stored.industry,
        market=fresh.market,
        list_date=fresh.list_date or stored.list_date,
        trade_date=max(fresh.trade_date or "", stored.trade_date or "") or None,
        figures={**stored.figures, **figures},
        field_sources={**kept_sources, **sources},
    )


def _older(stored: StockBasic, fresh: StockBasic) -> frozenset[str]:
    """The figures of `fresh` whose day is known and before the stored one's."""
    # No stored daily figure is newer than the row's trade date: on a newer day only roe needs a look.
    newer_day = (fresh.trade_date or "") >= (stored.trade_date or "")
    names = ("roe",) if newer_day else tuple(fresh.figures)
    days = {name: _day_of(fresh.field_sources.get(name, "")) for name in names}
    return frozenset(
        name for name, day in days.items() if day and day < _day_of(stored.field_sources.get(name, ""))
    )


def _day_of(source: str) -> str:
    """The day in a label like "tushare:20260415"; empty where there is none."""
    return source.partition(":")[2]
