"""What a run changed in the market: stocks that are new, gone, back, renamed, on another board or code.

Figures move every day and are no change of the market. A change belongs to the source whose list told it.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from stocksync.domain.codes import Exchange, clean_name, locate
from stocksync.domain.merge import Listed, StockRef, renumbered
from stocksync.domain.stock import StockBasic

_KNOWN_SHARE: Final = 0.5
"""A list of which less than this was stored before is being loaded: no market doubles between two syncs."""


class ChangeKind(StrEnum):
    """What can happen to a stock."""

    LISTED = "listed"
    DELISTED = "delisted"
    RELISTED = "relisted"
    RENAMED = "renamed"
    MOVED_BOARD = "moved_board"
    RENUMBERED = "renumbered"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One change of one stock. `code` and `name` are the ones that it has after it.

    `before` and `after` are the two names of a renamed stock, the boards of one that moved, the codes of one
    that was renumbered; None for all others.
    """

    kind: ChangeKind
    code: str
    source: str
    name: str
    before: str | None = None
    after: str | None = None


def compare(before: StockBasic | None, after: StockBasic, *, was_gone: bool = False) -> tuple[Change, ...]:
    """Tell what storing `after` in the place of `before` says about the market; None was not stored."""
    if before is None:
        return (_change(ChangeKind.LISTED, after),)
    if not was_gone and before.name == after.name and before.market == after.market:
        return ()
    found: list[Change] = []
    if was_gone:
        found.append(_change(ChangeKind.RELISTED, after))
    if clean_name(before.name) != clean_name(after.name):
        found.append(_change(ChangeKind.RENAMED, after, before.name, after.name))
    if before.market != after.market:
        found.append(_change(ChangeKind.MOVED_BOARD, after, before.market, after.market))
    return tuple(found)


def _change(
    kind: ChangeKind, stock: StockBasic, before: str | None = None, after: str | None = None
) -> Change:
    return Change(
        kind=kind, code=stock.code, source=stock.source, name=stock.name, before=before, after=after
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Departures:
    """What a source's complete list no longer names: `gone`, or listed now under another code (`moves`)."""

    source: str
    gone: tuple[StockRef, ...] = ()
    moves: Mapping[str, str] = field(default_factory=dict)
    """From the old code to the new one."""

    def changes(self, listed: Listed) -> list[Change]:
        """The same, as changes of the market."""
        gone = [
            Change(kind=ChangeKind.DELISTED, code=ref.code, source=self.source, name=ref.name)
            for ref in self.gone
        ]
        moved = [
            Change(
                kind=ChangeKind.RENUMBERED,
                code=new,
                source=self.source,
                name=listed.listings[new].name,
                before=old,
                after=new,
            )
            for old, new in self.moves.items()
        ]
        return gone + moved


def departures(source: str, absent: Sequence[StockRef], listed: Listed) -> Departures:
    """Tell those that are gone from those that live on under another code."""
    moves = renumbered(absent, listed)
    return Departures(source=source, gone=tuple(ref for ref in absent if ref.code not in moves), moves=moves)


@dataclass(frozen=True, slots=True)
class Newcomers:
    """Tells a stock that was listed in the market from one that is only new to the store."""

    loaded: Mapping[str, frozenset[Exchange]]
    """Of which exchanges the store knew the source's list before this run."""
    moved: frozenset[str]
    """New codes of stocks that were stored under another one."""

    def true_changes(self, changes: Iterable[Change]) -> list[Change]:
        """Leave out what is no change of the market."""
        return [change for change in changes if change.kind is not ChangeKind.LISTED or self._is_new(change)]

    def _is_new(self, change: Change) -> bool:
        known = self.loaded.get(change.source, frozenset())
        return locate(change.code).exchange in known and change.code not in self.moved


def newcomers(
    listed: Listed, stored: Mapping[str, Mapping[Exchange, int]], leaving: Iterable[Departures]
) -> Newcomers:
    """Judge by how many rows of each source were `stored` as listed before the run, by exchange.

    A source's first load is no change of the market, also where it had been broken off.
    """
    given: dict[str, Counter[Exchange]] = {}
    for code, source in listed.origin.items():
        given.setdefault(source, Counter())[locate(code).exchange] += 1
    return Newcomers(
        loaded={
            source: frozenset(
                exchange
                for exchange, count in counts.items()
                if stored.get(source, {}).get(exchange, 0) >= count * _KNOWN_SHARE
            )
            for source, counts in given.items()
        },
        moved=frozenset(new for each in leaving for new in each.moves.values()),
    )
