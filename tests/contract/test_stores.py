import asyncio
import math
import subprocess
import sys
import time
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from statistics import median
from typing import Any

import pytest

from builders import ALL_EXCHANGES, NOON, a_reject, a_run, a_stock, log_of, measured
from contract.stores import (
    BLINK,
    LONG,
    NOTHING,
    Open,
    Witness,
    acquire,
    at_step,
    closed_at_the_end,
    finish,
    stock_rows,
)
from stocksync.domain.codes import Exchange
from stocksync.domain.health import SourceHealth
from stocksync.domain.journal import RunEvent
from stocksync.domain.status import (
    STEPS_PER_TOKEN,
    Attempt,
    Job,
    Outcome,
    Phase,
    Reason,
    SourceCount,
    SyncStats,
    SyncStatus,
    broken_invariants,
    broken_steps,
)
from stocksync.domain.stock import Dataset, StockBasic
from stocksync.errors import LeaseLost, RunInProgress, StoreUnavailable, StoreUrlInvalid
from stocksync.ports import Fence, Journal, OperationLog, Store
from stocksync.stores import open_store

GENEROUS = 15.0
"""Seconds after which something is broken, however slow the machine."""


# --- stocks


async def test_rows_are_inserted_changed_or_found_unchanged(store: Store) -> None:
    fence, _ = await acquire(store)
    rows = stock_rows(10)
    first = await store.stocks.upsert(rows, fence)
    assert (first.inserted, first.changed, first.unchanged, first.rejects) == (10, 0, 0, ())
    mixed = [*rows[:6], *(replace(row, name="新名") for row in rows[6:]), measured("601000", pe=1.0)]
    second = await store.stocks.upsert(mixed, fence)
    assert (second.inserted, second.changed, second.unchanged, second.rejects) == (1, 4, 6, ())
    assert [await store.stocks.get(row.code, "tushare") for row in mixed] == mixed
    assert await store.stocks.count() == 11


async def test_a_stored_row_is_given_back_as_it_was(store: Store) -> None:
    fence, _ = await acquire(store)
    row = a_stock(
        "920047",
        "akshare",
        name="某股份",
        area="北京",
        industry="软件服务",
        market="北交所",
        list_date="20210715",
        trade_date="20260415",
        figures={"pe": 1 / 3, "total_mv": 12_345.67890123, "roe": -3.5},
        field_sources={"pe": "akshare:20260415", "area": "baostock"},
    )
    bare = a_stock("000001")
    await store.stocks.upsert([row, bare], fence)
    assert await store.stocks.get("920047", "akshare") == row
    assert await store.stocks.get("000001", "tushare") == bare
    assert await store.stocks.get("920047", "tushare") is None
    assert await store.stocks.get("600519", "tushare") is None


async def test_an_unknown_metric_is_absent_and_derived_fields_are_stored(
    store: Store, witness: Witness
) -> None:
    fence, _ = await acquire(store)
    await store.stocks.upsert([measured("000001", pe=5.0)], fence)
    (row,) = witness.rows()
    assert (row["symbol"], row["full_symbol"], row["sse"]) == ("000001", "000001.SZ", "深圳证券交易所")
    assert (row["category"], row["sec"], row["pe"]) == ("stock_cn", "stock_cn", 5.0)
    assert row.get("pb") is None
    assert row["updated_at"] == datetime.now(UTC).date().isoformat()


async def test_a_second_upsert_of_the_same_rows_writes_nothing(store: Store, witness: Witness) -> None:
    fence, stats = await acquire(store)
    rows = stock_rows(50)
    await store.stocks.upsert(rows, fence)
    await finish(store, fence, stats)
    later, _ = await acquire(store, "run-2")
    before, writes = witness.rows(), witness.writes()
    count = await store.stocks.upsert(rows, later)
    assert (count.inserted, count.changed, count.unchanged) == (0, 0, 50)
    assert witness.writes() == writes
    assert witness.rows() == before
    assert {row["changed_run"] for row in before} == {"run-1"}
    await store.stocks.upsert([replace(rows[0], name="新名")], later)
    assert witness.writes() != writes
    assert [row["changed_run"] for row in witness.rows()] == ["run-2", *["run-1"] * 49]
    assert {row["created_run"] for row in witness.rows()} == {"run-1"}


async def test_unknown_never_overwrites_known(store: Store, witness: Witness) -> None:
    fence, _ = await acquire(store)
    full = replace(measured("600519", pe=20.0, pb=8.0), area="贵州", industry="白酒", list_date="20010827")
    await store.stocks.upsert([full], fence)
    writes = witness.writes()
    count = await store.stocks.upsert([a_stock("600519")], fence)
    assert (count.changed, count.unchanged, witness.writes()) == (0, 1, writes)
    assert await store.stocks.get("600519", "tushare") == full
    count = await store.stocks.upsert([measured("600519", day="20260416", pe=21.0)], fence)
    assert count.changed == 1
    assert await store.stocks.get("600519", "tushare") == replace(
        full,
        trade_date="20260416",
        figures={"pe": 21.0, "pb": 8.0},
        field_sources={"pe": "tushare:20260416", "pb": "tushare:20260415"},
    )


async def test_each_source_has_its_own_row_of_a_stock(store: Store) -> None:
    fence, _ = await acquire(store)
    rows = [measured("600519", "tushare", pe=1.0), measured("600519", "akshare", pe=2.0)]
    count = await store.stocks.upsert(rows, fence)
    assert (count.inserted, count.rejects) == (2, ())
    assert await store.stocks.count() == 2
    assert (await store.stocks.count("tushare"), await store.stocks.count("baostock")) == (1, 0)
    assert [await store.stocks.get("600519", source) for source in ("tushare", "akshare")] == rows


async def test_nothing_to_store_is_nothing_stored(store: Store) -> None:
    fence, _ = await acquire(store)
    count = await store.stocks.upsert([], fence)
    assert (count.inserted, count.changed, count.unchanged, count.rejects) == (0, 0, 0, ())


