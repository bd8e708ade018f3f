"""A small HTTP/1.1 server on h11 that owns its sockets, so that an answer can also go wrong on the wire.

A web framework would repair or hide exactly what the faults must show: resets, silence, cut-off bodies.
"""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass
from enum import Enum, auto
from http import HTTPStatus
from typing import Final

import h11

from stocksync.simulator.sockets import serve_connections

BODY_LIMIT: Final = 1024 * 1024
DRIP_SECONDS: Final = 0.2
_DRIP_LENGTH: Final = 1_000_000  # at five bytes a second more than two days
_READ_BYTES: Final = 65536
_LINGER_SECONDS: Final = 1.0


class Delivery(Enum):
    """How an answer travels."""

    WHOLE = auto()
    HANG = auto()
    """Not at all: the connection stays open until the client gives up."""
    RESET = auto()
    """Not at all: the connection is reset."""
    CLOSE = auto()
    """Not at all: the connection is closed."""
    DRIP = auto()
    """A byte every DRIP_SECONDS, and never to the end."""
    TRUNCATED = auto()
    """The headers of the whole, half of the body, then the connection is closed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One HTTP request. Header names are in lower case; `path` has no query."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    query: str = ""
    """What follows the question mark, still quoted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """One HTTP answer."""

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    delivery: Delivery = Delivery.WHOLE


Handler = Callable[[Request], Awaitable[Response]]


def serve(handler: Handler, *, host: str, port: int) -> AbstractAsyncContextManager[int]:
    """Serve until the context ends; gives the port that was bound (0 picks a free one)."""

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _Connection(reader, writer, handler).run()

    return serve_connections(converse, host=host, port=port)


class _Connection:
    """One client's connection, over as many requests as it sends."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, handler: Handler) -> None:
        self._reader = reader
        self._writer = writer
        self._handler = handler
        self._http = h11.Connection(h11.SERVER)
        self._method = ""

    async def run(self) -> None:
        """Answer requests until either side ends the connection."""
        try:
            while (request := await self._read_request()) is not None:
                await self._deliver(await self._handler(request))
                if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
                    break
                self._http.start_next_cycle()
        except h11.RemoteProtocolError as error:
            await self._refuse(error.error_status_hint)
        except asyncio.CancelledError:
            # The server stops: what is still in the buffer of a stalled client must not hold it up.
            self._writer.transport.abort()
            raise

    async def _read_request(self) -> Request | None:
        head = await self._next_event()
        if not isinstance(head, h11.Request):
            return None
        self._method = head.method.decode("ascii")
        body = bytearray()
        while isinstance(event := await self._next_event(), h11.Data):
            body += event.data
            if len(body) > BODY_LIMIT:
                await self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
                return None
        path, _, query = head.target.decode("ascii").partition("?")
        return Request(
            method=self._method,
            path=path,
            query=query,
            headers={name.decode("ascii"): value.decode("latin-1") for name, value in head.headers},
            body=bytes(body),
        )

    async def _next_event(self) -> object:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            if self._http.they_are_waiting_for_100_continue:
                self._write(h11.InformationalResponse(status_code=100, headers=[]))
            self._http.receive_data(await self._reader.read(_READ_BYTES))
        return event

    async def _refuse(self, status: int) -> None:
        if self._http.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            body = f"{status} {HTTPStatus(status).phrase}\n".encode()
            self._begin(Response(status=status, content_type="text/plain"), len(body), close=True)
            self._write(h11.Data(data=body))
            self._writer.write_eof()
            # Closing on unread data would reset the connection, and the refusal might be lost with it.
            with suppress(TimeoutError):
                async with asyncio.timeout(_LINGER_SECONDS):
                    await self._discard()

    async def _discard(self) -> None:
        while await self._reader.read(_READ_BYTES):
            pass

    async def _deliver(self, response: Response) -> None:
        match response.delivery:
            case Delivery.WHOLE:
                await self._send(response)
            case Delivery.TRUNCATED:
                self._begin(response, len(response.body))
                self._write(h11.Data(data=response.body[: len(response.body) // 2]))
                await self._writer.drain()
            case Delivery.DRIP:
                await self._drip(response)
            case Delivery.HANG:
                await self._discard()
            case Delivery.RESET:
                self._reset()
            case Delivery.CLOSE:
                pass

    async def _send(self, response: Response) -> None:
        self._begin(response, len(response.body))
        if self._method != "HEAD":
            self._write(h11.Data(data=response.body))
        self._write(h11.EndOfMessage())
        await self._writer.drain()

    async def _drip(self, response: Response) -> None:
        self._begin(response, _DRIP_LENGTH)
        # White space behind a JSON document is legal: even one whose end was sent is never complete.
        for byte in response.body[:_DRIP_LENGTH].ljust(_DRIP_LENGTH):
            self._write(h11.Data(data=bytes([byte])))
            await self._writer.drain()
            await asyncio.sleep(DRIP_SECONDS)

    def _reset(self) -> None:
        connection: socket.socket = self._writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    def _begin(self, response: Response, length: int, *, close: bool = False) -> None:
        headers = [("content-type", response.content_type), ("content-length", str(length))]
        if close:
            headers.append(("connection", "close"))
        reason = HTTPStatus(response.status).phrase
        self._write(h11.Response(status_code=response.status, headers=headers, reason=reason.encode("ascii")))

    def _write(self, event: h11.Event) -> None:
        data = self._http.send(event)
        if data:
            self._writer.write(data)
