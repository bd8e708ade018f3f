"""A market in which something happens between two syncs, on demand.

    market.happen({"600000": "rename:某股份", "600001": "delist", "605996": "list:新股份"})

Events are written CODE → EVENT: `rename:NAME`, `move:BOARD`, `renumber:CODE`, `delist`, and `list:NAME` for a
code that no stock has. Each stays in force until its code is told another or `undo` takes it back.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from datetime import date
from typing import Final

from stocksync.domain import codes
from stocksync.domain.calendar import compact
from stocksync.errors import RowError
from stocksync.simulator.market import CalendarDay, DayMetrics, Market, MarketInvalid, Stock

_NEEDS_WORD: Final = {"rename": True, "move": True, "renumber": True, "list": True, "delist": False}

_Event = tuple[str, str]


class LivingMarket:
    """Another market, with what has happened since. What is new is listed, and has not traded yet."""

    def __init__(self, market: Market) -> None:
        """Begin with this market as it is."""
        self._market = market
        self._events: dict[str, _Event] = {}
        self._stocks = tuple(market.stocks)
        self._spelling: dict[str, str] = {}
        self._count = 0

    def happen(self, events: Mapping[str, str]) -> None:
        """Let all of these happen, or none if one of them cannot. Raises MarketInvalid."""
        known = {stock.symbol for stock in self._market.stocks}
        self._become(self._events | {code: _read(code, text, known) for code, text in events.items()})

    def undo(self, code: str | None = None) -> None:
        """Take back what happened to one code, or everything."""
        self._become(
            {} if code is None else {each: self._events[each] for each in self._events if each != code}
        )

    def get(self) -> dict[str, str]:
        """Tell what has happened, as `happen` reads it."""
        return {code: f"{kind}:{word}" if word else kind for code, (kind, word) in self._events.items()}

    @property
    def stocks(self) -> Sequence[Stock]:
        """What is listed now, ordered by ts_code."""
        return self._stocks

    @property
    def calendar(self) -> Sequence[CalendarDay]:
        """The market's own."""
        return self._market.calendar

    @property
    def latest_day(self) -> date:
        """The market's own."""
        return self._market.latest_day

    @property
    def edition(self) -> tuple[Hashable, int]:
        """The market's own, and how often something has happened."""
        return self._market.edition, self._count

    def metrics(self, day: date) -> Sequence[DayMetrics]:
        """List what traded, under the codes of now, without what is gone."""
        traded = self._market.metrics(day)
        if not self._spelling:
            return traded
        named = (
            each._replace(ts_code=self._spelling.get(each.ts_code, each.ts_code) or "") for each in traded
        )
        return tuple(sorted(each for each in named if each.ts_code))

    def roe(self, period: date) -> Mapping[str, float]:
        """Return on equity under the codes of now, without what is gone."""
        named = {self._now(ts_code): roe for ts_code, roe in self._market.roe(period).items()}
        return {ts_code: roe for ts_code, roe in named.items() if ts_code}

    def _now(self, ts_code: str) -> str:
        """The code of now; empty for what is gone."""
        return self._spelling.get(ts_code, ts_code)

    def _become(self, events: dict[str, _Event]) -> None:
        now = [(stock, _after(stock, events.get(stock.symbol))) for stock in self._market.stocks]
        day = compact(self._market.latest_day)
        new = [_listed(code, name, day) for code, (kind, name) in events.items() if kind == "list"]
        stocks = sorted([*(each for _, each in now if each), *new], key=lambda stock: stock.ts_code)
        if len({stock.ts_code for stock in stocks}) < len(stocks):
            raise MarketInvalid("two stocks would have one code")
        codes_of_now = {old.ts_code: each.ts_code if each else "" for old, each in now}
        self._spelling = {old: new for old, new in codes_of_now.items() if new != old}
        self._stocks, self._events = tuple(stocks), events
        self._count += 1


def _read(code: str, text: str, known: set[str]) -> _Event:
    kind, _, word = text.partition(":")
    if kind not in _NEEDS_WORD or bool(word) != _NEEDS_WORD[kind]:
        known_events = "rename:NAME, move:BOARD, renumber:CODE, delist, list:NAME"
        raise MarketInvalid(f"no event {text!r}; there are {known_events}")
    if (code in known) == (kind == "list"):
        raise MarketInvalid(
            f"{kind} cannot happen to {code!r}, which is {'' if code in known else 'not '}listed"
        )
    try:
        codes.locate({"renumber": word}.get(kind, code))
    except RowError as exc:
        raise MarketInvalid(f"no A share can have the code of {code}: {text}") from exc
    return kind, word


def _after(stock: Stock, event: _Event | None) -> Stock | None:
    match event:
        case "rename", name:
            return replace(stock, name=name)
        case "move", board:
            return replace(stock, board=board)
        case "renumber", code:
            return replace(stock, ts_code=codes.full_symbol(code))
        case "delist", _:
            return None
        case _:
            return stock


def _listed(code: str, name: str, day: str) -> Stock:
    place = codes.locate(code)
    return Stock(
        ts_code=codes.full_symbol(code),
        name=name,
        area=None,
        industry=None,
        board=place.board,
        exchange=place.exchange.name,
        list_date=day,
        is_hs="N",
    )
