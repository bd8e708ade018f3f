"""The table idempotency_keys."""

import sqlite3
from datetime import UTC, datetime

from stocksync.ports import KeyUse
from stocksync.stores.sqlite.database import Database


class SqliteIdempotencyStore:
    """Implements ports.IdempotencyStore."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def claim(self, key: str, use: KeyUse, *, expired: datetime) -> KeyUse | None:
        def work(db: sqlite3.Connection) -> KeyUse | None:
            db.execute("DELETE FROM idempotency_keys WHERE claimed_at < ?", (expired.timestamp(),))
            found = db.execute(
                "SELECT fingerprint, run_id, claimed_at, accepted FROM idempotency_keys WHERE key = ?", (key,)
            ).fetchone()
            if found is None:
                db.execute("INSERT INTO idempotency_keys VALUES (?, ?, ?, ?, ?)", (key, *_row(use)))
                return None
            fingerprint, run_id, seconds, accepted = found
            claimed_at = datetime.fromtimestamp(seconds, UTC)
            return KeyUse(
                fingerprint=fingerprint, run_id=run_id, claimed_at=claimed_at, accepted=bool(accepted)
            )

        return await self._database.write(work)

    async def replace(self, key: str, before: KeyUse, after: KeyUse | None) -> bool:
        same = "WHERE key = ? AND run_id = ?"

        def work(db: sqlite3.Connection) -> bool:
            if after is None:
                done = db.execute(f"DELETE FROM idempotency_keys {same}", (key, before.run_id))
            else:
                done = db.execute(
                    "UPDATE idempotency_keys SET fingerprint = ?, run_id = ?, claimed_at = ?, accepted = ? "
                    f"{same}",
                    (*_row(after), key, before.run_id),
                )
            return done.rowcount == 1

        return await self._database.write(work)


def _row(use: KeyUse) -> tuple[str, str, float, int]:
    return use.fingerprint, use.run_id, use.claimed_at.timestamp(), int(use.accepted)