HUGE = a_stock("600100", figures={"pe": 2**70})
NAN = a_stock("600101", figures={"pb": math.nan})
INFINITE = a_stock("600102", figures={"ps": -math.inf})
SURROGATE = a_stock("600103", name="坏\ud800名")
UNKNOWN_CODE = a_stock("999999")
B_SHARE = a_stock("900901")
POISON = {
    "2**70": HUGE,
    "NaN": NAN,
    "infinity": INFINITE,
    "a lone surrogate": SURROGATE,
    "an unknown prefix": UNKNOWN_CODE,
    "a B share": B_SHARE,
}


@pytest.mark.parametrize("poison", POISON.values(), ids=POISON)
async def test_an_impossible_row_is_rejected_by_name_and_the_rest_lands(
    store: Store, poison: StockBasic
) -> None:
    fence, _ = await acquire(store)
    rows = [*stock_rows(3), poison, *(replace(row, code=f"601{row.code[3:]}") for row in stock_rows(3))]
    count = await store.stocks.upsert(rows, fence)
    assert (count.inserted, [reject.code for reject in count.rejects]) == (6, [poison.code])
    assert count.rejects[0].reason
    assert await store.stocks.get(poison.code, "tushare") is None
    assert await store.stocks.count() == 6


@pytest.mark.parametrize("poison", [HUGE, NAN, INFINITE, SURROGATE], ids=lambda row: row.code)
async def test_an_impossible_change_leaves_the_stored_row_as_it_was(
    store: Store, witness: Witness, poison: StockBasic
) -> None:
    fence, _ = await acquire(store)
    good = measured(poison.code, pe=3.0)
    await store.stocks.upsert([good], fence)
    before = witness.rows()
    count = await store.stocks.upsert([poison], fence)
    assert (count.changed, [reject.code for reject in count.rejects]) == (0, [poison.code])
    assert witness.rows() == before


async def test_all_poison_at_once_stays_alone_and_every_row_is_accounted_for(store: Store) -> None:
    fence, stats = await acquire(store)
    old = stock_rows(4)
    await store.stocks.upsert(old, fence)
    fresh = [measured(f"000{n:03}", pe=1.0) for n in range(1, 5)]
    batch = [*POISON.values(), *fresh, replace(old[0], name="新名"), *old[1:]]
    count = await store.stocks.upsert(batch, fence)
    assert sorted(reject.code for reject in count.rejects) == sorted(row.code for row in POISON.values())
    assert (count.inserted, count.changed, count.unchanged) == (4, 1, 3)
    assert count.inserted + count.changed + count.unchanged + len(count.rejects) == len(batch)
    await store.runs.advance(fence, at_step(fence, stats, 2), Journal(rejects=count.rejects), ttl=LONG)
    assert await store.runs.rejects("run-1") == list(count.rejects)


async def test_of_two_rows_with_one_key_the_second_is_rejected_by_name(store: Store) -> None:
    fence, _ = await acquire(store)
    rows = [measured("600519", pe=20.0), measured("600520", pe=1.0), measured("600519", pb=9.0)]
    count = await store.stocks.upsert(rows, fence)
    assert (count.inserted, count.changed, count.unchanged) == (2, 0, 0)
    assert [reject.code for reject in count.rejects] == ["600519"]
    assert await store.stocks.get("600519", "tushare") == rows[0]


async def test_of_two_changes_to_one_row_the_second_is_rejected_by_name(store: Store) -> None:
    fence, _ = await acquire(store)
    await store.stocks.upsert([measured("600519", pe=20.0)], fence)
    rows = [measured("600519", pe=21.0), measured("600519", pe=22.0)]
    count = await store.stocks.upsert(rows, fence)
    assert (count.inserted, count.changed, count.unchanged) == (0, 1, 0)
    assert [reject.code for reject in count.rejects] == ["600519"]
    assert await store.stocks.get("600519", "tushare") == rows[0]


@pytest.mark.parametrize("usurper", ["me", "other"])
async def test_a_stale_writer_changes_nothing(
    store: Store, open_again: Open, witness: Witness, usurper: str
) -> None:
    fence, stats = await acquire(store, owner="me")
    await store.stocks.upsert(stock_rows(3), fence)
    await acquire(await open_again(), "run-2", force=True, owner=usurper)
    before = witness.everything()
    late = at_step(
        fence, stats, 5, inserted=3, total=3, source_stats={"tushare": SourceCount(total=3, success=3)}
    )
    journal = Journal(rejects=(a_reject(),))
    for write in (
        lambda: store.stocks.upsert(stock_rows(5, pe=99.0), fence),
        lambda: store.stocks.upsert([], fence),
        lambda: store.stocks.retire("tushare", gone=["600000"], renumbered=["600001"], fence=fence),
        lambda: store.runs.advance(fence, late, journal, ttl=LONG),
        lambda: finish(store, fence, late, journal=journal),
    ):
        with pytest.raises(LeaseLost):
            await write()
    assert witness.everything() == before


async def test_nobody_writes_after_the_end_of_his_run(store: Store, witness: Witness) -> None:
    fence, stats = await acquire(store)
    await finish(store, fence, stats)
    before = witness.everything()
    for forged in (fence, replace(fence, owner="other"), replace(fence, token=fence.token + 1)):
        with pytest.raises(LeaseLost):
            await store.stocks.upsert(stock_rows(1), forged)
        with pytest.raises(LeaseLost):
            await finish(store, forged, stats)
    assert witness.everything() == before


