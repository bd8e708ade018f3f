"""What can be made to go wrong, where it is switched on, and who was called: shared by all replicas."""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Self

ANY_CALL: Final = "*"


class FaultInvalid(ValueError):
    """A fault was asked for that does not exist, or of a call that does not."""


class Kind(StrEnum):
    """Every kind of fault; `meaning` documents it in one line."""

    meaning: str

    def __new__(cls, value: str, meaning: str) -> Self:
        """Make a member that is its value and carries its meaning."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        return member

    # Whole answers of another status.
    HTTP400 = "http400", "status 400 with an HTML page"
    HTTP403 = "http403", "status 403 with an HTML page, as a ban looks"
    HTTP404 = "http404", "status 404 with an HTML page"
    HTTP429 = "http429", "status 429 with an HTML page"
    HTTP500 = "http500", "status 500 with an HTML page"
    HTTP502 = "http502", "status 502 with an HTML page"
    HTTP503 = "http503", "status 503 with an HTML page"
    # The connection misbehaves.
    HANG = "hang", "takes the request and never answers"
    RESET = "reset", "resets the connection (RST) instead of answering"
    CLOSE = "close", "closes the connection without answering"
    DRIP = "drip", "a byte every so often: no read time-out fires, yet the answer never completes"
    TRUNCATED = "truncated", "headers of the whole answer, half of its body, then the connection closes"
    # Status 200, but not the protocol.
    BADJSON = "badjson", "status 200 and a body that is not JSON"
    HTML = "html", "status 200 and an HTML page"
    BADFRAME = "badframe", "a frame that ends as it should, without most of its body (BaoStock)"
    # The protocol, but not the data.
    EMPTY = "empty", "well-formed, no rows"
    TEN_ROWS = "ten_rows", "the first ten rows only"
    HALF = "half", "the first half of the rows only"
    REPEATED = "repeated", "every page is the first one (AKShare's sites)"
    RENAMED = "renamed", "every column has another name"
    MISSING_COLUMN = "missing_column", "the column that matters most is missing"
    WRONG_TYPES = "wrong_types", "texts where numbers belong, numbers and nested values where texts belong"
    NAN = "nan", "NaN literals, which are not JSON, in every third row"
    POISON = "poison", "a few poison rows among the good ones (tables.poison_rows)"
    NO_EXCHANGE_BJ = "no_exchange_bj", "the rows of the Beijing exchange are missing"
    UNPUBLISHED = "unpublished", "the newest open day has no rows yet, earlier days are whole"
    HALF_PUBLISHED = "half_published", "the newest open day has ten rows, earlier days are whole"
    # The protocol's own refusals.
    BAD_TOKEN = "bad_token", "the token is refused"
    NO_PERMISSION = "no_permission", "the account may not use this call"
    MINUTE_LIMIT = "minute_limit", "too many calls this minute"
    HOUR_LIMIT = "hour_limit", "too many calls this hour"
    DAY_LIMIT = "day_limit", "too many calls today"
    BANNED = "banned", "the account is on the blacklist (BaoStock)"
    LOGIN_LIMIT = "login_limit", "too many logins of this account (BaoStock)"
    NOT_LOGGED_IN = "not_logged_in", "the session has ended (BaoStock)"
    UNKNOWN_CODE = "unknown_code", "a code of the upstream that no client knows"


_KINDS: Final = {str(kind): kind for kind in Kind}
_SYNTAX: Final = re.compile(r"(?P<kind>[a-z0-9_]+)(:(?P<times>[1-9][0-9]{0,5}))?\Z")


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of fault, for ever or for the next `times` calls."""

    kind: Kind
    times: int | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read "http502" or "http502:2". Raises FaultInvalid naming the kinds that exist."""
        match = _SYNTAX.match(text)
        kind = _KINDS.get(match["kind"]) if match else None
        if match is None or kind is None:
            raise FaultInvalid(
                f"{text!r} is no fault; write KIND or KIND:TIMES, with one of: {', '.join(Kind)}"
            )
        return cls(kind, int(match["times"]) if match["times"] else None)

    def __str__(self) -> str:
        return str(self.kind) if self.times is None else f"{self.kind}:{self.times}"


class Faults:
    """The faults that are switched on, by target: "tushare.daily_basic", or "tushare.*" for every call.

    A call's own fault goes before that of "*". No method awaits, so on one event loop each is atomic.
    """

    def __init__(self, known: Mapping[str, Collection[str]]) -> None:
        """Take the calls that exist, by upstream: a typing error must not be a fault that never happens."""
        self._known = known
        self._active: dict[str, Fault] = {}

    def set(self, target: str, fault: str) -> None:
        """Switch a fault on, replacing the target's earlier one. Raises FaultInvalid."""
        self.update({target: fault})

    def update(self, faults: Mapping[str, str]) -> None:
        """Switch several on, or none if one of them is invalid. Raises FaultInvalid."""
        self._active.update({self._target(target): Fault.parse(text) for target, text in faults.items()})

    def read(self, texts: Iterable[str]) -> None:
        """Switch on what a command line names: "tushare.daily_basic=http502:2". Raises FaultInvalid."""
        pairs: dict[str, str] = {}
        for text in texts:
            target, equals, fault = text.partition("=")
            if not equals:
                raise FaultInvalid(
                    f"{text!r} is no fault; write UPSTREAM.CALL=KIND, e.g. tushare.daily_basic=http502"
                )
            pairs[target.strip()] = fault.strip()
        self.update(pairs)

    def get(self) -> dict[str, str]:
        """Tell what is switched on now, as `update` reads it."""
        return {target: str(fault) for target, fault in self._active.items()}

    def clear(self, target: str | None = None) -> None:
        """Switch off the fault of one target, or all of them."""
        if target is None:
            self._active.clear()
        else:
            self._active.pop(target, None)

    def take(self, upstream: str, call: str) -> Kind | None:
        """Tell what this one call must suffer, and count it down."""
        for target in (f"{upstream}.{call}", f"{upstream}.{ANY_CALL}"):
            fault = self._active.get(target)
            if fault is None:
                continue
            if fault.times == 1:
                del self._active[target]
            elif fault.times is not None:
                self._active[target] = Fault(fault.kind, fault.times - 1)
            return fault.kind
        return None

    def _target(self, target: str) -> str:
        upstream, _, call = target.partition(".")
        if call != ANY_CALL and call not in self._known.get(upstream, ()):
            calls = [
                f"{name}.{call}" for name, calls in self._known.items() for call in (ANY_CALL, *sorted(calls))
            ]
            raise FaultInvalid(f"no call {target!r} to spoil; there are: {', '.join(calls)}")
        if upstream not in self._known:
            raise FaultInvalid(f"no upstream {upstream!r}; there are: {', '.join(self._known)}")
        return target


class Calls:
    """How often each call of each upstream was made, faulty answers included."""

    def __init__(self) -> None:
        """Begin at zero."""
        self._counts: Counter[str] = Counter()

    def count(self, upstream: str, call: str) -> None:
        """Note one call."""
        self._counts[f"{upstream}.{call}"] += 1

    def of(self, target: str) -> int:
        """How often "tushare.daily_basic" was called."""
        return self._counts[target]

    def get(self) -> dict[str, int]:
        """All counts, by target."""
        return dict(self._counts)

    def reset(self) -> None:
        """Begin at zero again."""
        self._counts.clear()
