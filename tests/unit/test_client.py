"""The client's conversations, without a network: what they ask, and what they make of the answers."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import NOON, examples
from stocksync.client import AsyncStocksyncClient, StocksyncClient, following, questions, transport
from stocksync.client.events import Decoder, Event
from stocksync.client.flow import Done, Flow, Give, Pause, Receive, Reply, Request, Send, advance
from stocksync.domain.status import Job, SyncStats, SyncStatus, Trigger, begin, complete, never_ran
from stocksync.domain.wire import to_wire
from stocksync.errors import ServerError, Unreachable

GONE = Unreachable("gone")


@dataclass
class Play:
    """A conversation carried out against a script of outcomes, until its end or that of the script."""

    sent: list[Request] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)
    given: list[Any] = field(default_factory=list)
    result: Any = None
    now: float = 0.0

    def clock(self) -> float:
        return self.now

    def carry_out(self, flow: Flow[Any, Any], script: Iterable[object]) -> "Play":
        outcomes = iter(script)
        step = advance(flow, None)
        while not isinstance(step, Done):
            outcome: object = None
            match step:
                case Give(value):
                    self.given.append(value)
                case Pause(seconds):
                    self.pauses.append(seconds)
                    self.now += seconds
                case Send() | Receive():
                    if isinstance(step, Send):
                        self.sent.append(step.request)
                    try:
                        outcome = next(outcomes)
                    except StopIteration:
                        return self
            step = advance(flow, outcome)
        assert list(outcomes) == []
        self.result = step.value
        return self

    @property
    def queries(self) -> list[Mapping[str, Any]]:
        return [request.query for request in self.sent]


def play(flow: Flow[Any, Any], *script: object) -> Play:
    return Play().carry_out(flow, script)


def ok(data: object, **headers: str) -> Reply:
    return Reply(status=200, headers=headers, body=json.dumps({"success": True, "data": data}).encode())


def problem(status: int, code: str, **headers: str) -> Reply:
    body = json.dumps({"code": code, "detail": f"{code} happened", "status": status}).encode()
    return Reply(
        status=status,
        headers={
            "content-type": "application/problem+json",
            **{k.replace("_", "-"): v for k, v in headers.items()},
        },
        body=body,
    )


STREAM = Reply(status=200, headers={"content-type": "text/event-stream"})
RUN = begin(job=Job.MULTI, run_id="r1", trigger=Trigger.API, started_at=NOON)


def at(revision: int, run: SyncStats = RUN) -> SyncStats:
    return replace(run, revision=revision)


END = complete(at(9), at=NOON, message="done")


def status(stats: SyncStats) -> Reply:
    return ok(to_wire(stats))


def event(stats: SyncStats) -> bytes:
    return f"id: {stats.revision}\nevent: status\ndata: {json.dumps(to_wire(stats))}\n\n".encode()


def watch(*script: object, patience: float = 60) -> Play:
    plan = Play()
    return plan.carry_out(following.watch(None, patience=patience, clock=plan.clock), script)


def wait(*script: object, timeout: float | None = None) -> Play:
    plan = Play()
    return plan.carry_out(following.wait("r1", timeout=timeout, patience=60, clock=plan.clock), script)


def started(key: str | None = None) -> Flow[Any, Any]:
    return questions.run(force=False, preferred_sources=("a", "b"), mode="multi", idempotency_key=key)


# One answer


def test_a_status_is_the_domains_value() -> None:
    done = play(questions.status(Job.SINGLE), status(never_ran(Job.SINGLE)))
    assert done.result == never_ran(Job.SINGLE)
    assert done.queries == [{"job": "stock_basics"}]


def test_a_lost_question_is_asked_again_a_few_times() -> None:
    assert play(questions.status(), GONE, GONE, status(RUN)).result == RUN
    with pytest.raises(Unreachable):
        play(questions.status(), GONE, GONE, GONE)


def test_a_run_that_has_to_be_sent_again_bears_the_same_key() -> None:
    done = play(started(), GONE, GONE, status(RUN))
    keys = {request.headers["Idempotency-Key"] for request in done.sent}
    assert len(done.sent) == 3
    assert len(keys) == 1
    assert play(started(), status(RUN)).sent[0].headers["Idempotency-Key"] not in keys
    assert play(started("mine"), status(RUN)).sent[0].headers["Idempotency-Key"] == "mine"
    assert done.queries[0] == {"force": "false", "mode": "multi", "preferred_sources": "a,b"}


def test_a_key_in_progress_is_waited_for() -> None:
    busy = problem(409, "idempotency_in_progress", retry_after="1")
    done = play(started(), busy, status(RUN))
    assert (done.result, done.pauses) == (RUN, [1.0])


def test_a_cancel_is_repeated_only_for_one_run() -> None:
    assert play(questions.cancel("r1"), GONE, status(RUN)).result == RUN
    with pytest.raises(Unreachable):
        play(questions.cancel(None), GONE)


def test_a_problem_keeps_its_code_and_is_not_asked_for_again() -> None:
    with pytest.raises(ServerError) as caught:
        play(questions.status(), problem(503, "store_unavailable", retry_after="5"))
    error = caught.value
    assert (error.code, error.status, error.retry_after) == ("store_unavailable", 503, 5.0)
    assert str(error) == error.detail == "store_unavailable happened"
    assert ServerError.code == "server_error"


@pytest.mark.parametrize(
    "reply",
    [
        Reply(status=502, headers={"content-type": "text/html"}, body=b"<h1>Bad Gateway</h1>"),
        Reply(status=301, headers={"location": "https://elsewhere"}),
        Reply(status=200, headers={"content-type": "text/html"}, body=b"<h1>Welcome</h1>"),
        Reply(status=500, headers={"content-type": "application/problem+json"}, body=b'{"title": "other"}'),
        ok([]),
        ok({"job": "stock_basics"}),
        ok({**to_wire(RUN), "status": "dancing"}),
    ],
)
def test_what_no_server_of_ours_says_is_no_answer(reply: Reply) -> None:
    with pytest.raises(Unreachable):
        play(questions.status(), reply, reply, reply)


def test_a_run_id_is_one_part_of_the_path() -> None:
    (request,) = play(questions.get_run("../a b?c")).sent
    assert request.path == "/api/sync/runs/..%2Fa%20b%3Fc"


# Pages


def history(limit: int | None = None, **filters: Any) -> Flow[Any, Any]:
    given = {"statuses": (), "job": None, "triggers": (), "start": None, "end": None, **filters}
    return questions.history(limit=limit, **given)


def page(*revisions: int, cursor: str | None) -> Reply:
    return ok({"records": [to_wire(at(revision)) for revision in revisions], "next_cursor": cursor})


def test_history_goes_on_behind_the_cursor() -> None:
    done = play(history(), page(5, 4, cursor="r4"), page(3, cursor=None))
    assert [stats.revision for stats in done.given] == [5, 4, 3]
    assert [query.get("cursor") for query in done.queries] == [None, "r4"]


def test_history_asks_for_no_more_than_is_wanted() -> None:
    done = play(history(limit=2), page(5, 4, cursor="r4"))
    assert [stats.revision for stats in done.given] == [5, 4]
    assert done.queries[0]["page_size"] == 2


def test_a_page_that_is_lost_is_asked_for_again() -> None:
    done = play(history(), page(5, cursor="r5"), GONE, page(4, cursor=None))
    assert [stats.revision for stats in done.given] == [5, 4]


def test_history_says_what_is_wanted_as_the_api_does() -> None:
    (query,) = play(
        history(
            statuses=[SyncStatus.FAILED],
            triggers=[Trigger.CLI],
            start=date(2026, 4, 15),
            end=datetime(2026, 4, 16, 4, tzinfo=UTC),
        )
    ).queries
    assert (query["status"], query["trigger"]) == (["failed"], ["cli"])
    assert (query["start_date"], query["end_date"]) == ("2026-04-15", "2026-04-16T12:00:00.000000+08:00")
    with pytest.raises(ValueError, match="time zone"):
        play(history(start=datetime(2026, 4, 15)))  # noqa: DTZ001 - that is what is refused


# What lasts


def test_a_watch_shows_the_status_then_what_is_new() -> None:
    done = watch(status(at(1)), STREAM, event(at(1)) + event(at(2)), event(at(2)), event(at(1)), event(END))
    assert [stats.revision for stats in done.given] == [1, 2, 9]
    assert done.sent[1].headers == {"Last-Event-ID": "1"}


def test_a_status_that_gets_stale_is_new() -> None:
    stale = replace(at(1), stale_since=NOON)
    assert watch(status(at(1)), STREAM, event(stale)).given == [at(1), stale]


def test_a_watch_goes_on_behind_what_it_has_seen() -> None:
    done = watch(status(at(1)), STREAM, event(at(2)), GONE, GONE, STREAM, event(at(3)), None, STREAM)
    assert [stats.revision for stats in done.given] == [1, 2, 3]
    assert [request.headers["Last-Event-ID"] for request in done.sent[1:]] == ["1", "2", "2", "3"]
    assert done.pauses[1] < 2


def test_the_pauses_grow_to_what_the_server_wants() -> None:
    done = watch(status(at(1)), STREAM, b"retry: 1000\n\n", *[GONE] * 8)
    assert 0.5 <= done.pauses[-1] <= 1
    assert done.pauses[0] <= 0.25


def test_a_watch_gives_up_at_once_at_first_and_after_a_while_later() -> None:
    with pytest.raises(Unreachable):
        watch(GONE, GONE, GONE)
    plan = Play()
    flow = following.watch(None, patience=60, clock=plan.clock)
    with pytest.raises(Unreachable):
        plan.carry_out(flow, [status(at(1)), *[GONE] * 1000])
    assert 60 <= plan.now < 65


def test_a_server_that_is_full_is_asked_later() -> None:
    full = problem(503, "too_many_waiting", retry_after="5")
    assert watch(status(at(1)), full, STREAM, event(at(2))).given == [at(1), at(2)]
    with pytest.raises(ServerError):
        watch(status(at(1)), problem(403, "host_refused"))


def test_a_page_in_the_place_of_the_stream_is_no_stream() -> None:
    html = Reply(status=200, headers={"content-type": "text/html"})
    assert watch(status(at(1)), html, STREAM, event(at(2))).given == [at(1), at(2)]


def test_where_there_are_no_events_there_are_long_polls() -> None:
    done = watch(status(at(1)), problem(404, "not_found"), status(at(2)), GONE, status(at(2)), status(END))
    assert [stats.revision for stats in done.given] == [1, 2, 9]
    assert [query["since_revision"] for query in done.queries[2:]] == [1, 2, 2, 2, 9]
    assert done.queries[2]["wait"] == 25


def test_waiting_tells_each_state_and_gives_the_last() -> None:
    done = wait(status(at(1)), status(at(2)), status(at(2)), status(END))
    assert done.result == END
    assert [stats.revision for stats in done.given] == [1, 2, 9]
    assert done.queries[1] == {"job": RUN.job.value, "wait": 25, "since_revision": 1}


def test_waiting_outlives_a_restart() -> None:
    assert wait(status(at(1)), GONE, problem(503, "store_unavailable"), status(END)).result == END


def test_a_run_that_another_has_followed_is_looked_up() -> None:
    other = replace(at(20), run_id="r2")
    done = wait(status(at(1)), status(other), status(at(1)), status(other), status(END))
    assert (done.result, done.pauses) == (END, [0.5])
    assert [request.path for request in done.sent[1:3]] == [questions.STATUS, "/api/sync/runs/r1"]


def test_waiting_ends_in_time() -> None:
    assert wait(status(at(1)), timeout=0).result == at(1)
    plan = Play()
    flow = following.wait("r1", timeout=10, patience=60, clock=plan.clock)
    plan.carry_out(flow, [status(at(1))])
    assert plan.queries[1]["wait"] == 10


def test_a_log_is_followed_to_the_runs_end() -> None:
    def line(seq: int) -> bytes:
        data = {
            "seq": seq,
            "at": "2026-04-15T12:00:00+08:00",
            "level": "info",
            "event": "e",
            "message": "m",
            "data": {},
        }
        return f"id: {seq}\nevent: log\ndata: {json.dumps(data)}\n\n".encode()

    plan = Play()
    flow = following.follow_log("r1", level="info", patience=60, clock=plan.clock)
    end = f"event: end\ndata: {json.dumps(to_wire(END))}\n\n".encode()
    plan.carry_out(flow, [status(RUN), STREAM, line(1) + line(4)[:20], GONE, STREAM, line(4), end])
    assert [each.seq for each in plan.given] == [1, 4]
    assert plan.sent[2].headers == {"Last-Event-ID": "1"}


# Events


@examples(200)
@given(data=st.data(), ends=st.sampled_from(["\n", "\r\n"]))
def test_events_come_out_whatever_the_pieces(data: st.DataObject, ends: str) -> None:
    text = 'retry: 1500\n\n: ping\n\nid: 7\nevent: status\ndata: {"a": "字"}\n\ndata:x\ndata: y\n\nid: 8\n\n'
    raw = text.replace("\n", ends).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=9)))
    decoder = Decoder()
    pieces = [raw[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(raw)], strict=True)]
    assert [event for piece in pieces for event in decoder.feed(piece)] == [
        Event(name="status", data='{"a": "字"}', id="7"),
        Event(name="message", data="x\ny"),
    ]
    assert decoder.retry_seconds == 1.5


# httpx


@pytest.mark.parametrize("url", ["nonsense", "ftp://host", "http://", "http://[::1", "http://host:port"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - httpx has its own words
        StocksyncClient(url)
    with pytest.raises(ValueError):  # noqa: PT011 - httpx has its own words
        AsyncStocksyncClient(url)


@pytest.mark.parametrize(
    ("url", "trusted"),
    [
        ("http://127.0.0.1:8000", False),
        ("http://127.9.9.9", False),
        ("http://[::1]:8000", False),
        ("http://localhost:8000", False),
        ("http://quant.example", True),
        ("http://10.0.0.1:8000", True),
    ],
)
def test_proxies_of_the_environment_are_not_for_this_machine(url: str, trusted: bool) -> None:  # noqa: FBT001
    assert transport.options(url, "x")["trust_env"] is trusted


def test_credentials_of_the_address_are_not_told() -> None:
    error = transport.unreachable(httpx.URL("http://ada:secret@host:80/x"), httpx.ReadTimeout(""))
    assert str(error) == "无法访问服务器 http://host：ReadTimeout"
