"""A conversation with a server as a generator: it yields what is to be done, and is sent what came of it.

Both clients carry the same conversations out, and a test can do it without any network.
"""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeAlias, TypeVar

from stocksync.errors import Unreachable

Item = TypeVar("Item", covariant=True)  # noqa: PLC0105 - one name for both, as in Generator
Result = TypeVar("Result", covariant=True)  # noqa: PLC0105

Query = Mapping[str, str | int | float | Sequence[str]]

ANSWER_SECONDS: Final = 30.0
"""How long a server may be silent before it is taken for dead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is sent. `silence` is how many seconds may pass without a byte of the answer."""

    path: str
    method: str = "GET"
    query: Query = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    json: Mapping[str, Any] | None = None
    silence: float = ANSWER_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What came back; names of headers are in lower case. The `body` of an event stream is still to come."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Send:
    """Send a request; is answered with a Reply. With `stream`, an event stream is left open."""

    request: Request
    stream: bool = False


@dataclass(frozen=True, slots=True)
class Receive:
    """Wait for more of the open event stream; is answered with bytes, None at its end."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Give(Generic[Item]):
    """Hand a value to whoever listens."""

    value: Item


@dataclass(frozen=True, slots=True)
class Done(Generic[Result]):
    """The conversation is over, with this result."""

    value: Result


Action: TypeAlias = Send | Receive | Pause
Flow: TypeAlias = Generator[Action | Give[Item], Any, Result]
"""Gives any number of items, and ends with a result."""


def advance(flow: Flow[Item, Result], outcome: object) -> Action | Give[Item] | Done[Result]:
    """Tell a conversation what came of its last step, None before the first, and get the next one.

    An outcome that is Unreachable is raised within it; whatever it does not handle is raised here.
    """
    try:
        return flow.throw(outcome) if isinstance(outcome, Unreachable) else flow.send(outcome)
    except StopIteration as end:
        return Done(end.value)
