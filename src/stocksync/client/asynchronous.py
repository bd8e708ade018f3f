"""The client for programs with an event loop."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Mapping
from contextlib import aclosing, closing
from datetime import date, datetime
from types import TracebackType
from typing import Self, TypeVar

import httpx

from stocksync.client import following, questions, transport
from stocksync.client.flow import Action, Done, Flow, Give, Pause, Receive, Reply, Send, advance
from stocksync.client.following import PATIENCE_SECONDS
from stocksync.client.questions import Level, Mode
from stocksync.domain.changes import Change, ChangeKind
from stocksync.domain.health import Recommendations, SourceStanding
from stocksync.domain.journal import LogLine
from stocksync.domain.status import Job, Reject, SyncStats, SyncStatus, Trigger
from stocksync.errors import Unreachable

Item = TypeVar("Item")
Result = TypeVar("Result")


class AsyncStocksyncClient:
    """A server, to be used with `async with`; every method is StocksyncClient's, whose docstrings hold.

    An iterator that is left before its end holds a connection until it is closed: use contextlib.aclosing.
    """

    def __init__(
        self, url: str, *, patience: float = PATIENCE_SECONDS, user_agent: str = transport.USER_AGENT
    ) -> None:
        """`url` is the server's root, http://host:port. Raises ValueError where it is no such address."""
        self._http = httpx.AsyncClient(**transport.options(url, user_agent))
        self._patience = patience

    async def aclose(self) -> None:
        """Let go of connections. Idempotent."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def status(self, job: Job | None = None) -> SyncStats:
        return await self._result(questions.status(job))

    async def run(
        self,
        *,
        force: bool = False,
        preferred_sources: Collection[str] = (),
        mode: Mode = "multi",
        idempotency_key: str | None = None,
    ) -> SyncStats:
        return await self._result(
            questions.run(
                force=force,
                preferred_sources=preferred_sources,
                mode=mode,
                idempotency_key=idempotency_key,
            )
        )

    async def wait(
        self,
        run_id: str,
        timeout: float | None = None,  # noqa: ASYNC109 - gives how it stands then, where a cancellation would not
        on_progress: Callable[[SyncStats], object] | None = None,
    ) -> SyncStats:
        flow = following.wait(run_id, timeout=timeout, patience=self._patience, clock=time.monotonic)
        return await self._result(flow, on_progress)

    def watch(self, job: Job | None = None) -> AsyncGenerator[SyncStats, None]:
        return self._items(following.watch(job, patience=self._patience, clock=time.monotonic))

    def history(
        self,
        *,
        statuses: Collection[SyncStatus] = (),
        job: Job | None = None,
        triggers: Collection[Trigger] = (),
        start: date | datetime | None = None,
        end: date | datetime | None = None,
        limit: int | None = None,
    ) -> AsyncGenerator[SyncStats, None]:
        return self._items(
            questions.history(
                statuses=statuses, job=job, triggers=triggers, start=start, end=end, limit=limit
            )
        )

    async def get_run(self, run_id: str) -> SyncStats:
        return await self._result(questions.get_run(run_id))

    def log(
        self, run_id: str, *, follow: bool = False, level: Level = "info"
    ) -> AsyncGenerator[LogLine, None]:
        if not follow:
            return self._items(questions.log(run_id, level=level))
        flow = following.follow_log(run_id, level=level, patience=self._patience, clock=time.monotonic)
        return self._items(flow)

    def rejects(self, run_id: str) -> AsyncGenerator[Reject, None]:
        return self._items(questions.rejects(run_id))

    def changes(self, run_id: str, kind: ChangeKind | None = None) -> AsyncGenerator[Change, None]:
        return self._items(questions.changes(run_id, kind))

    async def cancel(self, run_id: str | None = None) -> SyncStats:
        return await self._result(questions.cancel(run_id))

    async def sources(self) -> tuple[SourceStanding, ...]:
        return await self._result(questions.sources())

    async def test_sources(self, name: str | None = None) -> Mapping[str, str | None]:
        return await self._result(questions.test_sources(name))

    async def recommendations(self) -> Recommendations:
        return await self._result(questions.recommendations())

    async def _result(
        self, flow: Flow[Item, Result], on_item: Callable[[Item], object] | None = None
    ) -> Result:
        async with aclosing(self._carried_out(flow)) as steps:
            async for step in steps:
                if isinstance(step, Done):
                    return step.value
                if on_item is not None:
                    on_item(step.value)
        raise AssertionError("a conversation ends with its result")

    async def _items(self, flow: Flow[Item, None]) -> AsyncGenerator[Item, None]:
        async with aclosing(self._carried_out(flow)) as steps:
            async for step in steps:
                if isinstance(step, Give):
                    yield step.value

    async def _carried_out(self, flow: Flow[Item, Result]) -> AsyncGenerator[Give[Item] | Done[Result], None]:
        """Do what a conversation wants done; yield what it gives, and its result last."""
        with closing(flow):
            async with aclosing(_Line(self._http)) as line:
                step = advance(flow, None)
                while not isinstance(step, Done):
                    outcome = None
                    if isinstance(step, Give):
                        yield step
                    else:
                        outcome = await line.act(step)
                    step = advance(flow, outcome)
                yield step


class _Line:
    """Does one thing at a time, and keeps at most one event stream open."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http
        self._stream: httpx.Response | None = None
        self._pieces: AsyncIterator[bytes] | None = None

    async def act(self, action: Action) -> Reply | bytes | Unreachable | None:
        try:
            match action:
                case Send():
                    return await self._send(action)
                case Receive():
                    return None if self._pieces is None else await anext(self._pieces, None)
                case Pause():
                    await asyncio.sleep(action.seconds)
                    return None
        except httpx.RequestError as exc:
            return transport.unreachable(self._http.base_url, exc)

    async def aclose(self) -> None:
        if self._stream is not None:
            await self._stream.aclose()
            self._stream = None

    async def _send(self, action: Send) -> Reply:
        await self.aclose()
        answer = await self._http.send(transport.prepared(self._http, action.request), stream=action.stream)
        if not action.stream:
            return transport.reply_of(answer, answer.content)
        self._stream = answer
        if answer.is_success:
            self._pieces = answer.aiter_bytes()
            return transport.reply_of(answer)
        return transport.reply_of(answer, await answer.aread())