async def test_what_a_list_no_longer_names_is_absent_until_it_is_retired(store: Store) -> None:
    fence, _ = await acquire(store)
    rows = [a_stock(code, list_date="20200101") for code in ("600001", "600002", "000001", "920001")]
    await store.stocks.upsert([*rows, a_stock("600002", "akshare")], fence)

    async def absent(*listed: str, on: frozenset[Exchange] = ALL_EXCHANGES) -> list[str]:
        return [ref.code for ref in await store.stocks.absent("tushare", on, frozenset(listed))]

    assert await absent("600001", "000001") == ["600002", "920001"]
    assert await absent("600001", on=frozenset({Exchange.SSE})) == ["600002"]
    assert await absent(on=frozenset()) == []
    (ref,) = await store.stocks.absent("tushare", frozenset({Exchange.BSE}), frozenset())
    assert (ref.code, ref.name, ref.list_date) == ("920001", rows[3].name, "20200101")
    await store.stocks.retire("tushare", gone=["600002"], renumbered=["920001"], fence=fence)
    assert await absent("600001", "000001") == []
    assert await absent("600001") == ["000001"]
    assert (await store.stocks.count("tushare"), await store.stocks.count("akshare")) == (2, 1)
    assert await store.stocks.get("600002", "tushare") == rows[1]
    assert await store.stocks.get("920001", "tushare") is None


async def test_a_gone_stock_that_returns_is_a_change_and_is_listed_again(store: Store) -> None:
    fence, _ = await acquire(store)
    rows = stock_rows(2)
    await store.stocks.upsert(rows, fence)
    await store.stocks.retire("tushare", gone=["600000"], renumbered=[], fence=fence)
    assert await store.stocks.count() == 1
    count = await store.stocks.upsert(rows, fence)
    assert (count.inserted, count.changed, count.unchanged) == (0, 1, 1)
    assert await store.stocks.count() == 2
    assert [ref.code for ref in await store.stocks.absent("tushare", ALL_EXCHANGES, frozenset())] == [
        "600000",
        "600001",
    ]


# --- runs


def writing(fence: Fence, stats: SyncStats, step: int, *, inserted: int = 0, updated: int = 0) -> SyncStats:
    """A snapshot in the middle of writing 100 stocks of one source."""
    return at_step(
        fence,
        stats,
        step,
        phase=Phase.WRITE,
        total=100,
        inserted=inserted,
        updated=updated,
        source_stats={"tushare": SourceCount(total=100, success=inserted + updated)},
    )


async def let_it_run_out(store: Store, fence: Fence, stats: SyncStats, *, step: int = 800) -> None:
    """Take a last step whose lease is over at once."""
    await store.runs.advance(fence, at_step(fence, stats, step), NOTHING, ttl=BLINK)
    await asyncio.sleep(0.05)


async def test_the_first_step_of_a_run_is_stored_as_it_is_acquired(store: Store) -> None:
    assert await store.runs.latest(Job.MULTI) is None
    fence, stats = await acquire(store)
    assert stats.revision == fence.first_revision == fence.token * STEPS_PER_TOKEN + 1
    assert fence.run_id == "run-1"
    assert await store.runs.latest(Job.MULTI) == await store.runs.get("run-1") == stats
    assert await store.runs.latest(Job.SINGLE) is None
    assert await store.runs.get("run-2") is None


@pytest.mark.parametrize("job", list(Job))
async def test_one_run_at_a_time_over_both_jobs(
    store: Store, open_again: Open, witness: Witness, job: Job
) -> None:
    await acquire(store)
    before = witness.everything()
    for other in (store, await open_again()):
        with pytest.raises(RunInProgress):
            await acquire(other, "run-2", job=job)
    assert witness.everything() == before


async def test_of_many_that_ask_together_one_gets_the_slot(open_again: Open) -> None:
    stores = [await open_again() for _ in range(4)]
    answers = await asyncio.gather(
        *(acquire(store, f"run-{n}") for n, store in enumerate(stores * 3)), return_exceptions=True
    )
    refused = [answer for answer in answers if isinstance(answer, RunInProgress)]
    assert len(refused) == len(answers) - 1
    assert len(await stores[0].runs.history(limit=50)) == 1


@pytest.mark.parametrize("job", list(Job))
async def test_force_closes_the_old_run_as_superseded(store: Store, open_again: Open, job: Job) -> None:
    fence, stats = await acquire(store)
    rows = stock_rows(7)
    await store.stocks.upsert(rows, fence)
    last = writing(fence, stats, 9, inserted=7)
    await store.runs.advance(fence, last, NOTHING, ttl=LONG)
    other = await open_again()
    new_fence, new = await acquire(
        other, "run-2", job=job, force=True, owner="other", at=NOON + timedelta(seconds=30)
    )
    closed = await store.runs.get("run-1")
    assert closed is not None
    assert (closed.status, closed.reason) == (SyncStatus.FAILED, Reason.SUPERSEDED)
    assert closed.finished_at == NOON + timedelta(seconds=30)
    assert (closed.inserted, closed.updated, closed.phase) == (7, 0, Phase.WRITE)
    assert broken_invariants(closed) == []
    assert broken_steps(last, closed) == []
    assert closed.revision < new.revision
    assert new_fence.token > fence.token
    assert await store.runs.latest(job) == new
    assert [event.event for event in await log_of(store, "run-1")] == ["run_closed"]


async def test_force_without_a_run_just_starts_one(store: Store) -> None:
    _, stats = await acquire(store, force=True)
    assert [run.run_id for run in await store.runs.history(limit=9)] == ["run-1"]
    assert stats.running


async def test_a_run_that_ran_out_is_closed_as_interrupted_by_the_next(store: Store) -> None:
    fence, stats = await acquire(store)
    await let_it_run_out(store, fence, stats)
    await acquire(store, "run-2", owner="other")
    closed = await store.runs.get("run-1")
    assert closed is not None
    assert (closed.status, closed.reason) == (SyncStatus.FAILED, Reason.INTERRUPTED)


