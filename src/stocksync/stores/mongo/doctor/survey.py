"""One pass over stock_basic_info: everything that single rows can tell. Reads only."""

from collections import Counter
from collections.abc import AsyncIterator, Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from bson import DatetimeConversion
from bson.codec_options import CodecOptions

from stocksync.domain.codes import locate
from stocksync.domain.magnitudes import Row
from stocksync.domain.stock import FIGURES
from stocksync.errors import RowError
from stocksync.stores.mongo.connection import Connection, translating
from stocksync.stores.mongo.doctor.forms import (
    DAYS,
    MOMENT,
    Document,
    Fix,
    figures_of,
    fix_code,
    fix_dates,
    fix_figures,
    text_code,
)
from stocksync.stores.mongo.schema import STOCKS
from stocksync.stores.report import EXAMPLES, Finding, Severity, SourceRows

PAGE: Final = 1000
"""Documents a page, operations a command."""

_TOLERANT: Final[CodecOptions[dict[str, Any]]] = CodecOptions(
    tz_aware=True,
    datetime_conversion=DatetimeConversion.DATETIME_AUTO,
    unicode_decode_error_handler="replace",
)
"""An old database may hold dates and texts that Python cannot: they are found, not stumbled over."""

_FIELDS: Final = ("code", "source", MOMENT, *DAYS, *FIGURES, "_sync.changed_run")

Key = tuple[Hashable, Hashable]


async def pages(
    connection: Connection, name: str, wanted: Mapping[str, Any], fields: tuple[str, ...] = ()
) -> AsyncIterator[list[dict[str, Any]]]:
    """Read what matches, page by page. Raises StoreError."""
    with translating():
        collection = connection[name].with_options(codec_options=_TOLERANT)
        cursor = collection.find(wanted, dict.fromkeys(fields, 1) or None, batch_size=PAGE)
        while page := await cursor.to_list(PAGE):
            yield page


def is_foreign(document: Document) -> bool:
    """Whether this service has never written the row."""
    sync = document.get("_sync")
    return not (isinstance(sync, Mapping) and "changed_run" in sync)


def source_of(document: Document) -> str | None:
    """The source of a row; None where it has none."""
    source = document.get("source")
    return source if isinstance(source, str) and source else None


def key_of(document: Document) -> Key:
    """What must be unique, a code that was stored as a number counting as its text."""
    code = text_code(document.get("code"))
    return _hashable(code if code is not None else document.get("code")), _hashable(document.get("source"))


def _hashable(value: Any) -> Hashable:
    return value if isinstance(value, str | int | float | None) else repr(value)


def _named(document: Document, name: str = "") -> str:
    """A document for people, with one of its fields."""
    row = f"{document['code']}/{document.get('source')}" if "code" in document else str(document["_id"])
    return f"{row[:40]} {name}={document.get(name)!r}"[:100] if name else row[:40]


@dataclass(slots=True)
class Tally:
    """How many documents have something, in which fields, and a few of them by name."""

    rows: int = 0
    fields: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)

    def add(self, document: Document, *names: str) -> None:
        """Count a document, once, and its fields."""
        self.rows += 1
        self.fields.update(names)
        if len(self.examples) < EXAMPLES:
            self.examples.append(_named(document, names[0] if names else ""))

    @property
    def by_field(self) -> str:
        """The fields for people, the most frequent first."""
        return "、".join(f"{name} {count} 行" for name, count in self.fields.most_common())


