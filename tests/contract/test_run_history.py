"""What is kept of every run, and how it is looked up again: one body for every store."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from builders import NOON, a_reject, a_run, a_stock
from contract.stores import LONG, NOTHING, Witness, acquire, at_step, finish, stock_rows
from stocksync.domain.changes import Change, ChangeKind
from stocksync.domain.journal import RunEvent
from stocksync.domain.status import Job, Reason, SyncStats, SyncStatus, Trigger
from stocksync.ports import LAST, Journal, RunFilter, Store

HOUR = timedelta(hours=1)


async def ran(store: Store, n: int, *, trigger: Trigger = Trigger.API, job: Job = Job.MULTI) -> SyncStats:
    """Run n began n hours after noon; every third one failed."""
    stats = replace(a_run(f"run-{n}", job, NOON + n * HOUR), trigger=trigger)
    fence = await store.runs.acquire(stats, owner="me", ttl=LONG, force=False)
    return await finish(store, fence, stats, reason=Reason.ERROR if n % 3 == 0 else None)


def ids(runs: Sequence[SyncStats]) -> list[str | None]:
    return [run.run_id for run in runs]


async def test_runs_are_found_by_status_job_trigger_and_begin(store: Store) -> None:
    for n in range(6):
        trigger = Trigger.CLI if n > 3 else Trigger.API
        await ran(store, n, trigger=trigger, job=Job.SINGLE if n == 2 else Job.MULTI)
    await acquire(store, "run-6", at=NOON + 6 * HOUR)

    async def found(**which: object) -> list[str | None]:
        wanted = RunFilter(**which)  # type: ignore[arg-type] # the cases below are the types
        runs = await store.runs.history(wanted, limit=9)
        assert await store.runs.run_count(wanted) == len(runs)
        return ids(runs)

    assert await found() == [f"run-{n}" for n in (6, 5, 4, 3, 2, 1, 0)]
    assert await found(statuses=frozenset({SyncStatus.FAILED})) == ["run-3", "run-0"]
    both = frozenset({SyncStatus.FAILED, SyncStatus.RUNNING})
    assert await found(statuses=both) == ["run-6", "run-3", "run-0"]
    assert await found(jobs=frozenset({Job.SINGLE})) == ["run-2"]
    assert await found(triggers=frozenset({Trigger.CLI})) == ["run-5", "run-4"]
    assert await found(triggers=frozenset({Trigger.SCHEDULE})) == []
    assert await found(since=NOON + 4 * HOUR) == ["run-6", "run-5", "run-4"]
    assert await found(until=NOON + HOUR) == ["run-0"]
    assert await found(since=NOON + HOUR, until=NOON + 3 * HOUR) == ["run-2", "run-1"]
    assert await found(statuses=both, jobs=frozenset(Job), since=NOON + HOUR) == ["run-6", "run-3"]


async def test_a_list_that_is_continued_neither_skips_nor_repeats_whatever_comes_meanwhile(
    store: Store,
) -> None:
    for n in range(1, 6):
        await ran(store, n)
    fence, running = await acquire(store, "run-6", at=NOON + 6 * HOUR)
    first = await store.runs.history(limit=1)
    assert ids(first) == ["run-6"]
    await store.runs.advance(fence, at_step(fence, running, 7), NOTHING, ttl=LONG)
    await finish(store, fence, running)
    await ran(store, 7)
    second = await store.runs.history(limit=2, before=first[-1].revision)
    assert ids(second) == ["run-5", "run-4"]
    await acquire(store, "run-8", at=NOON + 8 * HOUR)
    third = await store.runs.history(limit=9, before=second[-1].revision)
    assert ids(third) == ["run-3", "run-2", "run-1"]
    failed = RunFilter(statuses=frozenset({SyncStatus.FAILED}))
    assert ids(await store.runs.history(failed, limit=9, before=first[-1].revision)) == ["run-3"]
    assert await store.runs.history(limit=9, before=third[-1].revision) == []


async def test_a_run_that_is_displaced_keeps_its_place(store: Store) -> None:
    await ran(store, 1)
    await acquire(store, "run-2", at=NOON + 2 * HOUR)
    (shown,) = await store.runs.history(limit=1)
    await acquire(store, "run-3", at=NOON + 3 * HOUR, force=True, owner="other")
    assert ids(await store.runs.history(limit=9)) == ["run-3", "run-2", "run-1"]
    assert ids(await store.runs.history(limit=9, before=shown.revision)) == ["run-1"]


def event(n: int) -> RunEvent:
    return RunEvent(at=NOON, event="note", message=f"第{n}句", level=("info", "warning", "error")[n % 3])


async def test_a_log_is_read_from_any_line_on(store: Store) -> None:
    fence, stats = await acquire(store)
    said = Journal(events=tuple(event(n) for n in range(7)))
    await store.runs.advance(fence, at_step(fence, stats, 2), said, ttl=LONG)

    async def places(**page: object) -> list[int]:
        lines = await store.runs.events("run-1", **page)  # type: ignore[arg-type] # as above
        assert all(line.event == event(line.seq) for line in lines)
        return [line.seq for line in lines]

    assert await places() == [0, 1, 2, 3, 4, 5, 6]
    assert await places(after=4) == [5, 6]
    assert await places(limit=2) == [0, 1]
    assert await places(after=1, limit=3) == [2, 3, 4]
    assert await places(after=6) == await places(after=LAST) == []
    assert await places(levels=("error",)) == [2, 5]
    assert await places(after=2, levels=("warning", "error"), limit=2) == [4, 5]
    await store.runs.advance(
        fence, at_step(fence, stats, 3), Journal(events=(event(7),), first_event=7), ttl=LONG
    )
    assert await places(after=6) == [7]


async def test_a_run_that_was_closed_has_its_last_word_behind_all_others(store: Store) -> None:
    fence, stats = await acquire(store)
    said = Journal(events=(event(0), event(1)))
    await store.runs.advance(fence, at_step(fence, stats, 2), said, ttl=LONG)
    await acquire(store, "run-2", force=True, owner="other")
    (last,) = await store.runs.events("run-1", after=1)
    assert (last.event.event, last.event.level) == ("run_closed", "error")
    assert 1 < last.seq <= LAST
    assert await store.runs.events("run-1", after=last.seq) == []


async def test_rejects_come_page_by_page(store: Store) -> None:
    fence, stats = await acquire(store)
    rejects = [a_reject(f"row-{n}") for n in range(5)]
    await finish(store, fence, stats, journal=Journal(rejects=tuple(rejects)))
    assert await store.runs.reject_count("run-1") == 5
    assert await store.runs.rejects("run-1") == rejects
    assert await store.runs.rejects("run-1", limit=2) == rejects[:2]
    assert await store.runs.rejects("run-1", limit=2, offset=4) == rejects[4:]
    assert await store.runs.rejects("run-1", offset=5) == []
    assert await store.runs.reject_count("run-2") == 0


def a_change(n: int) -> Change:
    kind = list(ChangeKind)[n % 3]
    words = ("旧名", f"新名{n}") if n % 2 else (None, None)
    return Change(
        kind=kind, code=f"600{n:03}", source="tushare", name=f"新名{n}", before=words[0], after=words[1]
    )


async def test_changes_come_by_kind_and_page_and_are_counted(store: Store) -> None:
    fence, stats = await acquire(store)
    changes = [a_change(n) for n in range(8)]
    await store.runs.advance(fence, at_step(fence, stats, 2), Journal(changes=tuple(changes[:5])), ttl=LONG)
    last = Journal(changes=tuple(changes[5:]), first_change=5)
    await finish(store, fence, stats, journal=last)
    assert await store.runs.changes("run-1") == changes
    assert await store.runs.changes("run-1", limit=3, offset=4) == changes[4:7]
    delisted = [changes[1], changes[4], changes[7]]
    assert await store.runs.changes("run-1", kind=ChangeKind.DELISTED) == delisted
    assert await store.runs.changes("run-1", kind=ChangeKind.DELISTED, limit=1, offset=2) == delisted[2:]
    assert await store.runs.changes("run-1", kind=ChangeKind.RENUMBERED) == []
    assert await store.runs.change_counts("run-1") == {
        ChangeKind.LISTED: 3,
        ChangeKind.DELISTED: 3,
        ChangeKind.RELISTED: 2,
    }
    assert (await store.runs.changes("run-2"), await store.runs.change_counts("run-2")) == ([], {})


async def test_a_change_that_is_stored_twice_is_one_change(store: Store) -> None:
    """The first time its answer was lost, so it comes again, with others."""
    fence, stats = await acquire(store)
    changes = tuple(a_change(n) for n in range(4))
    for step, known in ((2, 1), (3, 3)):
        journal = Journal(changes=changes[:known])
        await store.runs.advance(fence, at_step(fence, stats, step), journal, ttl=LONG)
    await finish(store, fence, stats, journal=Journal(changes=changes[2:], first_change=2))
    assert await store.runs.changes("run-1") == list(changes)


async def test_pruning_takes_the_changes_too_and_leaves_a_running_run(store: Store, witness: Witness) -> None:
    fence, stats = await acquire(store)
    await finish(store, fence, stats, journal=Journal(changes=(a_change(1),)))
    fence, stats = await acquire(store, "run-2")
    said = Journal(events=(event(0),), rejects=(a_reject(),), changes=(a_change(2),))
    await store.runs.advance(fence, at_step(fence, stats, 2), said, ttl=LONG)
    assert await store.runs.prune(NOON + timedelta(days=9999)) == 1
    assert await store.runs.changes("run-1") == []
    assert "600001" not in repr(witness.everything().get("sync_run_changes"))
    assert await store.runs.changes("run-2") == [a_change(2)]
    assert len(await store.runs.events("run-2")) == len(await store.runs.rejects("run-2")) == 1


async def test_an_upsert_tells_what_the_rows_say_about_the_market(store: Store) -> None:
    fence, _ = await acquire(store)
    rows = stock_rows(4)
    first = await store.stocks.upsert(rows, fence)
    assert [(each.kind, each.code) for each in first.changes] == [
        (ChangeKind.LISTED, row.code) for row in rows
    ]
    await store.stocks.retire("tushare", gone=["600003"], renumbered=[], fence=fence)
    later = [
        replace(rows[0], name="新名"),
        replace(rows[1], market="创业板"),
        replace(rows[2], figures={"pe": 99.0}, area="福建"),
        rows[3],
        a_stock("600009"),
    ]
    count = await store.stocks.upsert(later, fence)
    assert (count.inserted, count.changed, count.unchanged) == (1, 4, 0)
    told = {(each.code, each.kind): (each.before, each.after) for each in count.changes}
    assert told == {
        ("600000", ChangeKind.RENAMED): (rows[0].name, "新名"),
        ("600001", ChangeKind.MOVED_BOARD): ("主板", "创业板"),
        ("600003", ChangeKind.RELISTED): (None, None),
        ("600009", ChangeKind.LISTED): (None, None),
    }
    again = await store.stocks.upsert(later, fence)
    assert (again.unchanged, again.changes) == (5, ())


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
async def test_a_row_that_is_refused_says_nothing_about_the_market(store: Store, poison: float) -> None:
    fence, _ = await acquire(store)
    good = stock_rows(2)
    await store.stocks.upsert(good[:1], fence)
    bad = [replace(good[0], name="新名", figures={"pe": poison}), a_stock("600007", figures={"pe": poison})]
    count = await store.stocks.upsert([*bad, good[1]], fence)
    assert (count.inserted, count.changed, len(count.rejects)) == (1, 0, 2)
    assert [each.code for each in count.changes] == ["600001"]
