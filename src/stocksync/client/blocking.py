"""The client for programs without an event loop."""

import time
from collections.abc import Callable, Collection, Generator, Iterator, Mapping
from contextlib import closing
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


class StocksyncClient:
    """A server, to be used with `with`. Every method raises ServerError and Unreachable (errors.RemoteError).

    `watch`, `wait` and a followed log outlive restarts of the server: they give up only when it has been away
    for `patience` seconds. One client may be used by several threads.
    """

    def __init__(
        self, url: str, *, patience: float = PATIENCE_SECONDS, user_agent: str = transport.USER_AGENT
    ) -> None:
        """`url` is the server's root, http://host:port. Raises ValueError where it is no such address."""
        self._http = httpx.Client(**transport.options(url, user_agent))
        self._patience = patience

    def close(self) -> None:
        """Let go of connections. Idempotent."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def status(self, job: Job | None = None) -> SyncStats:
        """Tell how a job stands now; without one, the newest of the two."""
        return self._result(questions.status(job))

    def run(
        self,
        *,
        force: bool = False,
        preferred_sources: Collection[str] = (),
        mode: Mode = "multi",
        idempotency_key: str | None = None,
    ) -> SyncStats:
        """Start a run, and tell how it stands at its beginning; `wait` tells how it ends.

        Whatever the transport loses, one call starts at most one run; with an `idempotency_key` of your own,
        so do all calls with it of one day. Where a run goes on already and `force` is not set, that is a
        ServerError with the code "run_in_progress"; for a source that the server does not have,
        "unknown_source".
        """
        return self._result(
            questions.run(
                force=force,
                preferred_sources=preferred_sources,
                mode=mode,
                idempotency_key=idempotency_key,
            )
        )

    def wait(
        self,
        run_id: str,
        timeout: float | None = None,
        on_progress: Callable[[SyncStats], object] | None = None,
    ) -> SyncStats:
        """Wait for the end of a run, at most about `timeout` seconds, and tell how it stands then.

        `on_progress` is called with every state, the last one included. Whether the run has ended is told by
        `final` of the result.
        """
        flow = following.wait(run_id, timeout=timeout, patience=self._patience, clock=time.monotonic)
        return self._result(flow, on_progress)

    def watch(self, job: Job | None = None) -> Generator[SyncStats, None, None]:
        """Yield how a job stands, then every change as it comes, and the end of every run.

        Whoever is slow gets the newest state instead of those in between. Without a job, the newest of both.
        """
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
    ) -> Generator[SyncStats, None, None]:
        """Yield runs, the newest first, loading them as they are needed; none that begins meanwhile.

        `start` and `end` belong to the period in which they began: days of the market, or aware moments.
        """
        return self._items(
            questions.history(
                statuses=statuses, job=job, triggers=triggers, start=start, end=end, limit=limit
            )
        )

    def get_run(self, run_id: str) -> SyncStats:
        """Tell how any run stands or went; "run_not_found" is the code where there is none."""
        return self._result(questions.get_run(run_id))

    def log(
        self, run_id: str, *, follow: bool = False, level: Level = "info"
    ) -> Generator[LogLine, None, None]:
        """Yield what a run has said, from `level` on; with `follow`, until it has ended."""
        if not follow:
            return self._items(questions.log(run_id, level=level))
        flow = following.follow_log(run_id, level=level, patience=self._patience, clock=time.monotonic)
        return self._items(flow)

    def rejects(self, run_id: str) -> Generator[Reject, None, None]:
        """Yield every row of a run that could not be stored, with the reason."""
        return self._items(questions.rejects(run_id))

    def changes(self, run_id: str, kind: ChangeKind | None = None) -> Generator[Change, None, None]:
        """Yield what a run changed in the market, or one kind of it."""
        return self._items(questions.changes(run_id, kind))

    def cancel(self, run_id: str | None = None) -> SyncStats:
        """Ask for the end of the run that goes on, or of this one only, and tell how it stands.

        The code is "no_run_in_progress" where there is no such run.
        """
        return self._result(questions.cancel(run_id))

    def sources(self) -> tuple[SourceStanding, ...]:
        """Tell how the sources do, in order of trust; the server tests them at most once a minute."""
        return self._result(questions.sources())

    def test_sources(self, name: str | None = None) -> Mapping[str, str | None]:
        """Have the server call every source, or one, and tell what each met with: None where it works."""
        return self._result(questions.test_sources(name))

    def recommendations(self) -> Recommendations:
        """Tell which sources to use, and what to mend."""
        return self._result(questions.recommendations())

    def _result(self, flow: Flow[Item, Result], on_item: Callable[[Item], object] | None = None) -> Result:
        for step in self._carried_out(flow):
            if isinstance(step, Done):
                return step.value
            if on_item is not None:
                on_item(step.value)
        raise AssertionError("a conversation ends with its result")

    def _items(self, flow: Flow[Item, None]) -> Generator[Item, None, None]:
        for step in self._carried_out(flow):
            if isinstance(step, Give):
                yield step.value

    def _carried_out(self, flow: Flow[Item, Result]) -> Generator[Give[Item] | Done[Result], None, None]:
        """Do what a conversation wants done; yield what it gives, and its result last."""
        with closing(flow), closing(_Line(self._http)) as line:
            step = advance(flow, None)
            while not isinstance(step, Done):
                outcome = None
                if isinstance(step, Give):
                    yield step
                else:
                    outcome = line.act(step)
                step = advance(flow, outcome)
            yield step


class _Line:
    """Does one thing at a time, and keeps at most one event stream open."""

    def __init__(self, http: httpx.Client) -> None:
        self._http = http
        self._stream: httpx.Response | None = None
        self._pieces: Iterator[bytes] = iter(())

    def act(self, action: Action) -> Reply | bytes | Unreachable | None:
        try:
            match action:
                case Send():
                    return self._send(action)
                case Receive():
                    return next(self._pieces, None)
                case Pause():
                    time.sleep(action.seconds)
                    return None
        except httpx.RequestError as exc:
            return transport.unreachable(self._http.base_url, exc)

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def _send(self, action: Send) -> Reply:
        self.close()
        answer = self._http.send(transport.prepared(self._http, action.request), stream=action.stream)
        if not action.stream:
            return transport.reply_of(answer, answer.content)
        self._stream = answer
        if answer.is_success:
            self._pieces = answer.iter_bytes()
            return transport.reply_of(answer)
        return transport.reply_of(answer, answer.read())
