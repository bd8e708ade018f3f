import asyncio
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from builders import NOON, FakeClock, a_listing, a_reject, a_run, examples
from stocksync.domain.merge import Listed
from stocksync.domain.status import (
    REJECTS_SAMPLE,
    STEPS_PER_TOKEN,
    Attempt,
    Job,
    Outcome,
    Phase,
    Progress,
    Reason,
    SourceCount,
    SyncStats,
    SyncStatus,
    broken_invariants,
    broken_steps,
    complete,
    fail,
    never_ran,
    newest,
    recount,
)
from stocksync.domain.stock import Dataset
from stocksync.errors import StoreUnavailable
from stocksync.ports import Fence, Journal, UpsertCount
from stocksync.sync.tracker import RunTracker

SOURCES = ("tushare", "akshare", "baostock")
LATER = NOON + timedelta(seconds=90)
WANTED_STEPS = 10_000

sources = st.sampled_from(SOURCES)
small = st.integers(0, 6)


RUNNERS: list[asyncio.Runner] = []


def drive(step: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine on the one event loop of the state machine's test."""
    return RUNNERS[0].run(step)


class RunsOfOneStore(RuleBasedStateMachine):
    """Runs of both jobs, one after or on top of the other, as a reader of the store sees them."""

    published: ClassVar[int] = 0

    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock()
        self.token = 0
        self.revision = 0
        self.shown: dict[Job, SyncStats] = {job: never_ran(job) for job in Job}
        self.track: RunTracker | None = None
        self.store_is_down = False
        self.cancel_asked = False

    def running(self) -> RunTracker:
        assert self.track is not None
        return self.track

    def show(self, stats: SyncStats) -> None:
        type(self).published += 1
        assert broken_invariants(stats) == []
        assert broken_steps(self.shown[stats.job], stats) == []
        assert stats.revision > self.revision
        assert stats.progress.percent is None or 0 <= stats.progress.percent <= 100
        assert len(stats.rejects_sample) == min(stats.errors, REJECTS_SAMPLE)
        self.revision = stats.revision
        self.shown[stats.job] = stats

    async def persist(self, fence: Fence, stats: SyncStats, journal: Journal) -> bool:
        if self.store_is_down:
            raise StoreUnavailable("数据库不可用")
        assert fence.run_id == stats.run_id
        self.show(stats)
        self.heard(journal)
        return self.cancel_asked

    def heard(self, journal: Journal) -> None:
        self.told += [event.message for event in journal.events if event.event == "note"]
        self.told_rejects += [reject.code for reject in journal.rejects]

    def publish(self) -> None:
        before = self.revision
        drive(self.running().step())
        assert self.revision > before
        assert self.running().cancel_requested is self.cancel_asked

    @precondition(lambda self: self.track is None)
    @rule(job=st.sampled_from(Job), typical_ms=st.none() | st.integers(0, 90_000))
    def begin(self, job: Job, typical_ms: int | None) -> None:
        self.token += 1
        fence = Fence(token=self.token, owner="me", run_id=f"run-{self.token}")
        stats = replace(a_run(fence.run_id, job, self.clock.now()), revision=fence.first_revision)
        self.show(stats)
        self.track = RunTracker(stats, fence, persist=self.persist, clock=self.clock, typical_ms=typical_ms)
        self.left: dict[str, int] = {}
        self.is_listed = False
        self.cancel_asked = False
        self.said: list[str] = []
        self.told: list[str] = []
        self.said_rejects: list[str] = []
        self.told_rejects: list[str] = []

    @precondition(lambda self: self.track)
    @rule(phase=st.sampled_from([phase for phase in Phase if phase is not Phase.DONE]))
    def enter(self, phase: Phase) -> None:
        self.running().enter(phase)
        self.publish()

    @precondition(lambda self: self.track)
    @rule(source=sources, dataset=st.sampled_from(Dataset), outcome=st.sampled_from(Outcome))
    def ask_a_source(self, source: str, dataset: Dataset, outcome: Outcome) -> None:
        error = None if outcome is Outcome.OK else "没有应答"
        self.running().attempted(
            Attempt(dataset=dataset, source=source, outcome=outcome, rows=3, duration_ms=5, error=error)
        )
        self.publish()
        label = f"{dataset}:{source}"
        used = self.shown[self.running().stats.job].data_sources_used
        assert outcome is not Outcome.OK or label in used

    @precondition(lambda self: self.track and not self.is_listed)
    @rule(counts=st.dictionaries(sources, st.integers(1, 12)), lost=st.lists(sources, max_size=25))
    def learn_the_list(self, counts: Mapping[str, int], lost: list[str]) -> None:
        listed = Listed()
        for source, count in counts.items():
            for _ in range(count):
                code = f"600{len(listed.listings):03}"
                listed.origin[code] = source
                listed.listings[code] = a_listing(code)
        listed.rejects.extend((source, a_reject(f"row-{n}")) for n, source in enumerate(lost))
        self.running().listed(listed)
        self.left = dict(counts)
        self.is_listed = True
        self.said_rejects += [reject.code for _, reject in listed.rejects]
        self.publish()
        assert self.shown[self.running().stats.job].total == sum(counts.values()) + len(lost)

    @precondition(lambda self: self.track and self.left)
    @rule(data=st.data(), silently=st.booleans())
    def write_a_batch(self, data: st.DataObject, *, silently: bool) -> None:
        source = data.draw(st.sampled_from(sorted(self.left)))
        rows = data.draw(st.integers(1, self.left[source]))
        stored = data.draw(st.integers(0, rows))
        inserted = data.draw(st.integers(0, stored))
        changed = data.draw(st.integers(0, stored - inserted))
        rejects = tuple(a_reject(f"batch-{n}") for n in range(rows - stored))
        self.left[source] -= rows
        if not self.left[source]:
            del self.left[source]
        self.said_rejects += [reject.code for reject in rejects]
        self.running().written(
            source,
            UpsertCount(
                inserted=inserted,
                changed=changed,
                unchanged=stored - inserted - changed,
                rejects=rejects,
            ),
        )
        if not silently:
            self.publish()

    @precondition(lambda self: self.track)
    @rule()
    def say_something(self) -> None:
        text = f"note {len(self.said)}"
        self.said.append(text)
        self.running().log("note", text)
        self.publish()
        assert self.told == self.said
        assert self.told_rejects == self.said_rejects

    @precondition(lambda self: self.track)
    @rule(seconds=st.floats(0, 30), steps=st.integers(1, 4))
    def let_time_pass(self, seconds: float, steps: int) -> None:
        for _ in range(steps):
            before = self.shown[self.running().stats.job].progress.elapsed_ms or 0
            self.clock.seconds += seconds
            self.publish()
            assert (self.shown[self.running().stats.job].progress.elapsed_ms or 0) >= before

    @precondition(lambda self: self.track)
    @rule()
    def lose_the_store_for_a_step(self) -> None:
        shown, told = dict(self.shown), list(self.told)
        self.said.append("while down")
        self.running().log("note", "while down")
        self.store_is_down = True
        with pytest.raises(StoreUnavailable):
            drive(self.running().step())
        self.store_is_down = False
        assert (self.shown, self.told) == (shown, told)

    @precondition(lambda self: self.track and not self.cancel_asked)
    @rule()
    def ask_to_cancel(self) -> None:
        self.cancel_asked = True
        self.publish()

    @precondition(lambda self: self.track)
    @rule(reason=st.sampled_from([reason for reason in Reason if reason is not Reason.SUPERSEDED]))
    def end(self, reason: Reason) -> None:
        track = self.running()
        if self.is_listed and not self.left:
            ended = complete(track.stats, at=self.clock.now(), message="完成")
            stored = ended.inserted + ended.updated
            assert (ended.status is SyncStatus.FAILED) == (ended.errors > 0 and stored == 0)
        else:
            ended = fail(track.stats, at=self.clock.now(), reason=reason, message="失败")
            assert ended.phase is track.stats.phase
        stats, journal = track.last_step(ended)
        self.show(stats)
        self.heard(journal)
        self.say_goodbye()

    @precondition(lambda self: self.track)
    @rule(job=st.sampled_from(Job))
    def be_superseded(self, job: Job) -> None:
        """What acquire does with force: step 0 of the new token closes the old run."""
        track = self.running()
        closing = Fence(token=self.token + 1, owner="other", run_id=f"run-{self.token + 1}").revision(0)
        shown = self.shown[track.stats.job]
        closed = fail(shown, at=self.clock.now(), reason=Reason.SUPERSEDED, message="被取代")
        self.show(replace(closed, revision=closing))
        self.track = None
        self.begin(job, None)

    def say_goodbye(self) -> None:
        assert self.told == self.said
        assert self.told_rejects == self.said_rejects
        self.track = None


def test_every_published_snapshot_and_every_step_between_two_keeps_its_promises() -> None:
    RunsOfOneStore.published = 0
    with asyncio.Runner() as runner:
        RUNNERS[:] = [runner]
        for _ in range(20):
            run_state_machine_as_test(
                RunsOfOneStore,
                settings=settings(
                    max_examples=150,
                    stateful_step_count=50,
                    deadline=None,
                    suppress_health_check=list(HealthCheck),
                ),
            )
            if RunsOfOneStore.published >= WANTED_STEPS:
                return
    pytest.fail(f"only {RunsOfOneStore.published} steps")


def completed(**changes: Any) -> SyncStats:
    """A truthful run that went through; `changes` make it lie."""
    truth = replace(
        a_run(),
        status=SyncStatus.SUCCESS,
        phase=Phase.DONE,
        finished_at=LATER,
        revision=STEPS_PER_TOKEN + 5,
        total=3,
        inserted=1,
        updated=2,
        unchanged=1,
        source_stats={"tushare": SourceCount(total=3, success=3)},
        data_sources_used=("stock_list:tushare",),
    )
    return replace(truth, **changes)


def going(**changes: Any) -> SyncStats:
    return completed(**{"status": SyncStatus.RUNNING, "finished_at": None, "phase": Phase.WRITE, **changes})


def count(total: int, success: int) -> dict[str, SourceCount]:
    return {"tushare": SourceCount(total=total, success=success)}


def test_the_truth_breaks_no_promise() -> None:
    partly = completed(
        status=SyncStatus.SUCCESS_WITH_ERRORS, total=4, errors=1, source_stats=count(total=4, success=3)
    )
    failed = completed(status=SyncStatus.FAILED, reason=Reason.CANCELLED)
    for stats in (completed(), partly, failed, going(), *map(never_ran, Job), a_run()):
        assert broken_invariants(stats) == []


COMPLETE_SUM = "a completed run: total = inserted + updated + errors"
PARTLY = "success_with_errors means errors, and something stored"
UNCHANGED = "unchanged is a part of updated"
REASON = "a reason exactly where a run failed"
FINISHED = "finished_at exactly where a run ended"


@pytest.mark.parametrize(
    ("lie", "rule_broken"),
    [
        (completed(total=4, source_stats=count(4, 3)), COMPLETE_SUM),
        (
            completed(
                status=SyncStatus.SUCCESS_WITH_ERRORS,
                total=5,
                errors=1,
                source_stats=count(total=5, success=3),
            ),
            COMPLETE_SUM,
        ),
        (going(errors=9), "never more processed than there is"),
        (
            going(
                source_stats={"tushare": SourceCount(total=3, success=4), "akshare": SourceCount(success=-1)}
            ),
            "no source has more successes than stocks",
        ),
        (completed(source_stats=count(4, 3)), "sum of source totals = total"),
        (completed(source_stats=count(3, 2)), "sum of source successes = inserted + updated"),
        (completed(total=4, errors=1, source_stats=count(4, 3)), "success means no errors"),
        (completed(status=SyncStatus.SUCCESS_WITH_ERRORS), PARTLY),
        (
            completed(
                status=SyncStatus.SUCCESS_WITH_ERRORS,
                total=1,
                errors=1,
                inserted=0,
                updated=0,
                unchanged=0,
                source_stats=count(1, 0),
            ),
            PARTLY,
        ),
        (completed(unchanged=3), UNCHANGED),
        (completed(unchanged=-1), UNCHANGED),
        (completed(status=SyncStatus.FAILED), REASON),
        (completed(reason=Reason.ERROR), REASON),
        (completed(finished_at=None), FINISHED),
        (going(finished_at=LATER), FINISHED),
        (replace(never_ran(Job.MULTI), finished_at=LATER), FINISHED),
        (completed(data_sources_used=("roe:akshare",) * 2), "no duplicate in data_sources_used"),
    ],
)
def test_each_lie_of_a_snapshot_is_named(lie: SyncStats, rule_broken: str) -> None:
    assert broken_invariants(lie) == [rule_broken]


ATTEMPT = Attempt(dataset=Dataset.ROE, source="tushare", outcome=Outcome.OK, duration_ms=1)


@pytest.mark.parametrize(
    ("changes", "rules"),
    [
        ({"revision": 7}, []),
        ({"revision": 5}, ["revision increases"]),
        ({"revision": 4}, ["revision increases"]),
        ({"total": 5}, ["total is set once"]),
        ({"total": 3}, ["counters never decrease", "total is set once"]),
        ({"inserted": 0}, ["counters never decrease"]),
        ({"updated": 1}, ["counters never decrease"]),
        ({"unchanged": 0}, ["counters never decrease"]),
        ({"errors": 0}, ["counters never decrease"]),
        ({"phase": Phase.MERGE}, ["phases go forward"]),
        ({"phase": None}, ["phases go forward"]),
        ({"attempts": ()}, ["attempts are only added"]),
        ({"attempts": (replace(ATTEMPT, rows=1), ATTEMPT)}, ["attempts are only added"]),
        ({"attempts": (ATTEMPT, ATTEMPT)}, []),
        ({"run_id": "run-2"}, []),
        ({"run_id": "run-2", "revision": 5}, ["a new run has a larger revision"]),
        ({"run_id": "run-2", "revision": 4}, ["a new run has a larger revision"]),
        ({"run_id": "run-2", "total": 0, "inserted": 0, "phase": Phase.STARTING, "attempts": ()}, []),
    ],
)
def test_each_broken_step_is_named(changes: Mapping[str, Any], rules: list[str]) -> None:
    before = going(revision=5, errors=1, total=4, attempts=(ATTEMPT,))
    assert broken_steps(before, replace(before, **{"revision": 6, **changes})) == rules


def test_the_total_may_become_known_once() -> None:
    before = replace(a_run(), revision=5)
    assert broken_steps(before, replace(before, revision=6, total=4)) == []


def test_a_run_that_ended_must_not_go_on() -> None:
    ended = completed()
    assert broken_steps(ended, replace(ended, revision=ended.revision + 1)) == [
        "a run that ended stays ended"
    ]


def test_a_run_without_errors_is_a_success() -> None:
    stats = complete(going(), at=LATER, message="完成")
    assert (stats.status, stats.reason, stats.phase) == (SyncStatus.SUCCESS, None, Phase.DONE)
    assert (stats.finished_at, stats.message) == (LATER, "完成")
    assert stats.progress == Progress(elapsed_ms=90_000)


def test_a_run_with_some_rows_lost_is_a_success_with_errors() -> None:
    stats = complete(going(total=4, errors=1, source_stats=count(4, 3)), at=LATER, message="完成")
    assert (stats.status, stats.reason) == (SyncStatus.SUCCESS_WITH_ERRORS, None)
    assert broken_invariants(stats) == []


def test_a_run_that_lost_every_row_failed() -> None:
    lost = replace(a_run(), total=2, errors=2, phase=Phase.RECONCILE, source_stats=count(2, 0))
    stats = complete(lost, at=LATER, message="完成")
    assert (stats.status, stats.reason, stats.phase) == (SyncStatus.FAILED, Reason.ERROR, Phase.RECONCILE)
    assert broken_invariants(stats) == []


@pytest.mark.parametrize("phase", list(Phase))
@pytest.mark.parametrize("reason", list(Reason))
def test_a_failed_run_keeps_the_phase_in_which_it_broke_off(phase: Phase, reason: Reason) -> None:
    stats = fail(going(phase=phase), at=LATER, reason=reason, message="失败")
    assert (stats.status, stats.reason, stats.phase) == (SyncStatus.FAILED, reason, phase)
    assert (stats.finished_at, stats.message, stats.progress.eta_seconds) == (LATER, "失败", None)
    assert (stats.total, stats.inserted, stats.updated) == (3, 1, 2)
    assert broken_invariants(stats) == []


@dataclass(frozen=True)
class Batch:
    """What one write really did."""

    source: str
    inserted: int
    changed: int
    unchanged: int
    lost: int


def batches(*, unchanged: bool) -> st.SearchStrategy[list[Batch]]:
    same = small if unchanged else st.just(0)
    return st.lists(st.builds(Batch, sources, small, small, same, st.integers(0, 2)), max_size=8)


def counted(done: list[Batch], totals: Mapping[str, int]) -> SyncStats:
    success = dict.fromkeys(totals, 0)
    for batch in done:
        success[batch.source] += batch.inserted + batch.changed + batch.unchanged
    return replace(
        a_run(),
        revision=5,
        phase=Phase.WRITE,
        total=sum(totals.values()),
        inserted=sum(batch.inserted for batch in done),
        updated=sum(batch.changed + batch.unchanged for batch in done),
        unchanged=sum(batch.unchanged for batch in done),
        errors=sum(batch.lost for batch in done),
        source_stats={
            source: SourceCount(total=totals[source], success=success[source]) for source in totals
        },
    )


def check_recount(done: list[Batch], unwritten: Mapping[str, int], *, counted_all: bool) -> None:
    """The owner died after all batches were stored, and maybe before the last one was counted."""
    totals = dict(unwritten)
    for batch in done:
        rows = batch.inserted + batch.changed + batch.unchanged + batch.lost
        totals[batch.source] = totals.get(batch.source, 0) + rows
    seen = done if counted_all else done[:-1]
    before = counted(seen, totals)
    marks: dict[str, tuple[int, int]] = {}
    for batch in done:
        created, changed = marks.get(batch.source, (0, 0))
        marks[batch.source] = (created + batch.inserted, changed + batch.changed)
    after = recount(before, marks)
    closed = replace(
        fail(after, at=LATER, reason=Reason.INTERRUPTED, message="中断"), revision=before.revision + 1
    )
    assert broken_invariants(closed) == []
    assert broken_steps(before, closed) == []
    assert closed.inserted == sum(batch.inserted for batch in done)
    assert closed.updated - closed.unchanged == sum(batch.changed for batch in done)
    assert closed.unchanged == sum(batch.unchanged for batch in seen)
    for source, stored in closed.source_stats.items():
        assert sum(marks.get(source, (0, 0))) <= stored.success <= stored.total == totals[source]


unwritten = st.dictionaries(sources, small)


@given(batches(unchanged=False), unwritten, st.booleans())
@examples(150)
def test_recounting_what_a_dead_owner_wrote_keeps_the_invariants(
    done: list[Batch],
    left: Mapping[str, int],
    counted_all: bool,  # noqa: FBT001 - hypothesis gives it
) -> None:
    check_recount(done, left, counted_all=counted_all)


@given(batches(unchanged=True), unwritten, st.booleans())
@examples(150)
def test_recounting_keeps_the_rows_that_needed_no_write(
    done: list[Batch],
    left: Mapping[str, int],
    counted_all: bool,  # noqa: FBT001 - hypothesis gives it
) -> None:
    check_recount(done, left, counted_all=counted_all)


def test_recounting_takes_back_nothing_that_was_counted() -> None:
    """500 rows were up to date and counted, 500 more were inserted when the owner died."""
    before = replace(
        a_run(), total=1500, updated=500, unchanged=500, source_stats=count(total=1500, success=500)
    )
    after = recount(before, {"tushare": (500, 0)})
    assert (after.inserted, after.updated, after.unchanged) == (500, 500, 500)
    assert after.source_stats == count(total=1500, success=1000)


def test_recounting_what_was_counted_changes_nothing() -> None:
    stats = going()
    assert recount(stats, {"tushare": (1, 1)}) == stats


@pytest.mark.parametrize(
    ("job", "status"), [(Job.MULTI, SyncStatus.NEVER_RUN), (Job.SINGLE, SyncStatus.IDLE)]
)
def test_a_job_that_never_ran_says_so(job: Job, status: SyncStatus) -> None:
    stats = never_ran(job)
    assert (stats.job, stats.status, stats.revision, stats.run_id) == (job, status, 0, None)
    assert not stats.running
    assert not stats.final


def of(job: Job, revision: int, status: SyncStatus = SyncStatus.SUCCESS) -> SyncStats:
    return completed(job=job, revision=revision, status=status)


@pytest.mark.parametrize(
    ("multi", "single", "shown"),
    [
        (of(Job.MULTI, 5), of(Job.SINGLE, 9, SyncStatus.RUNNING), Job.SINGLE),
        (of(Job.MULTI, 5, SyncStatus.RUNNING), of(Job.SINGLE, 9), Job.MULTI),
        (of(Job.MULTI, 9, SyncStatus.RUNNING), of(Job.SINGLE, 5), Job.MULTI),
        (of(Job.MULTI, 5), of(Job.SINGLE, 9), Job.SINGLE),
        (of(Job.MULTI, 9), of(Job.SINGLE, 5), Job.MULTI),
        (never_ran(Job.MULTI), of(Job.SINGLE, 1), Job.SINGLE),
        (of(Job.MULTI, 1), never_ran(Job.SINGLE), Job.MULTI),
        (never_ran(Job.MULTI), never_ran(Job.SINGLE), Job.MULTI),
    ],
)
def test_of_two_jobs_a_running_one_is_shown_then_the_newer_then_the_default(
    multi: SyncStats, single: SyncStats, shown: Job
) -> None:
    assert newest({Job.MULTI: multi, Job.SINGLE: single}).job is shown
    assert newest({Job.SINGLE: single, Job.MULTI: multi}).job is shown
