import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import NOON, a_run, examples
from stocksync.domain.status import (
    Attempt,
    Job,
    Outcome,
    Phase,
    Progress,
    Reason,
    Reject,
    SourceCount,
    SyncStats,
    SyncStatus,
    Trigger,
    never_ran,
)
from stocksync.domain.stock import Dataset
from stocksync.domain.wire import from_wire, iso, moment, to_wire

SHANGHAI = timezone(timedelta(hours=8))

FIELDS = [
    "job", "data_type", "status", "started_at", "finished_at", "total", "inserted", "updated", "errors",
    "last_trade_date", "data_sources_used", "source_stats", "message",
    "total_tasks", "completed_tasks", "failed_tasks",
    "run_id", "revision", "reason", "stale_since", "unchanged", "trigger", "phase", "progress", "attempts",
    "rejects_sample",
]  # fmt: skip
TYPES = {
    **dict.fromkeys(FIELDS, (str, type(None))),
    **dict.fromkeys(["job", "data_type", "status"], (str,)),
    **dict.fromkeys(["total", "inserted", "updated", "errors", "unchanged", "revision"], (int,)),
    **dict.fromkeys(["total_tasks", "completed_tasks", "failed_tasks"], (int,)),
    **dict.fromkeys(["data_sources_used", "attempts", "rejects_sample"], (list,)),
    **dict.fromkeys(["source_stats", "progress"], (dict,)),
}
OUTCOMES = ["ok", "empty", "incomplete", "not_final", "denied", "rate_limited", "banned", "timeout"]
OUTCOMES += ["error", "skipped"]

counts = st.integers(0, 10**6)
texts = st.text(max_size=12)
moments = st.datetimes(
    datetime(2000, 1, 1),  # noqa: DTZ001 - the strategy adds the zones
    datetime(2100, 1, 1),  # noqa: DTZ001
    timezones=st.sampled_from([UTC, SHANGHAI, timezone(timedelta(hours=-5, minutes=30))]),
)
numbers = st.none() | st.floats(0, 1e9)
snapshots = st.builds(
    SyncStats,
    job=st.sampled_from(Job),
    status=st.sampled_from(SyncStatus),
    run_id=st.none() | texts,
    revision=st.integers(0, 2**53),
    reason=st.none() | st.sampled_from(Reason),
    trigger=st.none() | st.sampled_from(Trigger),
    phase=st.none() | st.sampled_from(Phase),
    started_at=st.none() | moments,
    finished_at=st.none() | moments,
    stale_since=st.none() | moments,
    total=counts,
    inserted=counts,
    updated=counts,
    unchanged=counts,
    errors=counts,
    last_trade_date=st.none() | st.just("20260415"),
    data_sources_used=st.lists(texts, max_size=3).map(tuple),
    source_stats=st.dictionaries(texts, st.builds(SourceCount, total=counts, success=counts), max_size=3),
    message=st.none() | texts,
    progress=st.builds(
        Progress, percent=numbers, rate_per_s=numbers, eta_seconds=numbers, elapsed_ms=st.none() | counts
    ),
    attempts=st.lists(
        st.builds(
            Attempt,
            dataset=st.sampled_from(Dataset),
            source=texts,
            outcome=st.sampled_from(Outcome),
            rows=counts,
            dropped=counts,
            duration_ms=counts,
            error=st.none() | texts,
        ),
        max_size=3,
    ).map(tuple),
    rejects_sample=st.lists(
        st.builds(Reject, code=texts, field=texts, value=texts, reason=texts), max_size=3
    ).map(tuple),
)


@given(snapshots)
@examples(80)
def test_a_snapshot_has_exactly_the_fields_of_the_contract_in_their_order(stats: SyncStats) -> None:
    wire = to_wire(stats)
    assert list(wire) == FIELDS
    for name, value in wire.items():
        assert type(value) in TYPES[name], name
    assert list(wire["progress"]) == ["percent", "rate_per_s", "eta_seconds", "elapsed_ms"]
    for attempt in wire["attempts"]:
        assert list(attempt) == ["dataset", "source", "outcome", "rows", "dropped", "duration_ms", "error"]
    for reject in wire["rejects_sample"]:
        assert list(reject) == ["code", "field", "value", "reason"]
    for source in wire["source_stats"].values():
        assert list(source) == ["total", "success"]


