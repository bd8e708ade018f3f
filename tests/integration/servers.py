"""Real processes for tests: a server, a simulator; each ends when its test ends."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

READY_SECONDS = 30


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class ServerProcess:
    """A `stocksync serve` of its own process group."""

    process: subprocess.Popen[bytes]
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def stop(self) -> int:
        """Ask it to end, as a supervisor does, and tell its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)

    def kill(self) -> None:
        """Kill the server and its workers without a word."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(20)


@contextmanager
def server(
    store: Path | str, environment: Mapping[str, str], *options: str, port: int | None = None
) -> Iterator[ServerProcess]:
    """Run a server over a store, a file or a URL, until the context ends."""
    port = port or free_port()
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "stocksync",
            "serve",
            "--port",
            str(port),
            "--store",
            store if isinstance(store, str) else f"sqlite:///{store}",
            *options,
        ],
        env={**os.environ, "STOCKSYNC_MIN_STOCKS": "300", "STOCKSYNC_SOURCES": "tushare", **environment},
        start_new_session=True,
        stdout=subprocess.DEVNULL,
    )
    running = ServerProcess(process, port)
    try:
        await_ready(running)
        yield running
    finally:
        if process.poll() is None:
            running.kill()


def await_ready(running: ServerProcess) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        assert running.process.poll() is None, "the server died"
        try:
            if httpx.get(f"{running.url}/readyz", timeout=2).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    raise AssertionError("the server never became ready")


async def client_of_each_worker(running: ServerProcess) -> list[httpx.AsyncClient]:
    """Connect until every worker of a server has one connection; the kernel deals them out."""
    workers = _children(running.process.pid)
    found: dict[str, httpx.AsyncClient] = {}
    while len(found) < len(workers):
        client = httpx.AsyncClient(base_url=running.url, timeout=10)
        answer = await client.get("/livez")
        its_port = answer.extensions["network_stream"].get_extra_info("client_addr")[1]
        socket_name = _socket_between(running.port, its_port)
        worker = next((pid for pid in workers if socket_name in _sockets(pid)), "")
        if not worker or found.setdefault(worker, client) is not client:
            await client.aclose()
    return list(found.values())


def _children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def _socket_between(server_port: int, client_port: int) -> str:
    """The server's end of a loopback connection, as /proc names it."""
    ports = [f":{server_port:04X}", f":{client_port:04X}"]
    ends = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
    return next((end[9] for end in ends if [end[1][-5:], end[2][-5:]] == ports), "")


def _sockets(pid: str) -> set[str]:
    names = set()
    for file in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            names.add(str(file.readlink()).removeprefix("socket:[").removesuffix("]"))
    return names
