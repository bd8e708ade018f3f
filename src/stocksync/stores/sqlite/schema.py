"""The tables (mission, section 4), by version. A migration is never changed once it has been released."""

import sqlite3
from typing import Final

from stocksync.domain.stock import FIGURES
from stocksync.errors import StoreInvalid

# The mission's code_index is left out: code_source_unique begins with code and serves the same searches.
_FIGURE_COLUMNS: Final = ",\n    ".join(f"{name} REAL" for name in FIGURES)

_VERSION_1: Final = f"""
CREATE TABLE stock_basic_info (
    code TEXT NOT NULL,
    source TEXT NOT NULL,
    symbol TEXT GENERATED ALWAYS AS (code) VIRTUAL,
    full_symbol TEXT NOT NULL,
    name TEXT NOT NULL,
    area TEXT,
    industry TEXT,
    market TEXT NOT NULL,
    list_date TEXT,
    sse TEXT NOT NULL,
    category TEXT GENERATED ALWAYS AS ('stock_cn') VIRTUAL,
    sec TEXT GENERATED ALWAYS AS ('stock_cn') VIRTUAL,
    trade_date TEXT,
    updated_at TEXT NOT NULL,
    {_FIGURE_COLUMNS},
    field_sources TEXT NOT NULL,
    fence INTEGER NOT NULL,
    created_run TEXT NOT NULL,
    changed_run TEXT NOT NULL,
    gone_run TEXT
) STRICT;
CREATE UNIQUE INDEX code_source_unique ON stock_basic_info (code, source);
CREATE INDEX source_index ON stock_basic_info (source);
CREATE INDEX name_index ON stock_basic_info (name);
CREATE INDEX industry_index ON stock_basic_info (industry);
CREATE INDEX market_index ON stock_basic_info (market);
CREATE INDEX total_mv_desc ON stock_basic_info (total_mv DESC);
CREATE INDEX circ_mv_desc ON stock_basic_info (circ_mv DESC);
CREATE INDEX updated_at_desc ON stock_basic_info (updated_at DESC);
CREATE INDEX pe_index ON stock_basic_info (pe);
CREATE INDEX pb_index ON stock_basic_info (pb);
CREATE INDEX turnover_rate_desc ON stock_basic_info (turnover_rate DESC);

CREATE TABLE sync_status (
    job TEXT PRIMARY KEY,
    revision INTEGER NOT NULL,
    document TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE sync_runs (
    run_id TEXT PRIMARY KEY,
    job TEXT NOT NULL,
    status TEXT NOT NULL,
    revision INTEGER NOT NULL,
    started_at REAL NOT NULL,
    finished_at REAL,
    document TEXT NOT NULL
) STRICT;
CREATE INDEX sync_runs_by_start ON sync_runs (started_at DESC, revision DESC);

CREATE TABLE sync_run_events (
    run_id TEXT NOT NULL REFERENCES sync_runs (run_id) ON DELETE CASCADE,
    seq INTEGER NOT NULL,
    at REAL NOT NULL,
    level TEXT NOT NULL,
    event TEXT NOT NULL,
    message TEXT NOT NULL,
    data TEXT NOT NULL,
    PRIMARY KEY (run_id, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE sync_run_rejects (
    run_id TEXT NOT NULL REFERENCES sync_runs (run_id) ON DELETE CASCADE,
    seq INTEGER NOT NULL,
    code TEXT NOT NULL,
    field TEXT NOT NULL,
    value TEXT NOT NULL,
    reason TEXT NOT NULL,
    PRIMARY KEY (run_id, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE lease (
    name TEXT PRIMARY KEY,
    token INTEGER NOT NULL,
    owner TEXT,
    run_id TEXT,
    expires REAL NOT NULL,
    cancel_requested INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
INSERT INTO lease (name, token, expires) VALUES ('stock_basics', 0, 0);

CREATE TABLE operation_logs (
    id TEXT PRIMARY KEY,
    timestamp REAL NOT NULL,
    action_type TEXT NOT NULL,
    action TEXT NOT NULL,
    success INTEGER NOT NULL,
    details TEXT NOT NULL,
    error_message TEXT,
    duration_ms INTEGER,
    user_id TEXT,
    username TEXT,
    ip_address TEXT,
    user_agent TEXT,
    session_id TEXT,
    run_id TEXT,
    created_at REAL NOT NULL
) STRICT;
CREATE INDEX operation_logs_by_time ON operation_logs (timestamp DESC);
CREATE INDEX operation_logs_by_run ON operation_logs (run_id) WHERE run_id IS NOT NULL;

CREATE TABLE trade_calendar (
    day TEXT PRIMARY KEY,
    is_open INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
"""

_VERSION_2: Final = """
CREATE TABLE source_health (
    source TEXT NOT NULL,
    dataset TEXT NOT NULL,
    failures INTEGER NOT NULL,
    open_until REAL,
    last_error TEXT,
    last_error_at REAL,
    last_success_at REAL,
    PRIMARY KEY (source, dataset)
) STRICT, WITHOUT ROWID;
"""

_VERSION_3: Final = """
ALTER TABLE sync_runs ADD COLUMN trigger TEXT;
UPDATE sync_runs SET trigger = json_extract(document, '$.trigger');
CREATE INDEX sync_runs_by_revision ON sync_runs (revision DESC);

CREATE TABLE sync_run_changes (
    run_id TEXT NOT NULL REFERENCES sync_runs (run_id) ON DELETE CASCADE,
    seq INTEGER NOT NULL,
    kind TEXT NOT NULL,
    code TEXT NOT NULL,
    source TEXT NOT NULL,
    name TEXT NOT NULL,
    before TEXT,
    after TEXT,
    PRIMARY KEY (run_id, seq)
) STRICT, WITHOUT ROWID;

CREATE INDEX operation_logs_by_type ON operation_logs (action_type, timestamp DESC);
CREATE INDEX operation_logs_by_success ON operation_logs (success, timestamp DESC);

CREATE TABLE idempotency_keys (
    key TEXT PRIMARY KEY,
    fingerprint TEXT NOT NULL,
    run_id TEXT NOT NULL,
    claimed_at REAL NOT NULL,
    accepted INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (claimed_at);

ALTER TABLE source_health ADD COLUMN latency_ms INTEGER;
ALTER TABLE source_health ADD COLUMN rows INTEGER;
"""

MIGRATIONS: Final = (_VERSION_1, _VERSION_2, _VERSION_3)


APPLICATION_ID: Final = 0x53544B53
"""Marks a file as ours ("STKS", see sqlite.org/fileformat.html): no other program's database is touched."""


def require_ours(connection: sqlite3.Connection) -> None:
    """Refuse a file that another program or a newer version made, before anything is changed in it.

    Raises StoreInvalid.
    """
    if not connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
        return  # empty: it becomes ours
    if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise StoreInvalid("该文件是其他程序的 SQLite 数据库，stocksync 不会写入")
    version = _version(connection)
    if version > len(MIGRATIONS):
        raise StoreInvalid(f"数据库版本 {version} 比本程序支持的 {len(MIGRATIONS)} 新，请升级 stocksync")


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the schema to the newest version, inside the caller's transaction. Raises StoreInvalid."""
    require_ours(connection)
    for script in MIGRATIONS[_version(connection) :]:
        for statement in script.split(";\n"):  # executescript would commit the transaction
            if statement.strip():
                connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")


def _version(connection: sqlite3.Connection) -> int:
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version
