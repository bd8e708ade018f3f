"""What a stream asks of the connections beneath the server, which does not offer it.

A client that reads slowly must find the newest state and not megabytes of old ones in the kernel's buffers;
and the connection of one that does not read at all would outlive the answer to it.
"""

import os
import socket
import stat
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

Client = tuple[tuple[str, int], int]
"""The client's end of a connection, and the port of ours."""

_OPEN_FILES: Final = Path("/proc/self/fd")
_NOT_SENT_LOW_WATER: Final = 25
"""Linux' TCP_NOTSENT_LOWAT: from so many unsent bytes on a connection takes no more."""

_MOST_UNSENT: Final = 16_384


def keep_unsent_short(port: int) -> int:
    """Keep little waiting on connections that are accepted at this port from now on; count its sockets."""
    count = 0
    for listening, its_port in _sockets():
        if its_port == port and listening.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            listening.setsockopt(socket.IPPROTO_TCP, _NOT_SENT_LOW_WATER, _MOST_UNSENT)  # they inherit it
            count += 1
    return count


def cut(clients: Collection[Client]) -> int:
    """Shut down this process's connections to these clients; tell how many."""
    count = 0
    for connection, port in _sockets():
        with suppress(OSError):  # not connected
            if (connection.getpeername()[:2], port) in clients:
                connection.shutdown(socket.SHUT_RDWR)
                count += 1
    return count


def _sockets() -> Iterator[tuple[socket.socket, int]]:
    """Every TCP socket of this process with its own port; none where a system does not list them."""
    if not _OPEN_FILES.is_dir():
        return
    for name in os.listdir(_OPEN_FILES):  # noqa: PTH208 - numbers, not paths
        found = _opened(int(name))
        if found is None:
            continue
        with found, suppress(OSError):
            if found.family in {socket.AF_INET, socket.AF_INET6}:
                yield found, found.getsockname()[1]


def _opened(number: int) -> socket.socket | None:
    try:
        is_socket = stat.S_ISSOCK(os.stat(number).st_mode)
        return socket.socket(fileno=os.dup(number)) if is_socket else None
    except OSError:  # closed meanwhile
        return None
