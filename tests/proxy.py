"""A TCP proxy between a client and mongod that loses answers, or everything, on purpose."""

import asyncio
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Final

_HEADER: Final = struct.Struct("<iiii")
_OP_MSG: Final = 2013

Loses = Callable[[bytes], bool]
"""Decides by a request's bytes whether its answer gets lost."""


def is_write(message: bytes) -> bool:
    """Whether a message is a command that changes something (OP_MSG; the command's name comes first)."""
    if _HEADER.unpack_from(message)[3] != _OP_MSG:
        return False
    name = message[26:58].partition(b"\0")[0]  # header 16, flags 4, kind 1, document length 4, type 1
    return name in {b"insert", b"update", b"delete", b"findAndModify"}


@dataclass
class Proxy:
    """Passes messages on. Set `loses` to cut the connection where an answer should come back."""

    server_port: int
    port: int = 0
    loses: Loses = lambda _: False
    lost: int = 0
    _passing: asyncio.Event = field(default_factory=asyncio.Event)
    _links: set[asyncio.StreamWriter] = field(default_factory=set)

    def url(self, database: str) -> str:
        """The address through this proxy. directConnection, or the driver would go round it."""
        return f"mongodb://127.0.0.1:{self.port}/{database}?directConnection=true"

    def hold(self) -> None:
        """Be a black hole: connections stay, nothing passes."""
        self._passing.clear()

    def release(self) -> None:
        self._passing.set()

    def cut(self) -> None:
        """Cut every connection."""
        for link in self._links:
            link.close()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection."""
        try:
            server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self.server_port)
        except OSError:
            writer.close()
            return
        self._links |= {writer, server_writer}
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                await self._carry(reader, writer, server_reader, server_writer)
        finally:
            for end in (writer, server_writer):
                self._links.discard(end)
                end.close()

    async def _carry(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        server_reader: asyncio.StreamReader,
        server_writer: asyncio.StreamWriter,
    ) -> None:
        """Copy both ways, whole messages at a time, until either side is gone or an answer gets lost."""
        doomed = False

        async def answers() -> None:
            nonlocal doomed
            while True:
                message = await _message(server_reader)
                await self._passing.wait()
                if doomed:
                    self.lost += 1
                    writer.transport.abort()
                    return
                writer.write(message)
                await writer.drain()

        async def requests() -> None:
            nonlocal doomed
            while True:
                message = await _message(reader)
                await self._passing.wait()
                doomed = is_write(message) and self.loses(message)
                server_writer.write(message)
                await server_writer.drain()

        both = {asyncio.ensure_future(answers()), asyncio.ensure_future(requests())}
        try:
            done, _ = await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            for each in done:
                each.result()
        finally:
            for each in both:
                each.cancel()
            await asyncio.gather(*both, return_exceptions=True)


async def _message(reader: asyncio.StreamReader) -> bytes:
    header = await reader.readexactly(_HEADER.size)
    return header + await reader.readexactly(_HEADER.unpack(header)[0] - _HEADER.size)


@asynccontextmanager
async def proxy_to(server_port: int) -> AsyncIterator[Proxy]:
    """Listen on loopback, and pass on to a server, until the context ends."""
    proxy = Proxy(server_port)
    proxy.release()
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        proxy.release()
        server.close()
        proxy.cut()
        await asyncio.sleep(0)
