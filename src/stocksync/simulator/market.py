"""What the replicas serve: a market in upstream-neutral terms. Each replica translates it to its own wire."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple, Protocol


class MarketInvalid(ValueError):
    """No market can be built from what was asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stock:
    """One listed A share, as the exchange would describe it; a trap in a name is meant to be there."""

    ts_code: str
    """Six digits and the exchange's suffix, "000001.SZ"."""
    name: str
    """Short name; may hold full-width letters and inner spaces."""
    area: str | None
    """Province or city."""
    industry: str | None
    """Industry; a new listing has none yet."""
    board: str | None
    """主板, 创业板, 科创板 or 北交所; None where nobody knows."""
    exchange: str
    """SSE, SZSE or BSE."""
    list_date: str | None
    """First day of trading, "YYYYMMDD"."""
    is_hs: str | None
    """Stock Connect: N no, H Shanghai, S Shenzhen."""

    @property
    def symbol(self) -> str:
        """The six digits."""
        return self.ts_code[:6]


class DayMetrics(NamedTuple):
    """One stock on one trade date. A named tuple, because a day has 5,500 of them and must be quick.

    Shares are 万股 and values 万元, both with four decimals: that is exact to one share and one yuan, so a
    replica whose wire carries shares and yuan multiplies by 10,000 and rounds, and one that carries these
    units sends them to the byte.
    """

    ts_code: str
    close: float | None
    """CNY."""
    turnover_rate: float | None
    """Percent of the float."""
    turnover_rate_f: float | None
    """Percent of the free float."""
    volume_ratio: float | None
    pe: float | None
    """None for loss makers."""
    pe_ttm: float | None
    """None for loss makers."""
    pb: float | None
    ps: float | None
    ps_ttm: float | None
    dv_ratio: float | None
    """Dividend yield, percent; None where none was paid."""
    dv_ttm: float | None
    """Percent."""
    total_share: float | None
    """万股."""
    float_share: float | None
    """万股."""
    free_share: float | None
    """万股."""
    total_mv: float | None
    """万元."""
    circ_mv: float | None
    """万元."""


class CalendarDay(NamedTuple):
    """One calendar day of the exchanges."""

    day: date
    is_open: bool
    previous: date | None
    """The open day before; None where the calendar begins."""


class Market(Protocol):
    """A market that can be asked for any day, in any order; in one edition a question has one answer."""

    @property
    def stocks(self) -> Sequence[Stock]:
        """All listed A shares, ordered by ts_code."""
        ...

    @property
    def calendar(self) -> Sequence[CalendarDay]:
        """Every calendar day that is known, oldest first; may reach into the future."""
        ...

    @property
    def latest_day(self) -> date:
        """The newest open day that has metrics."""
        ...

    @property
    def edition(self) -> Hashable:
        """Equal for as long as every question has the answer that it had."""
        ...

    def metrics(self, day: date) -> Sequence[DayMetrics]:
        """List what traded on a day, ordered by ts_code; empty for a day that is closed or has not come."""
        ...

    def roe(self, period: date) -> Mapping[str, float]:
        """Return on equity in percent by ts_code for a quarter end; empty where nobody has reported."""
        ...
