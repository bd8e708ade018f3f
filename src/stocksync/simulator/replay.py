"""A market read from dumps of the real one, for trials against true figures.

The folder holds four files: a list, a day of metrics and a calendar (CSV), and an older raw list (JSON) that
knows board and Stock Connect. Nothing is converted: the dumps carry the units of `DayMetrics`.
"""

import csv
import json
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Final

from stocksync.domain import codes
from stocksync.domain.calendar import parse_compact
from stocksync.errors import RowError
from stocksync.simulator.market import CalendarDay, DayMetrics, MarketInvalid, Stock

LIST_FILE: Final = "henrylin99_stock_basic_2025-11.csv"
DAILY_FILE: Final = "henrylin99_daily_basic_20260415.csv"
CALENDAR_FILE: Final = "henrylin99_trade_cal_SSE_2024-2026.csv"
BOARDS_FILE: Final = "gostock_tushare_stock_basic_2025-06.json"

_NUMBERS: Final = DayMetrics._fields[1:]
_EXCHANGES: Final = {"SH": "SSE", "SZ": "SZSE", "BJ": "BSE"}


class ReplayInvalid(MarketInvalid):
    """The folder of `--replay` is not there, lacks a file, or a file is not the dump it should be."""


class ReplayMarket:
    """The market on the one day of the dumps; its calendar ends there, so that day is the newest."""

    def __init__(self, folder: Path) -> None:
        """Read all four files. Raises ReplayInvalid naming what is missing or unreadable."""
        _require(folder)
        try:
            self._day, self._metrics = _read_metrics(folder / DAILY_FILE)
            self._calendar = _read_calendar(folder / CALENDAR_FILE, until=self._day)
            self._stocks = _read_stocks(folder / LIST_FILE, _read_boards(folder / BOARDS_FILE))
        except (KeyError, ValueError, TypeError, OSError) as error:
            raise ReplayInvalid(f"a dump in {folder} cannot be read: {error!r}") from error

    @property
    def stocks(self) -> Sequence[Stock]:
        """The list, ordered by ts_code."""
        return self._stocks

    @property
    def calendar(self) -> Sequence[CalendarDay]:
        """The calendar up to the day of the metrics."""
        return self._calendar

    @property
    def latest_day(self) -> date:
        """The one day that has metrics."""
        return self._day

    @property
    def edition(self) -> date:
        """The newest day: with it this market's answers change."""
        return self.latest_day

    def metrics(self, day: date) -> Sequence[DayMetrics]:
        """List what traded on the one day of the dump; empty for every other."""
        return self._metrics if day == self._day else ()

    def roe(self, period: date) -> Mapping[str, float]:  # noqa: ARG002 - the dumps hold no reports
        """Nothing: the dumps hold no reports."""
        return {}


def _require(folder: Path) -> None:
    if not folder.is_dir():
        raise ReplayInvalid(f"no folder to replay at {folder}")
    wanted = (LIST_FILE, DAILY_FILE, CALENDAR_FILE, BOARDS_FILE)
    missing = [name for name in wanted if not (folder / name).is_file()]
    if missing:
        raise ReplayInvalid(f"{folder} lacks {', '.join(missing)}; a replay needs {', '.join(wanted)}")


def _read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    if not rows:
        raise ValueError(f"{path.name} has no rows")
    return rows


def _read_metrics(path: Path) -> tuple[date, tuple[DayMetrics, ...]]:
    rows = _read_csv(path)
    newest = max(row["trade_date"] for row in rows)
    numbers = (
        (row["ts_code"], [_number(row[column]) for column in _NUMBERS])
        for row in rows
        if row["trade_date"] == newest
    )
    # All unknown means suspended, and the real upstream does not list what was suspended.
    traded = (
        DayMetrics(code, *values) for code, values in numbers if any(value is not None for value in values)
    )
    return parse_compact(newest), tuple(sorted(traded))


def _number(text: str) -> float | None:
    """Read a figure; the dump's author wrote 0 for what the upstream had sent as null."""
    return float(text or 0) or None


def _read_calendar(path: Path, *, until: date) -> tuple[CalendarDay, ...]:
    days = (
        CalendarDay(
            date.fromisoformat(row["cal_date"]),
            row["is_open"] == "1",
            date.fromisoformat(row["pretrade_date"]) if row["pretrade_date"] else None,
        )
        for row in _read_csv(path)
        if row["exchange"] == "SSE"
    )
    return tuple(sorted(day for day in days if day.day <= until))


def _read_boards(path: Path) -> dict[str, dict[str, str | None]]:
    data = json.loads(path.read_bytes())["data"]
    rows = (dict(zip(data["fields"], item, strict=True)) for item in data["items"])
    return {row["ts_code"]: row for row in rows}


def _read_stocks(path: Path, boards: Mapping[str, Mapping[str, str | None]]) -> tuple[Stock, ...]:
    stocks = (_stock(row, boards.get(row["ts_code"], {})) for row in _read_csv(path))
    return tuple(sorted(stocks, key=lambda stock: stock.ts_code))


def _stock(row: Mapping[str, str], older: Mapping[str, str | None]) -> Stock:
    code = row["ts_code"]
    return Stock(
        ts_code=code,
        name=row["name"],
        area=row["area"] or older.get("area"),
        industry=row["industry"] or older.get("industry"),
        board=older.get("market") or _board(code),
        exchange=_EXCHANGES[code.partition(".")[2]],
        list_date=row["list_date"].replace("-", "") or None,
        is_hs=older.get("is_hs"),
    )


def _board(ts_code: str) -> str | None:
    try:
        return codes.locate(ts_code.partition(".")[0]).board
    except RowError:
        return None  # the replica sends what the dump has; judging it is the client's work