async def test_revisions_only_grow_over_runs_force_rescue_and_reopening(store_url: str) -> None:
    seen: list[int] = []

    async def see(store: Store) -> None:
        latest = [await store.runs.latest(job) for job in Job]
        seen.append(max(stats.revision for stats in latest if stats is not None))

    for round_ in range(3):
        async with closed_at_the_end(store_url) as store:
            fence, stats = await acquire(store, f"a{round_}")
            await see(store)
            await store.runs.advance(fence, at_step(fence, stats, 7), NOTHING, ttl=LONG)
            await see(store)
            await finish(store, fence, stats)
            await see(store)
            await acquire(store, f"b{round_}", job=Job.SINGLE)
            await see(store)
            fence, stats = await acquire(store, f"c{round_}", force=True, owner="other")
            await see(store)
            await let_it_run_out(store, fence, stats)
        async with closed_at_the_end(store_url) as store:
            await see(store)
            assert await store.runs.rescue(NOON)
            await see(store)
            fence, stats = await acquire(store, f"d{round_}")
            await see(store)
            await finish(store, fence, stats)
            await see(store)
    assert len(seen) == 27
    assert seen == sorted(set(seen))


async def test_an_advance_stores_the_step(store: Store) -> None:
    fence, stats = await acquire(store)
    step = writing(fence, stats, 2, inserted=5)
    assert await store.runs.advance(fence, step, NOTHING, ttl=LONG) is False
    assert await store.runs.get("run-1") == await store.runs.latest(Job.MULTI) == step


@pytest.mark.parametrize("taken_by", ["rescue", "acquire"])
async def test_a_lease_that_ran_out_is_its_owners_until_somebody_takes_it(
    store: Store, open_again: Open, taken_by: str
) -> None:
    fence, stats = await acquire(store)
    await let_it_run_out(store, fence, stats)
    assert await store.runs.overdue() == fence.token
    assert (await store.stocks.upsert(stock_rows(1), fence)).inserted == 1
    await store.runs.advance(fence, at_step(fence, stats, 850), NOTHING, ttl=LONG)
    assert await store.runs.overdue() is None
    assert await store.runs.rescue(NOON) is None
    await let_it_run_out(store, fence, stats, step=860)
    other = await open_again()
    if taken_by == "rescue":
        assert await other.runs.rescue(NOON) is not None
    else:
        await acquire(other, "run-2")
    assert await store.runs.overdue() is None
    with pytest.raises(LeaseLost):
        await store.runs.advance(fence, at_step(fence, stats, 900), NOTHING, ttl=LONG)


async def test_only_a_lease_that_ran_out_is_overdue(store: Store) -> None:
    assert await store.runs.overdue() is None
    fence, stats = await acquire(store)
    assert await store.runs.overdue() is None
    await finish(store, fence, stats)
    await asyncio.sleep(0.05)
    assert await store.runs.overdue() is None


async def test_an_advance_renews_the_lease(store: Store) -> None:
    fence, stats = await acquire(store, ttl=timedelta(seconds=1.5))
    await store.runs.advance(fence, at_step(fence, stats, 2), NOTHING, ttl=LONG)
    await asyncio.sleep(1.7)
    assert await store.runs.rescue(NOON) is None
    await store.runs.advance(fence, at_step(fence, stats, 3), NOTHING, ttl=LONG)


async def test_a_living_run_needs_no_rescue(store: Store, witness: Witness) -> None:
    assert await store.runs.rescue(NOON) is None
    fence, stats = await acquire(store)
    before = witness.everything()
    assert await store.runs.rescue(NOON) is None
    assert witness.everything() == before
    await finish(store, fence, stats)
    assert await store.runs.rescue(NOON) is None


async def test_a_dead_owners_run_is_closed_exactly_once_by_what_the_rows_say(
    store: Store, open_again: Open
) -> None:
    old, old_stats = await acquire(store, "run-0")
    await store.stocks.upsert(stock_rows(5), old)
    await finish(store, old, old_stats)
    fence, stats = await acquire(store, "run-1")
    changed = [replace(row, name="新名") for row in stock_rows(5)]
    await store.stocks.upsert([*changed[:2], *(measured(f"601{n:03}", pe=1.0) for n in range(3))], fence)
    last = writing(fence, stats, 3, inserted=3, updated=2)
    await store.runs.advance(fence, last, NOTHING, ttl=LONG)
    await store.stocks.upsert([changed[2], *(measured(f"603{n:03}", pe=1.0) for n in range(4))], fence)
    await let_it_run_out(store, fence, writing(fence, stats, 4, inserted=3, updated=2), step=4)
    stores = [store, await open_again(), await open_again()]
    closed = await asyncio.gather(*(each.runs.rescue(NOON + timedelta(seconds=9)) for each in stores))
    (run,) = [stats for stats in closed if stats is not None]
    assert run == await store.runs.get("run-1") == await store.runs.latest(Job.MULTI)
    assert (run.status, run.reason) == (SyncStatus.FAILED, Reason.INTERRUPTED)
    assert run.finished_at == NOON + timedelta(seconds=9)
    assert (run.total, run.inserted, run.updated, run.unchanged) == (100, 7, 3, 0)
    assert run.source_stats == {"tushare": SourceCount(total=100, success=10)}
    assert broken_invariants(run) == []
    assert broken_steps(last, run) == []
    assert [event.event for event in await log_of(store, "run-1")] == ["run_closed"]
    with pytest.raises(LeaseLost):
        await store.runs.advance(fence, at_step(fence, stats, 900), NOTHING, ttl=LONG)
    await acquire(store, "run-2")


async def test_a_late_rescuer_leaves_the_run_that_took_over_alone(store: Store, open_again: Open) -> None:
    rescuers = [await open_again() for _ in range(3)]
    for n in range(15):
        fence, stats = await acquire(store, f"dead-{n}", force=True)
        await let_it_run_out(store, fence, stats)
        _, (fence, alive), *_ = await asyncio.gather(
            rescuers[0].runs.rescue(NOON),
            acquire(store, f"alive-{n}"),
            *(rescuer.runs.rescue(NOON) for rescuer in rescuers[1:]),
        )
        assert await store.runs.latest(Job.MULTI) == alive
        assert await store.runs.advance(fence, at_step(fence, alive, 2), NOTHING, ttl=LONG) is False
        dead = await store.runs.get(f"dead-{n}")
        assert dead is not None
        assert dead.reason is Reason.INTERRUPTED


