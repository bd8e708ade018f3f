r"""BaoStock's frames over TCP, and a server that owns its sockets, so that an answer can also go wrong there.

    request   header body \x01 crc32 \n
    answer    header body \x01 crc32 <![CDATA[]]>\n
    header    version \x01 type \x01 length of the body in ten digits: 21 bytes
    body      fields joined by \x01; of a few types zlib-compressed

The length counts characters, save where the body is compressed: then bytes. The checksum, in decimal, is that
of header and body as they travel. Recorded frames of the real server agree (tests); no record was at hand of
what follows a compressed body, where its checksum is assumed.
"""

import asyncio
import json
import re
import socket
import struct
import zlib
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Final, Protocol

from stocksync.simulator.http import DRIP_SECONDS, Delivery
from stocksync.simulator.sockets import serve_connections

SPLIT: Final = "\x01"
END: Final = b"<![CDATA[]]>\n"
HEADER_LENGTH: Final = 21
COMPRESSED: Final = frozenset({"96", "99", "9B", "9D"})

_SERVER_VERSION: Final = "00.9.00"
_READ_BYTES: Final = 65536
_CHUNK: Final = 500
_HEADER: Final = re.compile(rb"[0-9]{2}\.[0-9]\.[0-9]{2}\x01([0-9A-Z]{2})\x01([0-9]{10})")


class FrameInvalid(ValueError):
    """Bytes that are no request of this protocol."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request: its two-character type, and the fields of its body; the first names the method."""

    type: str
    fields: tuple[str, ...]

    @classmethod
    def read(cls, frame: bytes) -> "Request":
        """Read a frame without its line end. Raises FrameInvalid where length or checksum do not fit."""
        covered, _, checksum = frame.rpartition(SPLIT.encode())
        header = _HEADER.fullmatch(covered[:HEADER_LENGTH])
        if header is None or checksum != str(zlib.crc32(covered)).encode():
            raise FrameInvalid("header or checksum")
        body = covered[HEADER_LENGTH:].decode("utf-8", "replace")
        if len(body) != int(header[2]):
            raise FrameInvalid("length")
        return cls(header[1].decode(), tuple(body.split(SPLIT)))


def encode(kind: str, fields: Sequence[str]) -> bytes:
    """Make the whole frame of an answer of a type."""
    text = SPLIT.join(fields)
    # A lone surrogate has no UTF-8 form; escaped, as JSON allows, it reaches the client as what it is.
    body = text.encode("utf-8", "backslashreplace")
    length = len(text)
    if kind in COMPRESSED:
        body = zlib.compress(body)
        length = len(body)
    covered = SPLIT.join((_SERVER_VERSION, kind, f"{length:010d}")).encode() + body
    return covered + f"{SPLIT}{zlib.crc32(covered)}".encode() + END


def record(rows: Sequence[Sequence[object]]) -> str:
    """Write rows as the protocol's JSON. In chunks: json holds the interpreter lock while it writes one."""
    texts = [list(row) for row in rows]
    chunks = (_dump(texts[start : start + _CHUNK])[1:-1] for start in range(0, len(texts), _CHUNK))
    return '{"record":[' + ",".join(chunks) + "]}"


def _dump(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def damage(frame: bytes) -> bytes:
    """Leave a sixth of a frame's body: it ends as it should, but is not what its length and checksum say."""
    keep = HEADER_LENGTH + (len(frame) - HEADER_LENGTH - len(END)) // 6
    while frame[keep] & 0xC0 == 0x80:  # noqa: PLR2004 - not within a character: that is another error
        keep -= 1
    return frame[:keep] + END


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The bytes to send, and how they travel."""

    frame: bytes
    delivery: Delivery = Delivery.WHOLE
    last: bool = False
    """Whether the connection is closed behind it."""


class Session(Protocol):
    """What the server knows of one connection."""

    async def answer(self, frame: bytes) -> Answer:
        """Answer one request, given without its line end."""
        ...


def serve(open_session: Callable[[], Session], *, host: str, port: int) -> AbstractAsyncContextManager[int]:
    """Serve until the context ends; gives the port that was bound (0 picks a free one)."""

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _Connection(reader, writer, open_session()).run()

    return serve_connections(converse, host=host, port=port)


class _Connection:
    """One client's connection, over as many requests as it sends."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, session: Session) -> None:
        self._reader = reader
        self._writer = writer
        self._session = session

    async def run(self) -> None:
        """Answer requests until either side ends the connection."""
        try:
            while (line := await self._read()) is not None:
                answer = await self._session.answer(line)
                await self._deliver(answer)
                if answer.last or answer.delivery is not Delivery.WHOLE:
                    break
        except asyncio.CancelledError:
            # The server stops: what is still in the buffer of a stalled client must not hold it up.
            self._writer.transport.abort()
            raise

    async def _read(self) -> bytes | None:
        try:
            return (await self._reader.readuntil(b"\n")).removesuffix(b"\n")
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            return None

    async def _deliver(self, answer: Answer) -> None:
        match answer.delivery:
            case Delivery.WHOLE:
                await self._send(answer.frame)
            case Delivery.TRUNCATED:
                await self._send(answer.frame[: len(answer.frame) // 2])
            case Delivery.DRIP:
                await self._drip(answer.frame)
            case Delivery.HANG:
                while await self._reader.read(_READ_BYTES):
                    pass
            case Delivery.RESET:
                self._reset()
            case Delivery.CLOSE:
                pass

    async def _send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def _drip(self, frame: bytes) -> None:
        # Without its end: the client reads on, however long the answer was.
        for byte in frame.removesuffix(END):
            await self._send(bytes([byte]))
            await asyncio.sleep(DRIP_SECONDS)
        while True:
            await self._send(b" ")
            await asyncio.sleep(DRIP_SECONDS)

    def _reset(self) -> None:
        connection: socket.socket = self._writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()
