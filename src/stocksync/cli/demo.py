"""`stocksync demo`: the whole thing end to end on this machine, against a made-up market."""

import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from rich.console import Console

from stocksync.cli.serve import check_port_free
from stocksync.cli.session import USER_AGENT
from stocksync.client import AsyncStocksyncClient
from stocksync.domain.status import Phase, Reason, SyncStats, SyncStatus
from stocksync.errors import RunFailed, ServerDied, Unreachable
from stocksync.simulator import SimulatorOptions, open_simulator

_READY_SECONDS: Final = 20
_STOP_SECONDS: Final = 10

_console = Console(highlight=False, soft_wrap=True)


def demo(*, port: int) -> int:
    """Run until Ctrl-C. Raises RunFailed where the first sync did not succeed, ServerDied."""
    check_port_free("127.0.0.1", port)
    with suppress(KeyboardInterrupt, asyncio.CancelledError):
        return asyncio.run(_demo(port))
    return 0


async def _demo(port: int) -> int:
    _console.print(
        "[bold]stocksync 演示[/bold]：市场是虚构的（公司、价格都是编造的），不需要令牌，不访问外部网络。"
    )
    loop = asyncio.get_running_loop()
    this = asyncio.current_task()
    asked: list[bool] = []

    def stop() -> None:
        if this is not None and not asked:  # once: the second would cut the stopping off
            asked.append(this.cancel())

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    with tempfile.TemporaryDirectory(prefix="stocksync-demo-") as folder:
        async with open_simulator(SimulatorOptions(pace="realistic")) as simulator:
            server = await _start_server(port, {**simulator.settings, "STOCKSYNC_STORE": _store(folder)})
            try:
                await _first_sync(server, f"http://127.0.0.1:{port}", simulator.base_url)
                await server.wait()
                raise ServerDied("演示服务意外停止")
            except asyncio.CancelledError:
                _console.print("\n正在停止……")
            finally:
                await _stop(server)
    _console.print("演示结束，临时数据已删除。")
    return 0


def _store(folder: str) -> str:
    return f"sqlite:///{Path(folder) / 'demo.db'}"


async def _start_server(port: int, environment: Mapping[str, str]) -> asyncio.subprocess.Process:
    # A session of its own: Ctrl-C reaches the demo alone, which then stops the server in its own time.
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "stocksync", "serve", "--port", str(port),
        env={**os.environ, **environment}, start_new_session=True, stdout=asyncio.subprocess.DEVNULL,
    )  # fmt: skip


async def _stop(server: asyncio.subprocess.Process) -> None:
    if server.returncode is not None:
        return
    server.terminate()
    try:
        async with asyncio.timeout(_STOP_SECONDS):
            await server.wait()
    except TimeoutError:
        server.kill()
        await server.wait()


async def _first_sync(server: asyncio.subprocess.Process, url: str, simulator_url: str) -> None:
    async with AsyncStocksyncClient(url, user_agent=USER_AGENT) as client:
        await _ready(server, client)
        _console.print(f"服务已就绪：{url}，开始第一次同步")
        started = await client.run()
        stats = await client.wait(started.run_id or "", on_progress=_PhaseLines())
    _console.print(f"[bold]{stats.status}[/bold]：{stats.message}")
    if stats.status is not SyncStatus.SUCCESS:
        raise RunFailed(stats.message or "", reason=stats.reason or Reason.ERROR)
    _console.print(_what_next(url, simulator_url))


async def _ready(server: asyncio.subprocess.Process, client: AsyncStocksyncClient) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(_READY_SECONDS):
            while server.returncode is None:
                with suppress(Unreachable):
                    await client.status()
                    return
    raise ServerDied("演示服务没有启动")


class _PhaseLines:
    """Prints each phase once."""

    def __init__(self) -> None:
        self._shown: Phase | None = None

    def __call__(self, stats: SyncStats) -> None:
        if stats.running and stats.phase is not None and stats.phase is not self._shown:
            self._shown = stats.phase
            _console.print(f"  {stats.phase:<12} {stats.processed}/{stats.total or '?'}")


def _what_next(url: str, simulator_url: str) -> str:
    return f"""
接下来可以试试：
  打开网页      {url}
  状态          curl {url}/api/sync/stock_basics/status
  再同步一次    curl -X POST '{url}/api/sync/stock_basics/run?wait=30'
  让上游出故障  curl -X PUT {simulator_url}/_control/faults -d '{{"tushare.daily_basic": "http502"}}'
  接口文档      {url}/docs
按 Ctrl-C 停止。"""