@dataclass(slots=True)
class Survey:
    """What the pass has seen."""

    rows: Counter[str | None] = field(default_factory=Counter)
    foreign: Counter[str | None] = field(default_factory=Counter)
    keys: dict[Key, list[Any]] = field(default_factory=dict)
    stored_keys: Counter[Key] = field(default_factory=Counter)
    measured: dict[str, list[Row]] = field(default_factory=dict)
    tallies: dict[str, Tally] = field(default_factory=dict)

    def add(self, document: Document) -> None:
        """Look at one row."""
        source = source_of(document)
        self.rows[source] += 1
        if source is None:
            self._tally("missing_source").add(document)
        if is_foreign(document):
            self.foreign[source] += 1
            if source is not None:
                row = Row(str(text_code(document.get("code"))), figures_of(document))
                self.measured.setdefault(source, []).append(row)
        self.keys.setdefault(key_of(document), []).append(document["_id"])
        self.stored_keys[_hashable(document.get("code")), _hashable(document.get("source"))] += 1
        self._look_at_code(document)
        self._note(document, fix_dates(document), "date_formats", "unreadable_dates")
        self._note(document, fix_figures(document), "unknown_as_value", "unreadable_figures")

    def _look_at_code(self, document: Document) -> None:
        if fix_code(document).values:
            self._tally("int_codes").add(document, "code")
            return
        try:
            locate(document.get("code"))
        except RowError:
            self._tally("bad_codes").add(document, "code")

    def _note(self, document: Document, fix: Fix, mendable: str, unreadable: str) -> None:
        if fix.fields:
            self._tally(mendable).add(document, *fix.fields)
        if fix.unreadable:
            self._tally(unreadable).add(document, *fix.unreadable)

    def _tally(self, code: str) -> Tally:
        return self.tallies.setdefault(code, Tally())

    @property
    def twice(self) -> list[list[Any]]:
        """The _ids of the rows that share a key, one group a key."""
        return [ids for ids in self.keys.values() if len(ids) > 1]

    @property
    def sources(self) -> tuple[SourceRows, ...]:
        """How many rows each source has."""
        return tuple(
            SourceRows(source=source, rows=rows, foreign=self.foreign[source])
            for source, rows in sorted(self.rows.items(), key=lambda each: str(each[0] or ""))
        )

    def findings(self) -> Iterator[Finding]:
        """What is wrong with single rows, and with rows that share a key."""
        if self.twice:
            yield self._duplicates()
        for code, (message, repair) in _ROW_FINDINGS.items():
            tally = self.tallies.get(code)
            if tally is not None:
                yield Finding(
                    code=code,
                    severity=Severity.WARNING,
                    message=message.format(rows=tally.rows, fields=tally.by_field),
                    count=tally.rows,
                    examples=tuple(tally.examples),
                    repair=repair,
                )

    def _duplicates(self) -> Finding:
        groups = [(key, ids) for key, ids in self.keys.items() if len(ids) > 1]
        surplus = sum(len(ids) - 1 for _, ids in groups)
        blocking = any(count > 1 for count in self.stored_keys.values())
        return Finding(
            code="duplicate_keys",
            severity=Severity.BLOCKING if blocking else Severity.WARNING,
            message=f"{len(groups)} 个 (code, source) 有多行，多出 {surplus} 行"
            + ("：无法建立唯一索引，任何同步都会失败" if blocking else "：其中的代码存成了数字"),
            count=surplus,
            examples=tuple(f"{code}/{source} × {len(ids)}" for (code, source), ids in groups[:EXAMPLES]),
            repair="每组保留最新的一行，其余整行移入集合 stocksync_repair_removed",
        )


_ROW_FINDINGS: Final[Mapping[str, tuple[str, str | None]]] = {
    "missing_source": ("{rows} 行没有 source：同步不会更新它们，内容保持原样", None),
    "int_codes": ("{rows} 行的 code 存成了数字：同步会在旁边另建一行", "改为六位字符串"),
    "bad_codes": ("{rows} 行的 code 不是六位数字，或不是 A 股：同步不会更新它们，内容保持原样", None),
    "date_formats": (
        "{rows} 行的日期格式不对（{fields}）：排序和筛选会出错",
        "updated_at 改为 BSON 日期（无时区的按北京时间），list_date 和 trade_date 改为 YYYYMMDD，空值去掉",
    ),
    "unreadable_dates": ("{rows} 行的日期无法识别（{fields}），保持原样", None),
    "unknown_as_value": (
        "{rows} 行用 0、NaN、空值或文字表示指标（{fields}）：未知的指标应当不存在",
        "去掉未知的指标，文字改为数值",
    ),
    "unreadable_figures": ("{rows} 行的指标无法识别（{fields}），保持原样", None),
}


async def survey(connection: Connection) -> Survey:
    """Look at every row. Raises StoreError."""
    seen = Survey()
    async for page in pages(connection, STOCKS, {}, _FIELDS):
        for document in page:
            seen.add(document)
    return seen
