"""An upstream."""

from collections.abc import Sequence
from datetime import date
from typing import Protocol

from stocksync.domain.codes import Exchange
from stocksync.domain.merge import DailyAnswer, ListAnswer, RoeAnswer
from stocksync.domain.stock import Dataset


class Source(Protocol):
    """One upstream. Every method raises SourceError (errors.py) and nothing else, save cancellation.

    A method makes no promise about time: the caller sets the deadline and cancels.
    """

    @property
    def name(self) -> str:
        """The name in settings, attempts and attribution."""
        ...

    @property
    def description(self) -> str:
        """One Chinese line for people."""
        ...

    @property
    def provides(self) -> frozenset[Dataset]:
        """Which datasets this source can be asked for."""
        ...

    @property
    def exchanges(self) -> frozenset[Exchange]:
        """For which exchanges it declares a whole list and whole daily data."""
        ...

    @property
    def metrics(self) -> frozenset[str]:
        """Which fields of DailyMetrics its daily data declares."""
        ...

    @property
    def texts(self) -> frozenset[str]:
        """Which of the texts "area" and "industry" it supplies, with its list or its reports."""
        ...

    async def check(self) -> None:
        """Make one real, cheap call that proves that the source can be used now."""
        ...

    async def open_days(self, start: date, end: date) -> Sequence[date]:
        """List the market's open days from `start` to `end`, both included, in order."""
        ...

    async def stock_list(self) -> ListAnswer:
        """List every A share; rows that cannot be read are rejected by name, out-of-scope rows dropped."""
        ...

    async def daily_data(self, day: date) -> DailyAnswer:
        """Give the metrics of one trade date. Raises SourceEmpty where the day is not published."""
        ...

    async def roe(self, period: date) -> RoeAnswer:
        """Give the return on equity of one quarter end, in percent."""
        ...

    async def aclose(self) -> None:
        """Let go of connections. Idempotent."""
        ...
