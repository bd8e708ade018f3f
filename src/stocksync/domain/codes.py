"""From a six-digit code to exchange, board and full symbol: the only place that knows.

The rules are the exchanges' own code ranges (table "Codes" of the mission's upstream notes): SSE, SZSE
and BSE publish which prefixes they issue. A prefix that is not in the table is never guessed.
"""

import re
import unicodedata
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from stocksync.errors import BadRow, OutOfScope


class Exchange(StrEnum):
    """The three exchanges of mainland China, by the suffix of a full symbol."""

    SSE = "SH"
    SZSE = "SZ"
    BSE = "BJ"

    @property
    def full_name(self) -> str:
        """The Chinese name, as the field `sse` of a stored stock carries it."""
        return _FULL_NAMES[self]


_FULL_NAMES = {
    Exchange.SSE: "上海证券交易所",
    Exchange.SZSE: "深圳证券交易所",
    Exchange.BSE: "北京证券交易所",
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a code is listed: its exchange and its board (field `market`)."""

    exchange: Exchange
    board: str


_SH_MAIN = Place(Exchange.SSE, "主板")
_SH_STAR = Place(Exchange.SSE, "科创板")
_SZ_MAIN = Place(Exchange.SZSE, "主板")
_SZ_CHINEXT = Place(Exchange.SZSE, "创业板")
_BEIJING = Place(Exchange.BSE, "北交所")

# Longest prefix first: 920 (Beijing) must be seen before 900 (B shares) and any rule for 9.
_PLACES: dict[str, Place] = {
    **dict.fromkeys(("600", "601", "603", "605"), _SH_MAIN),
    **dict.fromkeys(("688", "689"), _SH_STAR),
    **dict.fromkeys(("000", "001", "002", "003"), _SZ_MAIN),
    **dict.fromkeys(("300", "301", "302"), _SZ_CHINEXT),
    "920": _BEIJING,
    **dict.fromkeys(("43", "83", "87", "88"), _BEIJING),  # Beijing's own until October 2025
}
_OUT_OF_SCOPE = {"900": "沪市B股", "200": "深市B股", "400": "新三板", "420": "新三板"}
_CODE = re.compile(r"[0-9]{6}\Z", re.ASCII)


def locate(code: object) -> Place:
    """Tell where a six-digit A-share code is listed.

    Raises OutOfScope for B shares and NEEQ, BadRow for anything that is not six ASCII digits or whose
    prefix no exchange issues to A shares.
    """
    if not isinstance(code, str) or not _CODE.match(code):
        raise BadRow(code=str(code)[:20], field="code", value=code, reason="代码不是六位数字")
    return _locate(code)


@lru_cache(maxsize=16_384)  # three times the market: a sync asks for every code again and again
def _locate(code: str) -> Place:
    for length in (3, 2):
        place = _PLACES.get(code[:length])
        if place is not None:
            return place
    if code[:3] in _OUT_OF_SCOPE:
        raise OutOfScope(f"{code}: {_OUT_OF_SCOPE[code[:3]]}")
    raise BadRow(code=code, field="code", value=code, reason="未知的代码前缀")


def full_symbol(code: str) -> str:
    """Code with its exchange suffix: "000001" → "000001.SZ". Raises as `locate`."""
    return f"{code}.{locate(code).exchange}"


def split_symbol(symbol: object) -> str:
    """The code of a suffixed symbol: "600519.SH" → "600519".

    Raises BadRow where there is no suffix or where it contradicts the code: indices share digits with
    stocks (000001.SH is an index, 000001.SZ a bank), so a wrong suffix means another instrument.
    """
    code, _, suffix = symbol.partition(".") if isinstance(symbol, str) else ("", "", "")
    if locate(code).exchange != suffix:
        raise BadRow(code=code, field="ts_code", value=symbol, reason="交易所后缀与代码不符")
    return code


def is_retired_code(code: str) -> bool:
    """Whether Beijing gave this code up on 2025-10-09, when its stocks moved to 920xxx."""
    return len(code) == len("430047") and code[:2] in {"43", "83", "87", "88"}


def clean_name(name: str) -> str:
    """One form for a short name: full-width letters folded (NFKC), no inner spaces ("万  科Ａ" → "万科A")."""
    words = unicodedata.normalize("NFKC", name).split()
    return unicodedata.normalize("NFKC", "".join(words))  # what a space kept apart may combine now
