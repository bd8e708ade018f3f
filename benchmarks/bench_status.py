"""GET status against an ASGI app that answers constant bytes, on the same server, in turns."""

import asyncio
import statistics
import tempfile
import urllib.request
from pathlib import Path

from harness import Load, free_port, load, process
from stocksync.api.view import Snapshot
from stocksync.domain.status import Job, never_ran

STATUS = "/api/sync/stock_basics/status"
ROUNDS, SECONDS = 5, 2.0

BODY = Snapshot(never_ran(Job.MULTI)).body

CONSTANT = """
from granian.constants import Interfaces, Loops
from granian.log import LogLevels
from granian.server import Server

START = {{"type": "http.response.start", "status": 200, "headers": [
    (b"content-type", b"application/json"), (b"content-length", b"{length}"),
    (b"etag", b"x"), (b"cache-control", b"y")]}}
BODY = {{"type": "http.response.body", "body": b"x" * {length}}}

async def app(scope, receive, send):
    if scope["type"] == "http":
        await send(START)
        await send(BODY)

if __name__ == "__main__":
    Server("constant:app", address="127.0.0.1", port={port}, interface=Interfaces.ASGI, loop=Loops.asyncio,
           log_level=LogLevels.warning, websockets=False).serve()
"""


async def in_turns(ports: dict[str, tuple[int, str]]) -> dict[str, list[Load]]:
    """Load each target in turn, ROUNDS times, so that a noisy moment hits them all."""
    results: dict[str, list[Load]] = {name: [] for name in ports}
    for _ in range(ROUNDS):
        for name, (port, header) in ports.items():
            results[name].append(await load(port, STATUS, SECONDS, header))
    return results


async def while_syncing(port: int) -> Load:
    """Load the status while syncs run one after the other."""
    stop = asyncio.Event()

    def one_sync() -> None:
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/api/sync/stock_basics/run?wait=60", method="POST"
        )
        urllib.request.urlopen(request, timeout=70).read()  # noqa: S310

    async def syncs() -> None:
        while not stop.is_set():
            await asyncio.to_thread(one_sync)

    task = asyncio.create_task(syncs())
    await asyncio.sleep(0.1)
    result = await load(port, STATUS, SECONDS * 2)
    stop.set()
    await task
    return result


def line(name: str, loads: list[Load], base: float) -> None:
    speed = statistics.median(each.per_second for each in loads)
    p99 = statistics.median(each.p99_ms for each in loads)
    print(f"{name:<28} {speed:>9,.0f}/s  ratio {speed / base:.2f}  p99 of a batch of 8: {p99:.1f} ms")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        constant_port, port, upstream_port = free_port(), free_port(), free_port()
        script = Path(folder) / "constant.py"
        script.write_text(CONSTANT.format(length=len(BODY), port=constant_port))
        url = f"http://127.0.0.1:{upstream_port}"
        environment = {
            "STOCKSYNC_TUSHARE_URL": url,
            "STOCKSYNC_TUSHARE_TOKEN": "simulated-token",
            "STOCKSYNC_SOURCES": "tushare",
            "STOCKSYNC_STORE": f"sqlite:///{folder}/bench.db",
        }
        serve = ["-m", "stocksync", "serve", "--port", str(port)]
        simulate = ["-m", "stocksync", "simulate", "--pace", "realistic", "--port", str(upstream_port)]
        with (
            process([str(script)], constant_port, {"PYTHONPATH": folder}),
            process(simulate, upstream_port),
            process(serve, port, environment),
        ):
            tag = 'If-None-Match: W/"stock_basics_multi_source-0"\r\n'
            results = asyncio.run(
                in_turns({"constant": (constant_port, ""), "status": (port, ""), "304": (port, tag)})
            )
            base = statistics.median(each.per_second for each in results["constant"])
            line("constant bytes, same server", results["constant"], base)
            line("GET status", results["status"], base)
            line("GET status, 304", results["304"], base)
            idle = statistics.median(each.per_second for each in results["status"])
            line("GET status while syncing (ratio to idle)", [asyncio.run(while_syncing(port))], idle)


if __name__ == "__main__":
    main()
