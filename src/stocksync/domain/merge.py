"""From the sources' answers to the rows to store: priority, gap filling, provenance, attribution.

Answers come in order of trust, the winner of each dataset first. A stock belongs to the one source that
supplied its listing. Later answers fill only what earlier ones lack, and metrics are joined only on the same
trade date.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

from stocksync.domain.calendar import compact
from stocksync.domain.codes import Exchange, is_retired_code, locate
from stocksync.domain.status import Reject, SourceCount
from stocksync.domain.stock import METRICS, TEXTS, DailyMetrics, StockBasic, StockListing
from stocksync.errors import RowError


@dataclass(frozen=True, slots=True, kw_only=True)
class ListAnswer:
    """A source's stock list, checked row by row. `exchanges` are the ones that it answers for."""

    source: str
    exchanges: frozenset[Exchange]
    listings: tuple[StockListing, ...]
    rejects: tuple[Reject, ...] = ()
    dropped: int = 0
    failed: Mapping[Exchange, str] = field(default_factory=dict)
    """Why the source has no list of an exchange that it declares, where it knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DailyAnswer:
    """A source's metrics of one trade date, by code."""

    source: str
    day: date
    metrics: Mapping[str, DailyMetrics]
    dropped: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RoeAnswer:
    """A source's return on equity of one report period, percent by code."""

    source: str
    period: date
    values: Mapping[str, float]
    industries: Mapping[str, str] = field(default_factory=dict)
    """Industry by code, where the reports say it."""
    dropped: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Market:
    """Everything that a run fetched, winners first."""

    lists: Sequence[ListAnswer]
    dailies: Sequence[DailyAnswer] = ()
    roe: RoeAnswer | None = None


@dataclass(slots=True)
class Listed:
    """The union of the lists: who supplied each listing, and what could not be read."""

    origin: dict[str, str] = field(default_factory=dict)
    listings: dict[str, StockListing] = field(default_factory=dict)
    rejects: list[tuple[str, Reject]] = field(default_factory=list)
    exchanges: dict[str, frozenset[Exchange]] = field(default_factory=dict)
    """For which exchanges a source's list was taken."""

    @property
    def total(self) -> int:
        """Every row of the lists that is in scope: readable or rejected."""
        return len(self.listings) + len(self.rejects)

    def codes(self, source: str) -> frozenset[str]:
        """Every code that the source still lists, be its row readable or not."""
        rejected = (reject.code for origin, reject in self.rejects if origin == source)
        return frozenset((*(code for code, origin in self.origin.items() if origin == source), *rejected))

    def counts(self) -> dict[str, SourceCount]:
        """Every stock and every rejected row, attributed to exactly one source."""
        totals: dict[str, int] = {}
        for source in (*self.origin.values(), *(source for source, _ in self.rejects)):
            totals[source] = totals.get(source, 0) + 1
        return {source: SourceCount(total=total) for source, total in totals.items()}


def unite(lists: Sequence[ListAnswer]) -> Listed:
    """Take the first list whole, and from each later one the exchanges that none before answered for.

    A code that a list names twice is kept once; the second row is rejected by name.
    """
    listed = Listed()
    covered: set[Exchange] = set()
    for answer in lists:
        fresh = answer.exchanges - covered
        for listing in answer.listings:
            if listing.exchange not in fresh:
                continue
            if listing.code in listed.listings:
                listed.rejects.append((answer.source, _twice(listing)))
                continue
            listed.origin[listing.code] = answer.source
            listed.listings[listing.code] = listing
        listed.rejects.extend(
            (answer.source, reject)
            for reject in answer.rejects
            if not covered or _exchange(reject.code) in fresh
        )
        listed.exchanges[answer.source] = fresh
        covered |= fresh
    return listed


def _twice(listing: StockListing) -> Reject:
    return Reject(code=listing.code, field="code", value=listing.name, reason="同一名单中代码重复")


def _exchange(code: str) -> Exchange | None:
    try:
        return locate(code).exchange
    except RowError:
        return None


