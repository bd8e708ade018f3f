"""What the benchmarks share: servers that stop by themselves, and a client cheaper than any server."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass

CONNECTIONS = 32
PIPELINED = 8
"""Requests sent at once on a connection: the client must not be what is measured."""


def free_port() -> int:
    """Find a port that nobody listens on."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def process(arguments: list[str], port: int, environment: Mapping[str, str] | None = None) -> Iterator[int]:
    """Run a server of our own until the context ends; yields its process id once it accepts connections."""
    child = subprocess.Popen(
        [sys.executable, *arguments],
        env={**os.environ, **(environment or {})},
        start_new_session=True,
        stdout=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            with closing(socket.socket()) as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.005)
        yield child.pid
    finally:
        os.killpg(child.pid, signal.SIGTERM)
        child.wait(20)


@dataclass
class Load:
    """What a round of load did."""

    per_second: float
    p99_ms: float


class _Client(asyncio.Protocol):
    """Keeps PIPELINED requests under way on one connection, and times each batch."""

    def __init__(self, request: bytes, times: list[float]) -> None:
        self._request = request * PIPELINED
        self._times = times
        self._missing = 0
        self._tail = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._send()

    def data_received(self, data: bytes) -> None:
        text = self._tail + data
        self._missing -= text.count(b"HTTP/1.1 ")
        self._tail = text[-8:] if not text.endswith(b"HTTP/1.1 ") else b""
        if self._missing <= 0 and not self._transport.is_closing():
            self._times.append(time.perf_counter() - self._began)
            self._send()

    def _send(self) -> None:
        self._missing = PIPELINED
        self._began = time.perf_counter()
        self._transport.write(self._request)  # type: ignore[attr-defined] # TCP's transport writes


async def load(port: int, path: str, seconds: float, header: str = "") -> Load:
    """Ask for one path over CONNECTIONS connections for some seconds."""
    request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{header}\r\n".encode()
    times: list[float] = []
    loop = asyncio.get_running_loop()
    clients = [
        await loop.create_connection(lambda: _Client(request, times), "127.0.0.1", port)
        for _ in range(CONNECTIONS)
    ]
    times.clear()
    await asyncio.sleep(seconds)
    done = len(times)
    ordered = sorted(times)
    for transport, _ in clients:
        transport.abort()
    return Load(per_second=done * PIPELINED / seconds, p99_ms=ordered[int(done * 0.99)] * 1000 if done else 0)


def memory_mib(pid: int) -> float:
    """Proportional memory of a process and its children: shared pages count once."""
    pids = [
        pid,
        *(
            int(line)
            for line in subprocess.run(
                ["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False
            ).stdout.split()
        ),
    ]
    total = 0
    for each in pids:
        with open(f"/proc/{each}/smaps_rollup", encoding="ascii") as file:  # noqa: PTH123
            total += next(int(line.split()[1]) for line in file if line.startswith("Pss:"))
    return total / 1024
