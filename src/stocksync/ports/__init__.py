"""Every port of the house: what the core asks of a source, a store and a clock. Types only."""

from stocksync.ports.clock import Clock
from stocksync.ports.logs import (
    EVERY_LOG,
    LONGEST_KEYWORD,
    LogFilter,
    LogStats,
    OperationLog,
    OperationLogStore,
)
from stocksync.ports.runs import ALL_RUNS, FIRST, LAST, LEVELS, ROWS_AT_ONCE, Journal, RunFilter, RunStore
from stocksync.ports.sources import Source
from stocksync.ports.stocks import Fence, StockStore, UpsertCount
from stocksync.ports.store import CalendarStore, HealthStore, IdempotencyStore, KeyUse, Store

__all__ = [
    "ALL_RUNS",
    "EVERY_LOG",
    "FIRST",
    "LAST",
    "LEVELS",
    "LONGEST_KEYWORD",
    "ROWS_AT_ONCE",
    "CalendarStore",
    "Clock",
    "Fence",
    "HealthStore",
    "IdempotencyStore",
    "Journal",
    "KeyUse",
    "LogFilter",
    "LogStats",
    "OperationLog",
    "OperationLogStore",
    "RunFilter",
    "RunStore",
    "Source",
    "StockStore",
    "Store",
    "UpsertCount",
]
