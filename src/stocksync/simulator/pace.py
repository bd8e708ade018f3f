"""How long a replica takes to answer."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class Pace(StrEnum):
    """The two paces."""

    FAST = "fast"
    """No delay."""
    REALISTIC = "realistic"
    """About as slow as the real upstreams."""


# Seconds a call (a page, where there are pages). Typical values, unverified: no upstream was timed for them.
_TYPICAL: Final[Mapping[str, float]] = {
    "tushare.stock_basic": 1.2,
    "tushare.trade_cal": 0.3,
    "tushare.daily_basic": 1.5,
    "tushare.fina_indicator_vip": 1.5,
    "akshare.sse": 0.8,
    "akshare.szse": 2.0,
    "akshare.bse": 0.3,
    "akshare.spot": 0.25,
    "akshare.yjbb": 0.5,
    "baostock.login": 0.3,
    "baostock.query_trade_dates": 0.5,
    "baostock.query_stock_basic": 1.0,
    "baostock.query_stock_industry": 1.0,
    "baostock.query_daily": 2.0,
}


def delay_seconds(pace: Pace, upstream: str, call: str) -> float:
    """Seconds that an answer to this call takes."""
    return 0.0 if pace is Pace.FAST else _TYPICAL.get(f"{upstream}.{call}", 0.0)
