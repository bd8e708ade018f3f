"""Rows as CSV (RFC 4180), for spreadsheets: they need the mark at the beginning, and must see no formulas."""

import csv
import io
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Final

from starlette.responses import StreamingResponse

MARK: Final = "\ufeff".encode()
"""Tells Excel that this is UTF-8."""

_FORMULA: Final = frozenset("=+-@\t\r\n")


class CsvResponse(StreamingResponse):
    """A file to be saved."""

    media_type: str | None = "text/csv"


def csv_lines(rows: Iterable[Sequence[object]]) -> bytes:
    """Encode rows; None is an empty cell."""
    text = io.StringIO()
    csv.writer(text).writerows([_cell(value) for value in row] for row in rows)
    return text.getvalue().encode("utf-8", "replace")


def _cell(value: object) -> object:
    """Let no text begin like a formula, also not in a compatible form of the character (＝, ﹢)."""
    if not isinstance(value, str) or not value:
        return value
    return f"'{value}" if unicodedata.normalize("NFKC", value[0])[:1] in _FORMULA else value
