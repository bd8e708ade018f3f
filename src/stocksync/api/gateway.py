"""What every request passes first: who may talk to us, and the one answer that thousands of pollers ask for.

The status is answered here, from bytes that were made when its revision was made: no routing, no
framework, no I/O. So is its plain event stream. Every other request goes on to the application. An event
stream that is begun there comes back to be carried on: it lives for minutes, and the framework would hold on
to everything that it knows about the request.
"""

import ipaddress
import re
from collections.abc import Iterable, Sequence
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stocksync.api.events import EVENTS_PATH, StatusEvents
from stocksync.api.problems import problem_response
from stocksync.api.sse import BEGUN, EventStream
from stocksync.api.view import STATUS_PATHS, StatusView
from stocksync.errors import BodyRefused, BodyTooLarge, HostRefused, OriginRefused, RequestRefused

_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_MOST_BODY_BYTES: Final = 1_048_576
_MOST_REMEMBERED: Final = 64

Headers = Iterable[tuple[bytes, bytes]]


class Gateway:
    """The outermost ASGI application."""

    def __init__(self, allowed_hosts: Iterable[str], allowed_origins: Iterable[str]) -> None:
        self.application: ASGIApp
        """Everything but what is plain."""
        self.status: StatusView
        """What the plain status GET is answered from; set by the lifespan before the first request."""
        self.events: StatusEvents
        """What the plain event stream is answered from; set likewise."""
        self._names = {"localhost", *(name.lower() for name in allowed_hosts)}
        self._origins = {origin.rstrip("/").lower() for origin in allowed_origins}
        self._good_hosts: set[bytes] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request; the signature is ASGI's."""
        if scope["type"] != "http":
            await self.application(scope, receive, send)
            return
        if scope["method"] == "HEAD":
            await self._headers_only(scope, receive, send)
            return
        host, origin, known_tag = _wanted(scope["headers"])
        application = self.application
        if scope["method"] == "GET" and not scope["query_string"] and not origin and host in self._good_hosts:
            if scope["path"] in STATUS_PATHS:
                start, body = self.status.get().messages(known_tag)
                await send(start)
                await send(body)
                return
            if scope["path"] == EVENTS_PATH:
                application = self.events.plain(scope["headers"])
        for stream in await self._answered(application, scope, receive, send, host=host, origin=origin):
            await stream.run(receive, send)

    async def _headers_only(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer HEAD as GET is answered, without the body."""
        scope["method"] = "GET"

        async def without_body(message: Message) -> None:
            await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

        host, origin, _ = _wanted(scope["headers"])
        if await self._answered(self.application, scope, receive, without_body, host=host, origin=origin):
            await send({"type": "http.response.body", "body": b""})

    async def _answered(
        self, application: ASGIApp, scope: Scope, receive: Receive, send: Send, *, host: bytes, origin: bytes
    ) -> Sequence[EventStream]:
        """Answer what may be asked; give the stream, if any, that is to be carried on behind its headers."""
        begun: list[EventStream] = []
        scope[BEGUN] = begun
        try:
            self._check(scope, host, origin)
            await application(scope, _limited(receive), send)
        except RequestRefused as exc:
            await problem_response(exc, scope["path"])(scope, receive, send)
        return begun

    def _check(self, scope: Scope, host: bytes, origin: bytes) -> None:
        if host not in self._good_hosts:
            self._check_host(host)
        if scope["method"] not in _SAFE_METHODS:
            self._check_change(scope, host, origin)

    def _check_host(self, host: bytes) -> None:
        """Refuse names that are not ours: a page whose name was re-pointed at this machine (DNS rebinding).

        An IP address in the header cannot come from such a page, because it was never looked up.
        """
        name = _host_name(host)
        if name not in self._names and not _is_address(name):
            raise HostRefused(f"不接受的 Host：{name[:100]!r}；可用 STOCKSYNC_ALLOWED_HOSTS 放行")
        if len(self._good_hosts) < _MOST_REMEMBERED:
            self._good_hosts.add(host)

    def _check_change(self, scope: Scope, host: bytes, origin: bytes) -> None:
        """Refuse what another site's page could send for its reader: foreign origin, form-encoded body."""
        if origin:
            text = origin.decode("latin-1").lower()
            if text not in self._origins and text.partition("://")[2] != host.decode("latin-1").lower():
                raise OriginRefused("不接受来自其他网站页面的请求；可用 STOCKSYNC_ALLOWED_ORIGINS 放行")
        headers = dict(scope["headers"])
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or len(length) > len(str(_MOST_BODY_BYTES)) or int(length) > _MOST_BODY_BYTES:
            raise BodyTooLarge("请求体过大")
        has_body = int(length) > 0 or b"transfer-encoding" in headers
        if has_body and not headers.get(b"content-type", b"").lower().startswith(b"application/json"):
            raise BodyRefused("请求体必须是 application/json")


def _wanted(headers: Headers) -> tuple[bytes, bytes, bytes]:
    """The headers host, origin and if-none-match, in one pass."""
    host = origin = known_tag = b""
    for name, value in headers:
        if name == b"host":
            host = value
        elif name == b"if-none-match":
            known_tag = value
        elif name == b"origin":
            origin = value
    return host, origin, known_tag


def _limited(receive: Receive) -> Receive:
    """Count what is read of a body, because not every body says how long it is."""
    left = _MOST_BODY_BYTES

    async def counted() -> Message:
        nonlocal left
        message = await receive()
        left -= len(message.get("body", b""))
        if left < 0:
            raise BodyTooLarge("请求体过大")
        return message

    return counted


_HOST = re.compile(r"(?:\[([0-9a-f:.]+)\]|([a-z0-9._-]+))(?::[0-9]{1,5})?\Z")


def _host_name(host: bytes) -> str:
    """The name in a Host header, without its port: "[::1]:8000" → "::1"; empty for anything else."""
    match = _HOST.match(host.decode("latin-1").lower())
    return (match[1] or match[2]) if match else ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
