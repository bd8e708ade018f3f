"""Ending connections beneath the server: one whose client takes nothing would outlive the answer to it."""

import os
import socket
import stat
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Final

Address = tuple[str, int]

_OPEN_FILES: Final = Path("/proc/self/fd")


def cut(clients: Collection[Address], port: int) -> int:
    """Shut down this process's connections between its own port and these clients; tell how many.

    Where a system does not list a process's open files, nothing is done.
    """
    if not _OPEN_FILES.is_dir():
        return 0
    return sum(_cut_one(int(name), clients, port) for name in os.listdir(_OPEN_FILES))  # noqa: PTH208


def _cut_one(number: int, clients: Collection[Address], port: int) -> bool:
    try:
        if not stat.S_ISSOCK(os.stat(number).st_mode):
            return False
        connection = socket.socket(fileno=os.dup(number))
    except OSError:  # closed meanwhile
        return False
    with connection, suppress(OSError):  # not connected
        if (
            connection.family in {socket.AF_INET, socket.AF_INET6}
            and connection.getsockname()[1] == port
            and connection.getpeername()[:2] in clients
        ):
            connection.shutdown(socket.SHUT_RDWR)
            return True
    return False
