"""The stocks, and the right to write them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from stocksync.domain.changes import Change
from stocksync.domain.codes import Exchange
from stocksync.domain.merge import StockRef
from stocksync.domain.status import STEPS_PER_TOKEN, Reject
from stocksync.domain.stock import StockBasic


@dataclass(frozen=True, slots=True, kw_only=True)
class Fence:
    """The right to write, as it was when the slot was acquired. A later token fences this one off."""

    token: int
    owner: str
    run_id: str

    @property
    def first_revision(self) -> int:
        """The revision of the run's start; step 0 closes the run that this one displaced."""
        return self.revision(1)

    def revision(self, step: int) -> int:
        """Place a step of this run in the store's one sequence of revisions."""
        if not 0 <= step < STEPS_PER_TOKEN:
            raise ValueError(f"step {step} is outside one token's range")
        return self.token * STEPS_PER_TOKEN + step


@dataclass(frozen=True, slots=True, kw_only=True)
class UpsertCount:
    """What became of a batch, row by row: inserted + changed + unchanged + len(rejects) = rows given.

    `changes` are what the rows that were written say about the market (domain.changes.compare).
    """

    inserted: int = 0
    changed: int = 0
    unchanged: int = 0
    rejects: tuple[Reject, ...] = ()
    changes: tuple[Change, ...] = ()


class StockStore(Protocol):
    """The table stock_basic_info. Raises StoreError; every write raises LeaseLost once fenced off."""

    async def ensure_writable(self) -> None:
        """Wait until rows can be written safely: the unique key (code, source) is in force.

        Raises StoreInvalid, naming the command that repairs it, where what is stored prevents that.
        """
        ...

    async def upsert(self, rows: Sequence[StockBasic], fence: Fence) -> UpsertCount:
        """Bring rows up to date by (code, source), writing only what differs. Idempotent, atomic per row.

        Unknown values never overwrite known ones (domain.stock.overlay). A row that the database refuses
        is rejected by name, and the rest lands. The counts are exact whatever had to be tried again.
        """
        ...

    async def marks(self, run_id: str) -> Mapping[str, tuple[int, int]]:
        """Count by source the rows that a run has (created, changed), as the rows themselves say."""
        ...

    async def retract(self, fence: Fence) -> None:
        """Take back what an owner stored after he had been displaced, where fencing could not prevent it."""
        ...

    async def absent(
        self, source: str, exchanges: frozenset[Exchange], listed: frozenset[str]
    ) -> Sequence[StockRef]:
        """List the source's rows on these exchanges whose code is not in `listed` and not yet retired."""
        ...

    async def retire(
        self, source: str, *, gone: Sequence[str], renumbered: Sequence[str], fence: Fence
    ) -> None:
        """Mark rows that are no longer listed, and delete those whose stock lives on under another code."""
        ...

    async def get(self, code: str, source: str) -> StockBasic | None:
        """Read one stored row."""
        ...

    async def listed_counts(self, source: str) -> Mapping[Exchange, int]:
        """Count the source's listed rows by exchange: what its last good lists named."""
        ...

    async def count(self, source: str | None = None) -> int:
        """Count the stored rows that are listed, of one source or of all."""
        ...
