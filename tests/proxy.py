"""A TCP proxy between a client and mongod that loses answers, or everything, on purpose."""

import asyncio
import random
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Final

from mongod_process import free_port

_HEADER: Final = struct.Struct("<iiii")
_OP_MSG: Final = 2013

_WRITES: Final = frozenset({b"insert", b"update", b"delete", b"findAndModify", b"commitTransaction"})

Loses = Callable[[bytes], bool]
"""Decides by a request's bytes, which are a write's, whether its answer gets lost."""


def command_name(message: bytes) -> bytes:
    """The name of a message's command, which comes first in its document; nothing where it has none."""
    if _HEADER.unpack_from(message)[3] != _OP_MSG:
        return b""
    return message[26:58].partition(b"\0")[0]  # header 16, flags 4, kind 1, document length 4, type 1


def is_write(message: bytes) -> bool:
    """Whether a message is a command that changes something."""
    return command_name(message) in _WRITES


def nth(*numbers: int) -> Loses:
    """Lose the answers of these writes, counted from 1 now; a driver's second try counts too."""
    seen = 0

    def loses(_: bytes) -> bool:
        nonlocal seen
        seen += 1
        return seen in numbers

    return loses


def now_and_then(share: float, seed: int) -> Loses:
    """Lose such a share of the writes' answers."""
    dice = random.Random(seed)
    return lambda _: dice.random() < share


def nothing(_: bytes) -> bool:
    """Lose no answer."""
    return False


@dataclass(frozen=True, eq=False)
class _End:
    """One side's connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def receive(self) -> bytes:
        header = await self.reader.readexactly(_HEADER.size)
        return header + await self.reader.readexactly(_HEADER.unpack(header)[0] - _HEADER.size)

    async def send(self, message: bytes) -> None:
        self.writer.write(message)
        await self.writer.drain()


@dataclass
class Proxy:
    """Passes messages on. Set `loses` to cut the connection where a write's answer should come back.

    The clients must not be of the thread that the proxy's event loop runs in, or be asynchronous themselves.
    """

    server_port: int
    port: int = field(default_factory=free_port)
    loses: Loses = nothing
    lost: int = 0
    _passing: asyncio.Event = field(default_factory=asyncio.Event)
    _links: set["asyncio.Task[None]"] = field(default_factory=set)
    _listener: asyncio.Server | None = None

    def url(self, database: str = "") -> str:
        """The address through this proxy. directConnection, or the driver would go round it."""
        return f"mongodb://127.0.0.1:{self.port}/{database}?directConnection=true"

    def hold(self) -> None:
        """Be a black hole: connections stay, and new ones are taken, but nothing passes."""
        self._passing.clear()

    def release(self) -> None:
        """Pass on again, first what was held."""
        self._passing.set()

    def cut(self) -> None:
        """Cut every connection; what was held is lost."""
        for link in self._links:
            link.cancel()

    async def accept(self) -> None:
        """Take new connections, always on the same port."""
        if self._listener is None:
            self._listener = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    def refuse(self) -> None:
        """Refuse new connections, until `accept`; those that are open stay."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    async def aclose(self) -> None:
        self.refuse()
        self.cut()
        await asyncio.gather(*self._links, return_exceptions=True)

    def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = asyncio.create_task(self._connect(_End(reader, writer)))
        self._links.add(link)
        link.add_done_callback(self._links.discard)

    async def _connect(self, client: _End) -> None:
        """Carry one connection, until either side is gone."""
        with suppress(OSError, asyncio.IncompleteReadError):
            async with _aborting(client):
                opened = await asyncio.open_connection("127.0.0.1", self.server_port)
                async with _aborting(_End(*opened)) as server:
                    await self._carry(client, server)

    async def _carry(self, client: _End, server: _End) -> None:
        """Copy both ways, whole messages at a time."""
        doomed = False

        async def requests() -> None:
            nonlocal doomed
            while True:
                message = await client.receive()
                await self._passing.wait()
                doomed = is_write(message) and self.loses(message)
                await server.send(message)

        async def answers() -> None:
            while True:
                message = await server.receive()
                await self._passing.wait()
                if doomed:
                    self.lost += 1
                    return
                await client.send(message)

        both = [asyncio.ensure_future(requests()), asyncio.ensure_future(answers())]
        try:
            done, _ = await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            for each in done:
                each.result()
        finally:
            for each in both:
                each.cancel()
            await asyncio.gather(*both, return_exceptions=True)


@asynccontextmanager
async def _aborting(end: _End) -> AsyncIterator[_End]:
    """Cut a connection at the end, without the last words that a close would still send."""
    try:
        yield end
    finally:
        end.writer.transport.abort()


@asynccontextmanager
async def proxy_to(server_port: int) -> AsyncIterator[Proxy]:
    """Listen on loopback, and pass on to a server, until the context ends."""
    proxy = Proxy(server_port)
    proxy.release()
    await proxy.accept()
    try:
        yield proxy
    finally:
        await proxy.aclose()