async def test_a_rescue_takes_back_nothing_that_was_counted(store: Store) -> None:
    """Five rows were up to date and counted; then five were inserted, and the owner died."""
    old, old_stats = await acquire(store, "run-0")
    await store.stocks.upsert(stock_rows(5), old)
    await finish(store, old, old_stats)
    fence, stats = await acquire(store, "run-1")
    assert (await store.stocks.upsert(stock_rows(5), fence)).unchanged == 5
    last = replace(writing(fence, stats, 3, updated=5), unchanged=5)
    await store.runs.advance(fence, last, NOTHING, ttl=LONG)
    await store.stocks.upsert([measured(f"601{n:03}", pe=1.0) for n in range(5)], fence)
    await let_it_run_out(store, fence, last, step=4)
    closed = await store.runs.rescue(NOON)
    assert closed is not None
    assert (closed.inserted, closed.updated, closed.unchanged) == (5, 5, 5)
    assert broken_invariants(closed) == []
    assert broken_steps(last, closed) == []


async def test_a_wish_to_cancel_is_heard_at_the_owners_next_step(store: Store, open_again: Open) -> None:
    fence, stats = await acquire(store)
    assert await store.runs.advance(fence, at_step(fence, stats, 2), NOTHING, ttl=LONG) is False
    other = await open_again()
    assert await other.runs.request_cancel("run-0") is False
    assert await store.runs.advance(fence, at_step(fence, stats, 3), NOTHING, ttl=LONG) is False
    assert await other.runs.request_cancel("run-1") is True
    for step in (4, 5):
        assert await store.runs.advance(fence, at_step(fence, stats, step), NOTHING, ttl=LONG) is True
    await finish(store, fence, stats, reason=Reason.CANCELLED)
    assert await other.runs.request_cancel("run-1") is False
    fence, stats = await acquire(store, "run-2")
    assert await store.runs.advance(fence, at_step(fence, stats, 2), NOTHING, ttl=LONG) is False


async def test_a_wish_to_cancel_does_not_pass_to_the_run_that_takes_over(store: Store) -> None:
    await acquire(store)
    await store.runs.request_cancel("run-1")
    fence, stats = await acquire(store, "run-2", force=True)
    assert await store.runs.advance(fence, at_step(fence, stats, 2), NOTHING, ttl=LONG) is False
    assert await store.runs.request_cancel("run-1") is False


async def test_the_end_of_a_run_is_stored_and_frees_the_slot(store: Store) -> None:
    fence, stats = await acquire(store)
    ended = await finish(store, fence, writing(fence, stats, 2, inserted=100))
    assert ended.status is SyncStatus.SUCCESS
    assert await store.runs.get("run-1") == await store.runs.latest(Job.MULTI) == ended
    await acquire(store, "run-2")


def record(run_id: str | None = None, **fields: Any) -> OperationLog:
    values = {
        "action_type": "data_import",
        "action": "运行股票基础信息同步",
        "success": True,
        "timestamp": NOON,
        "details": {"force": False, "来源": ["tushare"]},
        "run_id": run_id,
        **fields,
    }
    return OperationLog(**values)


@pytest.mark.parametrize("reason", [None, Reason.CANCELLED])
async def test_the_end_of_a_run_completes_its_operation_log_record(
    store: Store, reason: Reason | None
) -> None:
    fence, stats = await acquire(store)
    await store.logs.create(record("run-1"))
    await store.logs.create(record("run-0"))
    await store.logs.create(record())
    await finish(store, fence, writing(fence, stats, 2, inserted=100), reason=reason)
    bare, other, log = await store.logs.search(limit=9)
    outcome = "failed" if reason else "success"
    assert log.details == {"force": False, "来源": ["tushare"], "outcome": outcome}
    assert (log.success, log.duration_ms) == (True, 60_000)
    assert log.error_message == ("同步失败" if reason else None)
    assert (bare, other) == (record(), record("run-0"))


async def test_a_rescue_completes_the_operation_log_record_too(store: Store) -> None:
    fence, stats = await acquire(store)
    await store.logs.create(record("run-1"))
    await let_it_run_out(store, fence, stats)
    await store.runs.rescue(NOON + timedelta(seconds=21))
    (log,) = await store.logs.search(limit=9)
    assert (log.details["outcome"], log.duration_ms, log.success) == ("failed", 21_000, True)
    assert log.error_message


async def test_force_completes_the_operation_log_record_of_the_old_run(store: Store) -> None:
    await acquire(store)
    await store.logs.create(record("run-1"))
    await acquire(store, "run-2", force=True, at=NOON + timedelta(seconds=4))
    (log,) = await store.logs.search(limit=9)
    assert (log.details["outcome"], log.duration_ms) == ("failed", 4_000)


def event(n: int) -> RunEvent:
    return RunEvent(
        at=NOON + timedelta(milliseconds=n),
        event="note",
        message=f"第{n}句",
        level="warning" if n % 2 else "info",
        data={"n": n, "codes": ["600519"], "nested": {"x": None}},
    )


