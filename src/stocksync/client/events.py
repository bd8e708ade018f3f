"""Server-Sent Events, as far as our servers speak them."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One event of a stream; `id` is empty where it has none."""

    name: str
    data: str
    id: str = ""


class Decoder:
    """Puts events together from pieces of any size. Comments are for proxies, and skipped."""

    def __init__(self) -> None:
        self.retry_seconds: float | None = None
        """How long the server wants clients to wait before they connect again, once it has said so."""
        self._rest = b""
        self._fields: dict[str, str] = {}

    def feed(self, piece: bytes) -> list[Event]:
        """Give the events that are complete with this piece."""
        *lines, self._rest = (self._rest + piece).split(b"\n")
        events = (self._take(line.removesuffix(b"\r").decode("utf-8", "replace")) for line in lines)
        return [event for event in events if event is not None]

    def _take(self, line: str) -> Event | None:
        if not line:
            return self._complete()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "retry" and value.isdecimal():
            self.retry_seconds = int(value) / 1000
        elif name == "data" and "data" in self._fields:
            self._fields["data"] += f"\n{value}"
        elif name:
            self._fields[name] = value
        return None

    def _complete(self) -> Event | None:
        fields, self._fields = self._fields, {}
        if "data" not in fields:
            return None
        return Event(name=fields.get("event", "message"), data=fields["data"], id=fields.get("id", ""))
