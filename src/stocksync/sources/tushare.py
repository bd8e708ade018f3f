"""Tushare Pro: the stock list, the calendar, daily metrics and return on equity, whole market each.

Units as published (tushare.pro, documents 25, 32 and 79): total_mv and circ_mv in 万元, total_share and
float_share in 万股, turnover_rate and roe in percent, the ratios as they are.
"""

from collections.abc import Sequence
from datetime import date
from typing import Final

from stocksync.domain.calendar import compact, parse_compact
from stocksync.domain.codes import Exchange, split_symbol
from stocksync.domain.merge import DailyAnswer, ListAnswer, RoeAnswer
from stocksync.domain.stock import TEXTS, DailyMetrics, Dataset, StockListing, known, listing, scaled
from stocksync.errors import BadRow, SourceEmpty, SourceNonsense
from stocksync.ports import Clock, Source
from stocksync.settings import Settings
from stocksync.sources.rows import Row, read_rows, require_usable
from stocksync.sources.tushare_wire import PAGE, TushareClient

_LIST_FIELDS: Final = (
    "ts_code", "symbol", "name", "area", "industry", "market", "exchange", "list_date", "is_hs",
)  # fmt: skip
_RATIOS: Final = (
    "pe",
    "pb",
    "ps",
    "pe_ttm",
    "ps_ttm",
    "turnover_rate",
    "volume_ratio",
    "total_share",
    "float_share",
)
_VALUES: Final = ("total_mv", "circ_mv")
_DAILY_FIELDS: Final = ("ts_code", "trade_date", *_RATIOS, *_VALUES)
_ROE_FIELDS: Final = ("ts_code", "ann_date", "end_date", "roe")

_WAN_PER_YI: Final = 10_000
"""万 in 亿: what 万元 is divided by to become 亿元."""


class TushareSource:
    """Implements ports.Source."""

    name = "tushare"
    description = "Tushare Pro 官方接口：名单、日历、每日指标、净资产收益率（需要令牌）"
    provides = frozenset(Dataset)
    exchanges = frozenset(Exchange)
    metrics = frozenset((*_RATIOS, *_VALUES))
    texts = frozenset(TEXTS)

    def __init__(self, client: TushareClient) -> None:
        self._client = client

    async def check(self) -> None:
        await self._client.query(
            "trade_cal", fields=("cal_date",), start_date="20260105", end_date="20260105"
        )

    async def open_days(self, start: date, end: date) -> Sequence[date]:
        rows = await self._client.query(
            "trade_cal",
            fields=("cal_date", "is_open"),
            exchange="SSE",
            start_date=compact(start),
            end_date=compact(end),
        )
        try:
            days = sorted(parse_compact(row["cal_date"]) for row in rows if int(row["is_open"]) == 1)
        except (TypeError, ValueError, OverflowError) as exc:
            raise SourceNonsense("trade_cal 的日期格式异常") from exc
        if not days:
            raise SourceEmpty("trade_cal 没有返回任何交易日")
        return days

    async def stock_list(self) -> ListAnswer:
        rows = await self._client.query("stock_basic", fields=_LIST_FIELDS, list_status="L")
        read = await read_rows(rows, _listing)
        require_usable("stock_basic", rows, read.items)
        return ListAnswer(
            source=self.name,
            exchanges=self.exchanges,
            listings=read.items,
            rejects=read.rejects,
            dropped=read.dropped,
        )

    async def daily_data(self, day: date) -> DailyAnswer:
        rows = await self._client.query(
            "daily_basic", fields=_DAILY_FIELDS, page=PAGE, trade_date=compact(day)
        )
        _check_day(rows, "trade_date", day)
        read = await read_rows(rows, _metrics)
        if not rows:
            raise SourceEmpty(f"daily_basic 尚未发布 {compact(day)} 的数据")
        require_usable("daily_basic", rows, read.items)
        return DailyAnswer(
            source=self.name,
            day=day,
            metrics={item.code: item for item in read.items},
            dropped=read.dropped + len(read.rejects),
        )

    async def roe(self, period: date) -> RoeAnswer:
        rows = await self._client.query(
            "fina_indicator_vip", fields=_ROE_FIELDS, page=PAGE, period=compact(period)
        )
        _check_day(rows, "end_date", period)
        # A restated report comes as a second row with a later announcement: sorted last, it wins.
        rows.sort(key=lambda row: str(row["ann_date"]))
        read = await read_rows(rows, _roe)
        values = {code: value for code, value in read.items if value is not None}
        if not values:
            raise SourceEmpty(f"fina_indicator_vip 没有 {compact(period)} 的数据")
        return RoeAnswer(source=self.name, period=period, values=values, dropped=len(rows) - len(values))

    async def aclose(self) -> None:
        await self._client.aclose()


def build_tushare(settings: Settings, clock: Clock) -> Source:
    """Build the source; without a token it is there and says so when asked."""
    client = TushareClient(
        url=settings.tushare_url,
        token=settings.tushare_token,
        clock=clock,
        call_timeout=settings.call_timeout,
    )
    return TushareSource(client)


def _check_day(rows: Sequence[Row], field: str, day: date) -> None:
    if any(row[field] != compact(day) for row in rows):
        raise SourceNonsense(f"应答中混有 {compact(day)} 以外日期的数据")


def _code(row: Row) -> str:
    return split_symbol(row["ts_code"])


def _listing(row: Row) -> StockListing:
    code = _code(row)
    if row["symbol"] not in (code, None):
        raise BadRow(code=code, field="symbol", value=row["symbol"], reason="与 ts_code 不符")
    return listing(
        code=code,
        name=row["name"],
        area=row["area"],
        industry=row["industry"],
        market=row["market"],
        list_date=row["list_date"],
    )


def _metrics(row: Row) -> DailyMetrics:
    figures = {name: known(row[name]) for name in _RATIOS}
    values = {name: scaled(row[name], _WAN_PER_YI) for name in _VALUES}
    code = _code(row)
    if not any((*figures.values(), *values.values())):
        raise BadRow(code=code, field="*", value=dict(row), reason="没有任何有效指标")
    return DailyMetrics(code=code, **figures, **values)


def _roe(row: Row) -> tuple[str, float | None]:
    return _code(row), known(row["roe"])
