"""What the operation log says of runs, whoever closes them: one body for every store."""

from pathlib import Path

import pytest

from contract.stores import KINDS, acquire
from mongod import MongoServers
from stocksync.audit import Actor
from stocksync.domain.status import Trigger
from stocksync.simulator import Simulator
from stocksync.sync.requests import RunRecords, RunRequest
from support import running_app


@pytest.mark.parametrize("kind", sorted(KINDS))
async def test_the_record_of_a_run_that_was_displaced_before_it_is_completed_too(
    kind: str, simulator: Simulator, tmp_path: Path, mongo: MongoServers
) -> None:
    async with running_app(simulator, tmp_path, store=KINDS[kind].new_url(tmp_path, mongo)) as app:
        fence, displaced = await acquire(app.store, "displaced")
        await acquire(app.store, "next", force=True)
        request = RunRequest(trigger=Trigger.API, actor=Actor(username="somebody"))
        await RunRecords(app.audit, app.store.runs).accepted(request, fence.run_id)
        (record,) = await app.store.logs.search(limit=9)
        assert (record.run_id, record.details["outcome"]) == (displaced.run_id, "failed")
        assert record.duration_ms is not None
        assert record.error_message
