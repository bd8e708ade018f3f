"""A TCP server whose connections are ours: each can hang, drip or be reset, and all end when it does."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

Converse = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serve_connections(converse: Converse, *, host: str, port: int) -> AsyncIterator[int]:
    """Serve until the context ends, and yield the port that was bound (0 picks a free one).

    Leaving ends at once, whatever connections hang or drip.
    """
    open_connections: set[asyncio.Task[None]] = set()

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await converse(reader, writer)
        except OSError:
            pass  # the client went away, which is its right
        finally:
            writer.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not server.is_serving():  # it came in while the server was closing
            writer.transport.abort()
            return
        # A task of our own: asyncio 3.11 logs the cancellation of one that it made itself as an error.
        task = asyncio.create_task(hold(reader, writer))
        open_connections.add(task)
        task.add_done_callback(open_connections.discard)

    server = await asyncio.start_server(accept, host, port)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in open_connections:
            task.cancel()
        await asyncio.gather(*open_connections, return_exceptions=True)
        await server.wait_closed()
