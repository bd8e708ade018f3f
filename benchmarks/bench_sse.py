"""Event streams against a bare ASGI stream on the same server, in one run: memory, reach, plain requests.

    python benchmarks/bench_sse.py [subscribers, 2000 where none are given]

Both servers tell their subscribers a new state every two seconds, which carries the moment when it was made.
"""

import asyncio
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from harness import free_port, memory_mib, process

EVENTS, STATUS = "/api/sync/stock_basics/events", "/api/sync/stock_basics/status"
PERIOD = 2.0
UPDATES = 5
AT_ONCE = 100
"""Connections opened at the same time."""

SERVE = """
import asyncio, contextlib, os, sys, time
from dataclasses import replace
from datetime import UTC, datetime
from granian.constants import Interfaces, Loops
from granian.log import LogLevels
from granian.server import Server
from stocksync.api.application import create_api
from stocksync.api.view import Snapshot
from stocksync.app import open_app
from stocksync.domain.status import Job, Trigger, begin
from stocksync.settings import load_settings

RUN = replace(begin(job=Job.MULTI, run_id="bench", trigger=Trigger.API, started_at=datetime.now(UTC)),
              total=5450, inserted=5000)

def states():
    revision = 1_000_001
    while True:
        revision += 1
        yield replace(RUN, revision=revision, message=f"made at {time.monotonic():.6f}")

async def publish(show):
    for state in states():
        show(state)
        await asyncio.sleep(PERIOD)

@contextlib.asynccontextmanager
async def telling(settings):
    async with open_app(settings) as app:
        task = asyncio.create_task(publish(app.service.board.publish))
        yield app
        task.cancel()

def ours():
    return create_api(load_settings(), opener=telling)

class Bare:
    def __init__(self):
        self.changed = asyncio.Event()
        self.event = b""

    def show(self, state):
        self.event = Snapshot(state).event
        changed, self.changed = self.changed, asyncio.Event()
        changed.set()

    async def __call__(self, scope, receive, send):
        if scope["type"] == "lifespan":
            await receive()
            self.task = asyncio.create_task(publish(self.show))
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        kind = b"text/event-stream" if scope["path"] == EVENTS else b"application/json"
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]})
        if scope["path"] != EVENTS:
            await send({"type": "http.response.body", "body": self.event})
            return
        while True:
            changed = self.changed
            await send({"type": "http.response.body", "body": self.event, "more_body": True})
            await changed.wait()

def bare():
    return Bare()

if __name__ == "__main__":
    Server("serve:" + sys.argv[1], address="127.0.0.1", port=int(sys.argv[2]), interface=Interfaces.ASGI,
           loop=Loops.asyncio, factory=True, backpressure=40_000, log_level=LogLevels.critical,
           websockets=False, workers_kill_timeout=3).serve()
"""

PROBE = """
import http.client, select, sys, time
client = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=30)
times = []
while not select.select([sys.stdin], [], [], 0.01)[0]:
    began = time.perf_counter()
    client.request("GET", sys.argv[2])
    client.getresponse().read()
    times.append(time.perf_counter() - began)
print(*times)
"""


@dataclass
class Reach:
    """When each state arrived, by the moment at which it was made."""

    delays: dict[float, list[float]] = field(default_factory=dict)
    told: asyncio.Event = field(default_factory=asyncio.Event)

    def tell(self, made: float) -> None:
        self.delays.setdefault(made, []).append(time.monotonic() - made)
        self.told.set()

    async def all_there(self, subscribers: int) -> None:
        """Wait until one state has reached all."""
        while not self.complete(subscribers):
            self.told.clear()
            await self.told.wait()

    def complete(self, subscribers: int) -> list[list[float]]:
        """The delays of every state that reached all."""
        return [delays for delays in self.delays.values() if len(delays) == subscribers]