async def test_events_and_rejects_keep_their_order_over_all_steps(store: Store) -> None:
    fence, stats = await acquire(store)
    events = [event(n) for n in range(40)]
    rejects = [a_reject(f"row-{n}", reason=f"原因{n}") for n in range(40)]
    for n in range(3):
        part = slice(n * 13, n * 13 + 13)
        journal = Journal(
            events=tuple(events[part]), rejects=tuple(rejects[part]), first_event=n * 13, first_reject=n * 13
        )
        await store.runs.advance(fence, at_step(fence, stats, 2 * n + 2), journal, ttl=LONG)
        await store.runs.advance(fence, at_step(fence, stats, 2 * n + 3), NOTHING, ttl=LONG)
    last = Journal(events=(events[39],), rejects=(rejects[39],), first_event=39, first_reject=39)
    await finish(store, fence, stats, journal=last)
    assert await log_of(store, "run-1") == events
    assert await store.runs.rejects("run-1") == rejects
    assert await log_of(store, "run-2") == []
    assert await store.runs.rejects("run-2") == []


async def test_a_line_that_is_stored_twice_is_one_line(store: Store) -> None:
    """The first time its answer was lost, so it comes again, with others."""
    fence, stats = await acquire(store)
    lines = tuple(event(n) for n in range(5))
    rejects = (a_reject("row-0"), a_reject("row-1"))
    for step, known in ((2, 1), (3, 2)):
        journal = Journal(events=lines[: known * 2], rejects=rejects[:known])
        await store.runs.advance(fence, at_step(fence, stats, step), journal, ttl=LONG)
    last = Journal(events=lines[3:], rejects=rejects[1:], first_event=3, first_reject=1)
    await finish(store, fence, stats, journal=last)
    assert await log_of(store, "run-1") == list(lines)
    assert await store.runs.rejects("run-1") == list(rejects)


async def test_a_step_that_is_stored_twice_is_one_step(store: Store, witness: Witness) -> None:
    fence, stats = await acquire(store)
    step = writing(fence, stats, 2, inserted=3)
    journal = Journal(events=(event(0), event(1)), rejects=(a_reject("row-0"),))
    await store.runs.advance(fence, step, journal, ttl=LONG)
    rows = lines(witness)
    await store.runs.advance(fence, step, journal, ttl=LONG)
    assert lines(witness) == rows
    assert await store.runs.get("run-1") == await store.runs.latest(Job.MULTI) == step
    assert await log_of(store, "run-1") == list(journal.events)
    assert await store.runs.rejects("run-1") == list(journal.rejects)


def lines(witness: Witness) -> Any:
    """All that is stored of the runs' logs, internal fields too."""
    stored = witness.everything()
    return [stored[table] for table in ("sync_run_events", "sync_run_rejects")]


async def test_a_store_that_can_be_written_safely_stays_as_it_is(
    store: Store, open_again: Open, witness: Witness
) -> None:
    """Also where many make sure of it together, for the first time."""
    fence, _ = await acquire(store)
    others = [await open_again() for _ in range(3)]
    before, writes = witness.everything(), witness.writes()
    await asyncio.gather(*(each.stocks.ensure_writable() for each in (store, *others)))
    assert (witness.everything(), witness.writes()) == (before, writes)
    assert (await store.stocks.upsert(stock_rows(2), fence)).inserted == 2
    await store.stocks.ensure_writable()


async def test_the_marks_of_a_run_tell_what_it_created_and_changed(store: Store) -> None:
    fence, stats = await acquire(store)
    await store.stocks.upsert(stock_rows(5), fence)
    assert await store.stocks.marks("run-1") == {"tushare": (5, 0)}
    await finish(store, fence, stats)
    later, _ = await acquire(store, "run-2")
    await store.stocks.ensure_writable()
    fresh = [*stock_rows(2, pe=77.0), *stock_rows(5)[2:], measured("601000", pe=1.0)]
    await store.stocks.upsert([*fresh, measured("600000", "akshare", pe=1.0)], later)
    assert await store.stocks.marks("run-2") == {"tushare": (1, 2), "akshare": (1, 0)}
    assert await store.stocks.marks("run-1") == {"tushare": (3, 0)}
    assert await store.stocks.marks("run-0") == {}


HOSTILE = "服务器说：\ud800 \x00 \x1b[31m \u2028 '; DROP TABLE"


async def test_whatever_an_upstream_says_can_be_stored(store: Store) -> None:
    """JSON can carry lone surrogates: an upstream's error text must not end the run that quotes it."""
    fence, stats = await acquire(store)
    attempt = Attempt(
        dataset=Dataset.ROE, source="tushare", outcome=Outcome.ERROR, duration_ms=1, error=HOSTILE
    )
    journal = Journal(
        events=(RunEvent(at=NOON, event="source_failed", message=HOSTILE, data={"error": HOSTILE}),),
        rejects=(a_reject("600519", reason=HOSTILE),),
    )
    step = at_step(fence, stats, 2, attempts=(attempt,), message=HOSTILE)
    await store.runs.advance(fence, step, journal, ttl=LONG)
    stored = await store.runs.get("run-1")
    assert stored is not None
    assert stored.revision == step.revision
    assert "服务器说" in (stored.attempts[0].error or "")
    assert len(await log_of(store, "run-1")) == len(await store.runs.rejects("run-1")) == 1
    await finish(store, fence, step, reason=Reason.ERROR)


async def ran(
    store: Store, run_id: str, *, minutes: int, reason: Reason | None = None, **listed: int
) -> SyncStats:
    """A run of the past that began so many minutes after noon."""
    fence, stats = await acquire(store, run_id, at=NOON + timedelta(minutes=minutes))
    counts = {source: SourceCount(total=count, success=count) for source, count in listed.items()}
    total = sum(listed.values())
    stats = replace(stats, total=total, inserted=total, source_stats=counts)
    return await finish(store, fence, stats, reason=reason)


async def test_the_history_has_one_record_a_run_newest_first(store: Store) -> None:
    assert await store.runs.history(limit=10) == []
    runs = [await ran(store, f"run-{n}", minutes=n) for n in range(6)]
    newest_first = runs[::-1]
    assert await store.runs.history(limit=10) == newest_first
    assert await store.runs.history(limit=2) == newest_first[:2]
    assert await store.runs.history(limit=2, offset=3) == newest_first[3:5]
    assert await store.runs.history(limit=2, offset=6) == []


