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
                "SELECT fingerprint, run_id, claimed_at FROM idempotency_keys WHERE key = ?", (key,)
            ).fetchone()
            if found is None:
                row = (key, use.fingerprint, use.run_id, use.claimed_at.timestamp())
                db.execute("INSERT INTO idempotency_keys VALUES (?, ?, ?, ?)", row)
                return None
            fingerprint, run_id, seconds = found
            claimed_at = datetime.fromtimestamp(seconds, UTC)
            return KeyUse(fingerprint=fingerprint, run_id=run_id, claimed_at=claimed_at)

        return await self._database.write(work)

    async def replace(self, key: str, before: KeyUse, after: KeyUse | None) -> bool:
        same = "WHERE key = ? AND run_id = ?"

        def work(db: sqlite3.Connection) -> bool:
            if after is None:
                done = db.execute(f"DELETE FROM idempotency_keys {same}", (key, before.run_id))
            else:
                done = db.execute(
                    f"UPDATE idempotency_keys SET fingerprint = ?, run_id = ?, claimed_at = ? {same}",
                    (after.fingerprint, after.run_id, after.claimed_at.timestamp(), key, before.run_id),
                )
            return done.rowcount == 1

        return await self._database.write(work)