def merge(listed: Listed, market: Market) -> Iterator[StockBasic]:
    """Build the row of every listed stock, in the order of their codes."""
    fillers = [(answer.source, _by_code(answer.listings)) for answer in market.lists[1:]]
    same_day = [answer for answer in market.dailies if answer.day == market.dailies[0].day]
    for code in sorted(listed.listings):
        listing = listed.listings[code]
        origin = listed.origin[code]
        texts, text_sources = _texts(listing, [each for each in fillers if each[0] != origin])
        _fill_industry(code, origin, market.roe, texts, text_sources)
        figures, figure_sources = _figures(code, same_day, market.roe)
        measured = any(name in figures for name in METRICS)
        yield StockBasic(
            code=code,
            source=origin,
            name=listing.name,
            market=listing.market,
            list_date=listing.list_date,
            trade_date=compact(same_day[0].day) if measured else None,
            figures=figures,
            field_sources=text_sources | figure_sources,
            **texts,
        )


def _by_code(listings: Iterable[StockListing]) -> dict[str, StockListing]:
    found: dict[str, StockListing] = {}
    for listing in listings:
        found.setdefault(listing.code, listing)  # as in unite: of two rows the first counts
    return found


def _texts(
    listing: StockListing, fillers: Sequence[tuple[str, Mapping[str, StockListing]]]
) -> tuple[dict[str, str | None], dict[str, str]]:
    values = {name: getattr(listing, name) for name in TEXTS}
    sources: dict[str, str] = {}
    for source, listings in fillers:
        other = listings.get(listing.code)
        for name in TEXTS:
            if other is not None and values[name] is None and getattr(other, name) is not None:
                values[name] = getattr(other, name)
                sources[name] = source
    return values, sources


def _fill_industry(
    code: str, origin: str, roe: RoeAnswer | None, texts: dict[str, str | None], sources: dict[str, str]
) -> None:
    """Take the industry from the reports where the lists have none, or another source's list filled it."""
    industry = roe.industries.get(code) if roe else None
    if roe is None or industry is None:
        return
    if roe.source == origin and (texts["industry"] is None or "industry" in sources):
        texts["industry"] = industry
        sources.pop("industry", None)
    elif texts["industry"] is None:
        texts["industry"] = industry
        sources["industry"] = roe.source


def _figures(
    code: str, dailies: Sequence[DailyAnswer], roe: RoeAnswer | None
) -> tuple[dict[str, float], dict[str, str]]:
    figures: dict[str, float] = {}
    sources: dict[str, str] = {}
    for answer in dailies:
        metrics = answer.metrics.get(code)
        label = f"{answer.source}:{compact(answer.day)}"
        for name in METRICS if metrics else ():
            value = getattr(metrics, name)
            if value is not None and name not in figures:
                figures[name] = value
                sources[name] = label
    if roe is not None and code in roe.values:
        figures["roe"] = roe.values[code]
        sources["roe"] = f"{roe.source}:{compact(roe.period)}"
    return figures, sources


@dataclass(frozen=True, slots=True, kw_only=True)
class StockRef:
    """What is needed of a stored row to recognise it under another code."""

    code: str
    name: str
    list_date: str | None


def renumbered(absent: Iterable[StockRef], listed: Listed) -> dict[str, str]:
    """Match rows that are no longer listed to the code under which the same stock is listed now.

    Beijing moved 248 stocks to 920xxx on 2025-10-09. Only its retired codes are matched, by name and first
    trading day together; anything less certain stays what it is: a stock that is no longer listed.
    """
    identity = {
        (item.name, item.list_date): item.code
        for item in listed.listings.values()
        if item.exchange is Exchange.BSE and not is_retired_code(item.code)
    }
    moves = {
        ref.code: identity.get((ref.name, ref.list_date))
        for ref in absent
        if ref.list_date and is_retired_code(ref.code)
    }
    return {old: new for old, new in moves.items() if new is not None}
