"""A well-formed table, and the ways in which its data can be wrong: shared by all replicas."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from stocksync.domain import codes
from stocksync.errors import RowError
from stocksync.simulator.faults import Kind

Row = Sequence[object]

_TEN: Final = 10
_SIX_DIGITS: Final = re.compile(r"[0-9]{6}")

POISON_CODES: Final = ("605991", "605992", "605993", "605994", "605995")
"""Codes of the poison rows that have a good one; no made-up company carries them."""


def dotted(digits: str, suffix: str) -> str:
    """Spell a code as Tushare does: "600000", "SH" → "600000.SH"."""
    return f"{digits}.{suffix}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows under named columns, before an upstream's protocol wraps them."""

    fields: tuple[str, ...]
    rows: Sequence[Row]
    code: str | None
    """The column that names the stock; None where rows are not about stocks."""
    vital: str
    """The column that matters most beside it."""
    spell: Callable[[str, str], str] = dotted
    """How this upstream writes six digits and an exchange's suffix."""

    def place(self, field: str | None) -> int | None:
        """Tell where a column stands; None where it was not asked for."""
        return self.fields.index(field) if field in self.fields else None

    def select(self, wanted: Sequence[str]) -> "Table":
        """Keep the columns that were asked for, in the order asked."""
        places = [self.fields.index(field) for field in wanted]
        return replace(
            self, fields=tuple(wanted), rows=[tuple(row[place] for place in places) for row in self.rows]
        )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float)


def _first(count: int) -> Callable[[Table], Table]:
    return lambda table: replace(table, rows=table.rows[:count])


def _half(table: Table) -> Table:
    return replace(table, rows=table.rows[: len(table.rows) // 2])


def _renamed(table: Table) -> Table:
    return replace(table, fields=tuple(f"{field}_new" for field in table.fields))


def _missing_column(table: Table) -> Table:
    place = table.place(table.vital)
    gone = len(table.fields) - 1 if place is None else place
    return table.select([field for field in table.fields if field != table.fields[gone]])


def _wrong_types(table: Table) -> Table:
    code = table.place(table.code)

    def garble(place: int, value: object) -> object:
        if place == code:
            return value
        if _is_number(value):
            return "abc" if place % 2 else {"value": value}
        return [value] if place % 2 else 12.5

    return replace(table, rows=[[garble(*pair) for pair in enumerate(row)] for row in table.rows])


def _nan(table: Table) -> Table:
    vital = table.place(table.vital)

    def spoil(row: Row) -> Row:
        return [
            float("nan") if place == vital or _is_number(value) else value for place, value in enumerate(row)
        ]

    return replace(table, rows=[row if index % 3 else spoil(row) for index, row in enumerate(table.rows)])


def _no_beijing(table: Table) -> Table:
    code = table.place(table.code)
    if code is None:
        return table
    return replace(table, rows=[row for row in table.rows if not _is_beijing(row[code])])


def _is_beijing(code: object) -> bool:
    match = _SIX_DIGITS.search(str(code))
    try:
        return match is not None and codes.locate(match[0]).exchange is codes.Exchange.BSE
    except RowError:
        return False


def poison_rows(table: Table) -> list[Row]:
    """Make eight rows that no store may swallow, from a copy of the first good one.

    Under POISON_CODES the vital column (a name, a market value) holds in turn: a NUL, 2**70, null, a lone
    surrogate, 10,000 characters. Then a prefix that no exchange issued, a B share, the good row once more.
    """
    model = table.rows[0]
    nasty = ("毒\x00药", 2**70, None, "毒\ud800药", "长" * 10_000)
    bad: list[Mapping[str, object]] = [
        {**_identity(table, digits, "SH"), table.vital: value}
        for digits, value in zip(POISON_CODES, nasty, strict=True)
    ]
    bad += [_identity(table, "999999", "SH"), _identity(table, "900999", "SH"), {}]
    return [
        [changes.get(field, value) for field, value in zip(table.fields, model, strict=True)]
        for changes in bad
    ]


def _identity(table: Table, digits: str, suffix: str) -> Mapping[str, object]:
    return {"symbol": digits} | ({table.code: table.spell(digits, suffix)} if table.code else {})


def _poison(table: Table) -> Table:
    if not table.rows:
        return table
    rows = list(table.rows)
    bad = poison_rows(table)
    step = len(rows) // len(bad) + 1
    for number, row in enumerate(bad):
        rows.insert(1 + number * step, row)  # spread over the answer: the middle of a batch is where it hurts
    return replace(table, rows=rows)


_SPOILERS: Final[Mapping[Kind, Callable[[Table], Table]]] = {
    Kind.EMPTY: _first(0),
    Kind.TEN_ROWS: _first(_TEN),
    Kind.HALF: _half,
    Kind.RENAMED: _renamed,
    Kind.MISSING_COLUMN: _missing_column,
    Kind.WRONG_TYPES: _wrong_types,
    Kind.NAN: _nan,
    Kind.POISON: _poison,
    Kind.NO_EXCHANGE_BJ: _no_beijing,
}
_SPOILERS_OF_NEWEST: Final[Mapping[Kind, Callable[[Table], Table]]] = {
    Kind.UNPUBLISHED: _first(0),
    Kind.HALF_PUBLISHED: _first(_TEN),
}


def spoil(table: Table, kind: Kind | None, *, newest: bool) -> Table:
    """Apply a fault of the data; other faults leave the table as it is.

    `newest` says that the table is the day's metrics of the newest open day, which may be unpublished.
    """
    if kind is None:
        return table
    spoilers = {**_SPOILERS, **_SPOILERS_OF_NEWEST} if newest else _SPOILERS
    spoiler = spoilers.get(kind)
    return table if spoiler is None else spoiler(table)