class Subscriber(asyncio.Protocol):
    """Reads a stream and notes every state in it, once."""

    _MADE = re.compile(rb"made at ([0-9.]+)")

    def __init__(self, port: int, reach: Reach) -> None:
        self._request = f"GET {EVENTS} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()
        self._reach = reach
        self._tail = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.write(self._request)  # type: ignore[attr-defined] # TCP's transport writes

    def data_received(self, data: bytes) -> None:
        text = self._tail + data
        for found in self._MADE.finditer(text):
            self._reach.tell(float(found[1]))
        self._tail = b"" if text.endswith(b"\n\n\r\n") else text[-2000:].rpartition(b"made at")[2][-40:]


async def subscribe(port: int, count: int, reach: Reach) -> list[asyncio.Transport]:
    loop = asyncio.get_running_loop()
    transports: list[asyncio.Transport] = []
    for start in range(0, count, AT_ONCE):
        opened = await asyncio.gather(
            *(
                loop.create_connection(lambda: Subscriber(port, reach), "127.0.0.1", port)
                for _ in range(min(AT_ONCE, count - start))
            )
        )
        transports += [transport for transport, _ in opened]
    return transports


@contextmanager
def probing(port: int) -> Iterator[list[float]]:
    """Ask for the status again and again, from a process of its own; fills in how long each answer took."""
    times: list[float] = []
    command = [sys.executable, "-c", PROBE, str(port), STATUS]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as prober:
        yield times
        said, _ = prober.communicate("")
    times += sorted(map(float, said.split()))


async def measure(name: str, port: int, pid: int, subscribers: int) -> float:
    """Print what a server does with so many subscribers; give the KiB that each of them costs it."""
    alone = Reach()
    first = await subscribe(port, 1, alone)
    await asyncio.sleep(PERIOD * 3.5)
    latency = statistics.median(delays[0] for delays in list(alone.delays.values())[1:])
    for transport in first:
        transport.abort()
    before = memory_mib(pid)
    reach = Reach()
    began = time.monotonic()
    transports = await subscribe(port, subscribers, reach)
    await reach.all_there(subscribers)
    opened = time.monotonic() - began
    await asyncio.sleep(PERIOD * 1.5)
    reach.delays.clear()
    with probing(port) as times:
        await asyncio.sleep(PERIOD * (UPDATES + 0.9))
    each = (memory_mib(pid) - before) * 1024 / subscribers
    told = reach.complete(subscribers)
    print(
        f"{name:<18} {each:5.1f} KiB each | one subscriber after {latency * 1000:.1f} ms | "
        f"all {subscribers:,} after {statistics.median(map(max, told)):.2f} s (worst of {len(told)}: "
        f"{max(map(max, told)):.2f} s) | plain GET p50 {times[len(times) // 2] * 1000:.1f}, "
        f"p99 {times[int(len(times) * 0.99)] * 1000:.1f}, most {times[-1] * 1000:.0f} ms | "
        f"opened in {opened:.1f} s",
        flush=True,
    )
    for transport in transports:
        transport.abort()
    return each


def main() -> None:
    subscribers = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    costs = {}
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "serve.py"
        script.write_text(f"EVENTS, PERIOD = {EVENTS!r}, {PERIOD}\n{SERVE}")
        environment = {
            "PYTHONPATH": os.pathsep.join([folder, os.environ.get("PYTHONPATH", "")]),
            "STOCKSYNC_SOURCES": "tushare",
            "STOCKSYNC_STORE": f"sqlite:///{folder}/bench.db",
            "STOCKSYNC_MAX_STREAMS": "40000",
        }
        for name in ("bare", "ours"):
            port = free_port()
            with (
                suppress(ProcessLookupError),
                process([str(script), name, str(port)], port, environment) as pid,
            ):
                costs[name] = asyncio.run(measure(name, port, pid, subscribers))
    print(f"memory of a subscriber: ratio {costs['ours'] / costs['bare']:.2f}")


if __name__ == "__main__":
    main()