async def test_of_runs_that_began_in_one_moment_the_later_revision_is_newer(store: Store) -> None:
    runs = [await ran(store, name, minutes=0) for name in ("b", "a", "c")]
    assert await store.runs.history(limit=10) == runs[::-1]


async def test_listed_rows_are_counted_by_source_and_exchange(store: Store) -> None:
    fence, _ = await acquire(store)
    codes = {"tushare": ("600519", "600520", "000001", "920047"), "akshare": ("600519",)}
    for source, listed in codes.items():
        await store.stocks.upsert([replace(measured(code), source=source) for code in listed], fence)
    assert await store.stocks.listed_counts("tushare") == {
        Exchange.SSE: 2,
        Exchange.SZSE: 1,
        Exchange.BSE: 1,
    }
    assert await store.stocks.listed_counts("baostock") == {}
    await store.stocks.retire("tushare", gone=["600520"], renumbered=[], fence=fence)
    assert (await store.stocks.listed_counts("tushare"))[Exchange.SSE] == 1


async def test_pruning_removes_old_runs_with_all_they_said(store: Store, witness: Witness) -> None:
    for n in range(3):
        fence, stats = await acquire(store, f"run-{n}", at=NOON + timedelta(days=n))
        journal = Journal(events=(event(n),), rejects=(a_reject(),))
        last = await finish(store, fence, stats, journal=journal)
    await acquire(store, "run-3", at=NOON)
    assert await store.runs.prune(NOON + timedelta(days=1, hours=1)) == 2
    assert await store.runs.prune(NOON + timedelta(days=1, hours=1)) == 0
    assert [run.run_id for run in await store.runs.history(limit=9)] == ["run-3", "run-2"]
    assert await log_of(store, "run-0") == await store.runs.rejects("run-1") == []
    assert len(await log_of(store, "run-2")) == len(await store.runs.rejects("run-2")) == 1
    assert "run-0" not in repr(witness.everything())
    assert await store.runs.prune(NOON + timedelta(days=99)) == 1
    assert [run.run_id for run in await store.runs.history(limit=9)] == ["run-3"]
    assert last.run_id == "run-2"


async def test_pruning_leaves_how_a_job_stands(store: Store) -> None:
    ended = await ran(store, "run-1", minutes=0, tushare=3)
    assert await store.runs.prune(NOON + timedelta(days=99)) == 1
    assert await store.runs.latest(Job.MULTI) == ended


async def test_a_watcher_sees_how_it_stands_and_then_what_another_process_changes(
    store: Store, open_again: Open
) -> None:
    fence, stats = await acquire(store, "run-1", job=Job.SINGLE)
    single = await finish(store, fence, stats)
    fence, stats = await acquire(store, "run-2")
    other = await open_again()
    latencies = []
    async with asyncio.timeout(GENEROUS * 4), aclosing(other.runs.watch()) as changes:  # type: ignore[type-var]
        now = [await anext(changes), await anext(changes)]
        assert sorted(now, key=lambda seen: seen.revision) == [single, stats]
        for n in range(2, 9):
            step = writing(fence, stats, n, inserted=n)
            await store.runs.advance(fence, step, NOTHING, ttl=LONG)
            committed = time.monotonic()
            assert await anext(changes) == step
            latencies.append(time.monotonic() - committed)
        ended = await finish(store, fence, writing(fence, stats, 9, inserted=100))
        assert await anext(changes) == ended
    assert median(latencies) < 1.0


async def test_a_watcher_sees_what_its_own_process_changes_and_nothing_twice(store: Store) -> None:
    async with asyncio.timeout(GENEROUS), aclosing(store.runs.watch()) as changes:  # type: ignore[type-var]
        waiting = asyncio.ensure_future(anext(changes))
        fence, stats = await acquire(store)
        assert await waiting == stats
        await store.stocks.upsert(stock_rows(3), fence)
        await store.logs.create(record())
        step = at_step(fence, stats, 2)
        await store.runs.advance(fence, step, NOTHING, ttl=LONG)
        assert await anext(changes) == step


async def test_a_watcher_of_a_closed_store_is_told(store: Store, open_again: Open) -> None:
    other = await open_again()
    await acquire(store)
    async with asyncio.timeout(GENEROUS), aclosing(other.runs.watch()) as changes:  # type: ignore[type-var]
        await anext(changes)
        await other.aclose()
        with pytest.raises(StoreUnavailable):
            await anext(changes)


# --- operation log and calendar


async def test_a_record_is_given_back_as_it_was(store: Store) -> None:
    full = record(
        "run-1",
        success=False,
        error_message="当前没有正在运行的同步任务",
        duration_ms=12,
        user_id="7",
        username="王芳",
        ip_address="::1",
        user_agent="curl/8",
        session_id="s-1",
        timestamp=NOON + timedelta(milliseconds=123),  # BSON knows no finer time
    )
    await store.logs.create(full)
    assert await store.logs.search(limit=9) == [full]
    assert await store.logs.search(limit=0) == []


