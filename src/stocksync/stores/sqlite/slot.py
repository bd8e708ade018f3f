"""The one slot that all runs share, as a row of the table `lease`.

Every statement here is part of a write transaction, and SQLite lets only one of those go on at a time:
whoever holds the newest token is the owner, and nobody can overtake between the check and the write.
"""

import sqlite3
from dataclasses import dataclass
from datetime import timedelta

from stocksync.errors import LeaseLost
from stocksync.ports import Fence
from stocksync.stores.sqlite.database import NOW

_LOST = "运行权已被其他进程接管"


@dataclass(frozen=True, slots=True)
class Slot:
    """How the slot stands: `run_id` names the run that holds it, None when it is free."""

    token: int
    run_id: str | None
    expired: bool

    @property
    def overdue(self) -> bool:
        """Whether its owner should have renewed it by now."""
        return self.run_id is not None and self.expired


def read_slot(db: sqlite3.Connection) -> Slot:
    """Look at the slot."""
    token, run_id, expired = db.execute(f"SELECT token, run_id, expires <= {NOW} FROM lease").fetchone()
    return Slot(token=token, run_id=run_id, expired=bool(expired))


def take_slot(db: sqlite3.Connection, *, owner: str, run_id: str | None, ttl: timedelta) -> Fence:
    """Take the slot under a new token, whoever held it; the caller has decided that this is right."""
    token = db.execute(
        "UPDATE lease SET token = token + 1, owner = ?, run_id = ?, cancel_requested = 0, "
        f"expires = {NOW} + ? RETURNING token",
        (owner, run_id, ttl.total_seconds()),
    ).fetchone()[0]
    return Fence(token=token, owner=owner, run_id=run_id or "")


def renew(db: sqlite3.Connection, fence: Fence, ttl: timedelta) -> bool:
    """Prolong the lease; tell whether somebody asked to cancel. Raises LeaseLost where somebody took over."""
    row = db.execute(
        f"UPDATE lease SET expires = {NOW} + ? WHERE owner = ? AND token = ? RETURNING cancel_requested",
        (ttl.total_seconds(), fence.owner, fence.token),
    ).fetchone()
    if row is None:
        raise LeaseLost(_LOST)
    return bool(row[0])


def check_fence(db: sqlite3.Connection, fence: Fence) -> None:
    """Refuse a writer whose token is not the newest. Raises LeaseLost."""
    if (
        db.execute("SELECT 1 FROM lease WHERE token = ? AND owner = ?", (fence.token, fence.owner)).fetchone()
        is None
    ):
        raise LeaseLost(_LOST)


def prove_writable(db: sqlite3.Connection) -> None:
    """Write and take it back: on a full disk a transaction begins, but no page of it can be committed."""
    for _ in range(2):
        db.execute("UPDATE lease SET cancel_requested = 1 - cancel_requested")


def free_slot(db: sqlite3.Connection) -> None:
    """Let the next run have it. The row and its token stay: tokens never go back."""
    db.execute("UPDATE lease SET run_id = NULL, owner = NULL, expires = 0, cancel_requested = 0")