@given(snapshots)
@examples(80)
def test_the_computed_fields_are_computed(stats: SyncStats) -> None:
    wire = to_wire(stats)
    assert wire["data_type"] == "stock_basics"
    assert wire["total_tasks"] == stats.total
    assert wire["completed_tasks"] == stats.inserted + stats.updated
    assert wire["failed_tasks"] == stats.errors


@given(snapshots)
@examples(120)
def test_a_snapshot_survives_the_wire_and_json(stats: SyncStats) -> None:
    assert from_wire(to_wire(stats)) == stats
    text = json.dumps(to_wire(stats), allow_nan=False, ensure_ascii=False)
    assert from_wire(json.loads(text)) == stats
    assert to_wire(from_wire(json.loads(text))) == to_wire(stats)


def test_the_words_of_the_wire_are_frozen() -> None:
    assert [str(word) for word in SyncStatus] == [
        "idle", "never_run", "running", "success", "success_with_errors", "failed"
    ]  # fmt: skip
    assert {word.value for word in Reason} == {
        "error", "all_sources_failed", "incomplete_data", "cancelled", "superseded", "interrupted",
        "store_unavailable",
    }  # fmt: skip
    assert [word.value for word in Phase] == [
        "starting", "stock_list", "trade_date", "daily_data", "merge", "write", "reconcile", "done"
    ]  # fmt: skip
    assert [word.value for word in Trigger] == ["api", "cli", "schedule", "startup", "rescue"]
    assert [word.value for word in Outcome] == OUTCOMES
    assert [word.value for word in Job] == ["stock_basics_multi_source", "stock_basics"]
    assert [word.value for word in Dataset] == ["stock_list", "trade_date", "daily_data", "roe"]


def test_a_job_that_never_ran_has_every_field() -> None:
    wire = to_wire(never_ran(Job.MULTI))
    assert list(wire) == FIELDS
    assert (wire["job"], wire["status"]) == ("stock_basics_multi_source", "never_run")
    assert [wire[name] for name in ("started_at", "finished_at", "message", "reason", "run_id")] == [None] * 5
    assert wire["source_stats"] == {}
    assert wire["data_sources_used"] == wire["attempts"] == wire["rejects_sample"] == []


@given(moments)
@examples(100)
def test_a_time_is_written_in_the_markets_zone_with_microseconds(when: datetime) -> None:
    text = iso(when)
    assert text is not None
    assert text.endswith("+08:00")
    assert len(text) == len("2026-04-15T12:00:00.000000+08:00")
    assert moment(text) == when


def test_a_snapshot_carries_its_times_in_that_form() -> None:
    wire = to_wire(a_run(at=NOON + timedelta(microseconds=7)))
    assert wire["started_at"] == "2026-04-15T12:00:00.000007+08:00"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-04-15T12:00:00", NOON),
        ("2026-04-15T12:00:00.000000", NOON),
        ("2026-04-15 12:00:00", NOON),
        ("2026-04-15T12:00:00+08:00", NOON),
        ("2026-04-15T04:00:00Z", NOON),
        ("2026-04-14T23:00:00-05:00", NOON),
        (None, None),
    ],
)
def test_a_naive_time_is_the_markets(text: str | None, expected: datetime | None) -> None:
    assert moment(text) == expected


def test_naive_times_in_an_older_document_are_the_markets() -> None:
    document: dict[str, Any] = {**to_wire(a_run()), "started_at": "2026-04-15T12:00:00"}
    assert from_wire(document).started_at == NOON
    assert to_wire(from_wire(document))["started_at"] == "2026-04-15T12:00:00.000000+08:00"
