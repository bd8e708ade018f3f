"""Calling an SDK in a process of its own, which can be killed.

The SDKs block, keep global state, print to stdout, have no time-outs and may spin for ever. So each call
runs in a worker process: whatever it does, it costs that call only, by the caller's deadline. The server
process never imports them. Workers are started when needed and end when idle; one that was cancelled,
that died or that answered nonsense is killed and never used again.
"""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, Final, Protocol

from stocksync import errors
from stocksync.errors import SourceError, SourceSkipped, SourceUnreachable

IDLE_SECONDS: Final = 60.0
"""A worker weighs more than 100 MiB and starts in a second or two: kept for a while, not for ever."""

MOST_WORKERS: Final = 3
"""Processes at once for one SDK: a run asks for three datasets side by side. Whoever comes later waits."""

MOST_ANSWER_BYTES: Final = 64 * 1024 * 1024

_HOST = "stocksync.sources.worker_host"


class Caller(Protocol):
    """Whoever carries out the calls of a worker module."""

    async def call(self, name: str, *arguments: object) -> Any:
        """Carry out one call and give its JSON-able answer. Raises SourceError."""
        ...

    async def aclose(self) -> None:
        """End what is under way. Idempotent."""
        ...


@dataclass(frozen=True, slots=True)
class NotInstalled:
    """Implements Caller where the optional library of that name is missing."""

    library: str

    async def call(self, name: str, *arguments: object) -> Any:  # noqa: ARG002 - as the protocol has it
        raise SourceSkipped(f'未安装 {self.library}，请执行 pip install "stocksync[{self.library}]"')

    async def aclose(self) -> None:
        pass


def worker_for(library: str, environment: Mapping[str, str | None]) -> Caller:
    """Give who calls an SDK, through its worker module (sources/<library>_worker.py), if it is installed."""
    if find_spec(library) is None:  # looks for it without importing it
        return NotInstalled(library)
    given = {name: value for name, value in environment.items() if value}
    return WorkerPool(f"stocksync.sources.{library}_worker", given)


@dataclass(slots=True, eq=False)
class _Worker:
    """One process that carries out one call at a time."""

    process: asyncio.subprocess.Process

    async def ask(self, name: str, arguments: tuple[object, ...]) -> Any:
        assert self.process.stdin is not None  # noqa: S101 - it was started with pipes
        assert self.process.stdout is not None  # noqa: S101
        question = json.dumps({"call": name, "arguments": arguments}).encode()
        self.process.stdin.write(len(question).to_bytes(8, "big") + question)
        await self.process.stdin.drain()
        size = int.from_bytes(await self.process.stdout.readexactly(8), "big")
        if size > MOST_ANSWER_BYTES:
            raise ValueError(f"an answer of {size} bytes")
        return json.loads(await self.process.stdout.readexactly(size))

    @property
    def alive(self) -> bool:
        return self.process.returncode is None

    async def kill(self) -> None:
        """End it without asking: it may be spinning or hanging."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        await self.process.wait()


@dataclass(slots=True)
class WorkerPool:
    """Calls the functions of one module's CALLS, each in a process of its own while it lasts.

    `environment` is added to the workers' environment: that is how their settings reach them.
    """

    module: str
    environment: Mapping[str, str]
    idle_seconds: float = IDLE_SECONDS
    _places: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MOST_WORKERS))
    _idle: list[_Worker] = field(default_factory=list)
    _busy: set[_Worker] = field(default_factory=set)
    _expiry: dict[int, asyncio.TimerHandle] = field(default_factory=dict)
    _ending: set[asyncio.Task[None]] = field(default_factory=set)

    async def call(self, name: str, *arguments: object) -> Any:
        """Carry out one call and give its JSON-able answer. Raises SourceError as the call does.

        Being cancelled kills the worker: a deadline around this call is a real one.
        """
        async with self._places:
            return await self._call(name, arguments)

    async def _call(self, name: str, arguments: tuple[object, ...]) -> Any:
        worker = await self._take()
        try:
            answer = await worker.ask(name, arguments)
        except (asyncio.IncompleteReadError, OSError, ValueError) as exc:
            self._end(worker)
            raise SourceUnreachable(f"数据源工作进程意外退出（{name}）") from exc
        except BaseException:
            self._end(worker)
            raise
        self._give_back(worker)
        if "error" in answer:
            raise _as_error(answer["error"], answer["message"], answer.get("retry_after"))
        return answer["result"]

    async def aclose(self) -> None:
        """Kill every worker. Idempotent."""
        for worker in [*self._idle, *self._busy]:
            self._end(worker)
        await asyncio.gather(*self._ending)

    async def _take(self) -> _Worker:
        while self._idle:
            worker = self._idle.pop()
            self._forget_expiry(worker)
            if worker.alive:
                self._busy.add(worker)
                return worker
            self._end(worker)
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", _HOST, self.module,
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
                env=_without_ours(os.environ) | dict(self.environment), start_new_session=True,
            )  # fmt: skip
        except OSError as exc:
            raise SourceUnreachable("无法启动数据源工作进程") from exc
        worker = _Worker(process)
        self._busy.add(worker)
        return worker

    def _give_back(self, worker: _Worker) -> None:
        self._busy.discard(worker)
        self._idle.append(worker)
        loop = asyncio.get_running_loop()
        self._expiry[id(worker)] = loop.call_later(self.idle_seconds, self._end, worker)

    def _end(self, worker: _Worker) -> None:
        self._forget_expiry(worker)
        self._busy.discard(worker)
        if worker in self._idle:
            self._idle.remove(worker)
        task = asyncio.get_running_loop().create_task(worker.kill())
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    def _forget_expiry(self, worker: _Worker) -> None:
        expiry = self._expiry.pop(id(worker), None)
        if expiry is not None:
            expiry.cancel()


def _without_ours(environment: Mapping[str, str]) -> dict[str, str]:
    """Keep our settings from the SDKs: they need no token and no address of the database."""
    return {
        name: value
        for name, value in environment.items()
        if not name.startswith("STOCKSYNC_") and name != "TUSHARE_TOKEN"
    }


def _as_error(name: str, message: str, retry_after: float | None) -> SourceError:
    """Build the error that the call raised on the other side, by the name of its class."""
    kind = getattr(errors, name, None)
    if not (isinstance(kind, type) and issubclass(kind, SourceError)):
        return SourceError(message)
    if kind is errors.SourceRateLimited:
        return errors.SourceRateLimited(message, retry_after=retry_after)
    return kind(message)
