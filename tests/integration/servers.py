"""Real processes for tests: a server, a simulator; each ends when its test ends."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
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
    url: str

    def stop(self) -> int:
        """Ask it to end, as a supervisor does, and tell its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)

    def kill(self) -> None:
        """Kill the server and its workers without a word."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(20)


@contextmanager
def server(store: Path, environment: Mapping[str, str], *options: str) -> Iterator[ServerProcess]:
    """Run a server over a store until the context ends."""
    port = free_port()
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "stocksync",
            "serve",
            "--port",
            str(port),
            "--store",
            f"sqlite:///{store}",
            *options,
        ],
        env={**os.environ, "STOCKSYNC_MIN_STOCKS": "300", "STOCKSYNC_SOURCES": "tushare", **environment},
        start_new_session=True,
        stdout=subprocess.DEVNULL,
    )
    running = ServerProcess(process, f"http://127.0.0.1:{port}")
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