async def test_records_come_newest_first_each_with_its_own_id(store: Store) -> None:
    logs = [record(details={"n": n}, timestamp=NOON + timedelta(seconds=n // 2)) for n in range(6)]
    ids = [await store.logs.create(log) for log in logs]
    assert len(set(ids)) == len(logs)
    assert await store.logs.search(limit=9) == logs[::-1]
    assert await store.logs.search(limit=2) == [logs[5], logs[4]]


MONDAY = date(2026, 4, 13)


def april(*days: int) -> list[date]:
    return [date(2026, 4, day) for day in days]


async def test_keeping_a_calendar_replaces_its_range_and_nothing_else(store: Store) -> None:
    calendar = store.calendar
    assert await calendar.open_days(MONDAY, date(2026, 4, 30)) == []
    await calendar.keep(MONDAY, date(2026, 4, 24), april(13, 14, 15, 20, 24))
    assert await calendar.open_days(MONDAY, date(2026, 4, 30)) == april(13, 14, 15, 20, 24)
    assert await calendar.open_days(date(2026, 4, 14), date(2026, 4, 20)) == april(14, 15, 20)
    await calendar.keep(date(2026, 4, 15), date(2026, 4, 21), april(16, 21))
    assert await calendar.open_days(MONDAY, date(2026, 4, 30)) == april(13, 14, 16, 21, 24)
    await calendar.keep(date(2026, 4, 16), date(2026, 4, 16), [])
    assert await calendar.open_days(MONDAY, date(2026, 4, 30)) == april(13, 14, 21, 24)


async def test_a_kept_calendar_outlives_the_process(store: Store, open_again: Open) -> None:
    await store.calendar.keep(MONDAY, date(2026, 4, 14), [date(2026, 4, 14), MONDAY])
    assert await (await open_again()).calendar.open_days(MONDAY, date(2026, 4, 14)) == april(13, 14)


async def test_keeping_the_same_calendar_again_writes_nothing(store: Store, witness: Witness) -> None:
    await store.calendar.keep(MONDAY, date(2026, 4, 17), april(13, 14))
    writes = witness.writes()
    await store.calendar.keep(MONDAY, date(2026, 4, 17), april(13, 14))
    assert witness.writes() == writes


# --- opening


async def test_a_store_that_is_open_answers_and_a_closed_one_says_so(store: Store) -> None:
    await store.ping()
    await store.aclose()
    await store.aclose()
    for call in (store.ping, lambda: store.runs.rescue(NOON), lambda: store.logs.create(record())):
        with pytest.raises(StoreUnavailable):
            await call()


async def test_what_is_stored_outlives_the_process(store: Store, open_again: Open) -> None:
    fence, stats = await acquire(store)
    rows = stock_rows(3)
    await store.stocks.upsert(rows, fence)
    ended = await finish(store, fence, stats)
    await store.aclose()
    again = await open_again()
    assert [await again.stocks.get(row.code, "tushare") for row in rows] == rows
    assert await again.runs.history(limit=9) == [ended]


async def test_many_tasks_open_a_new_database_together(store_url: str) -> None:
    stores = await asyncio.gather(*(open_store(store_url) for _ in range(8)), return_exceptions=True)
    opened = [store for store in stores if not isinstance(store, BaseException)]
    try:
        assert [store for store in stores if isinstance(store, BaseException)] == []
        await acquire(opened[0])
        latest = [await store.runs.latest(Job.MULTI) for store in opened]
        assert [stats.run_id for stats in latest if stats] == ["run-1"] * 8
    finally:
        await asyncio.gather(*(store.aclose() for store in opened))


OPEN_AND_PING = """
import asyncio, sys
from stocksync.stores import open_store

async def main():
    sys.stdin.readline()
    store = await open_store(sys.argv[1])
    await store.ping()
    await store.aclose()

asyncio.run(main())
"""


def test_many_processes_open_a_new_database_together(store_url: str) -> None:
    command = [sys.executable, "-c", OPEN_AND_PING, store_url]
    children = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(8)
    ]
    for child in children:
        assert child.stdin
        child.stdin.write("go\n")
        child.stdin.flush()
    ends = [(child.communicate(timeout=60)[1], child.returncode) for child in children]
    assert ends == [("", 0)] * 8


@pytest.mark.parametrize(
    "url", ["", "stocks.db", "oracle://host/db", "sqlite:/stocks.db", "sqlite://", "sqlite:///"]
)
async def test_a_url_of_no_store_is_refused(url: str) -> None:
    with pytest.raises(StoreUrlInvalid):
        await open_store(url)


async def test_a_step_beyond_the_range_of_a_token_is_refused() -> None:
    fence = Fence(token=3, owner="me", run_id="run-1")
    assert (fence.revision(0), fence.first_revision) == (3_000_000, 3_000_001)
    for step in (-1, STEPS_PER_TOKEN):
        with pytest.raises(ValueError, match="step"):
            fence.revision(step)
    assert a_run().running


async def test_the_health_of_sources_is_kept_and_shared(store: Store) -> None:
    never = await store.health.get("akshare", Dataset.DAILY_DATA)
    assert never == SourceHealth(source="akshare", dataset=Dataset.DAILY_DATA)
    assert await store.health.all() == []
    banned = replace(never, failures=2, open_until=NOON, last_error=HOSTILE, last_error_at=NOON)
    await store.health.put(banned)
    kept = await store.health.get("akshare", Dataset.DAILY_DATA)
    assert (kept.failures, kept.open_until, kept.last_error_at) == (2, NOON, NOON)
    assert "服务器说" in (kept.last_error or "")
    good = replace(never, last_success_at=NOON, latency_ms=1240, rows=5450)
    await store.health.put(good)
    assert await store.health.all() == [good]
    assert await store.health.get("akshare", Dataset.ROE) == replace(never, dataset=Dataset.ROE)


async def test_the_record_of_a_run_takes_whatever_its_end_says(store: Store) -> None:
    fence, stats = await acquire(store)
    await store.logs.create(
        OperationLog(
            action_type="data_import", action=HOSTILE, success=True, timestamp=NOON, error_message=HOSTILE,
            username=HOSTILE, user_agent=HOSTILE, details={"sources": HOSTILE}, run_id="run-1",
        )
    )  # fmt: skip
    ended = replace(
        stats,
        status=SyncStatus.FAILED,
        reason=Reason.ERROR,
        finished_at=NOON,
        message=HOSTILE,
        revision=fence.revision(9),
    )
    await store.runs.finish(fence, ended, NOTHING)
    [log] = await store.logs.search(limit=1)
    assert "服务器说" in (log.error_message or "")
    assert log.details["outcome"] == "failed"
