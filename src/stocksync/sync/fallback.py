"""Asking the sources in order until one gives a complete answer, and remembering how each of them did."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from stocksync.domain.codes import Exchange, locate
from stocksync.domain.merge import DailyAnswer, ListAnswer, RoeAnswer
from stocksync.domain.status import Attempt, Outcome
from stocksync.domain.stock import Dataset
from stocksync.errors import SourceError, SourceIncomplete, SourceSkipped, SourceTimeout
from stocksync.ports import Clock, Source
from stocksync.sync.breaker import Breaker

Answer = TypeVar("Answer")
Ask = Callable[[Source], Awaitable[Answer]]
Judge = Callable[[Source, Answer], Awaitable[tuple[Answer, str | None]]]
"""Raises SourceIncomplete, or gives what can be used of an answer and what is wrong with the rest of it."""


async def accept(_source: Source, answer: Answer) -> tuple[Answer, None]:
    """Find nothing to object to."""
    return answer, None


@dataclass(frozen=True, slots=True)
class Panel:
    """The sources of one run, in order of trust. `report` hears of every attempt as it ends."""

    sources: Sequence[Source]
    breaker: Breaker
    clock: Clock
    timeout: float
    report: Callable[[Attempt], None]

    async def first(self, dataset: Dataset, ask: Ask[Answer], judge: Judge[Answer]) -> Answer | None:
        """Give the first answer that `judge` lets pass; None where no source has one."""
        for source in self.sources:
            answer = await self.attempt(dataset, source, ask, judge)
            if answer is not None:
                return answer
        return None

    async def attempt(
        self, dataset: Dataset, source: Source, ask: Ask[Answer], judge: Judge[Answer]
    ) -> Answer | None:
        """Ask one source; None for a technical failure, which has been reported: the next one's turn."""
        try:
            return await self.question(dataset, source, ask, judge)
        except SourceError:
            return None

    async def question(
        self, dataset: Dataset, source: Source, ask: Ask[Answer], judge: Judge[Answer]
    ) -> Answer:
        """Ask one source within the deadline and judge its answer. Raises SourceError, once reported."""
        started = self.clock.monotonic()
        answer: Answer | None = None

        def report(outcome: str, error: str | None) -> None:
            self.report(
                Attempt(
                    dataset=dataset,
                    source=source.name,
                    outcome=Outcome(outcome),
                    rows=_rows(answer),
                    dropped=getattr(answer, "dropped", 0),
                    duration_ms=round((self.clock.monotonic() - started) * 1000),
                    error=error,
                )
            )

        try:
            if dataset not in source.provides:
                raise SourceSkipped(f"{source.name} 不提供该数据")
            await self.breaker.require_closed(source.name, dataset)
            answer = await self._in_time(source, ask)
            usable, flaw = await judge(source, answer)
        except SourceError as exc:
            report(exc.outcome, str(exc))
            await self.breaker.failed(source.name, dataset, exc)
            raise
        await self.breaker.succeeded(source.name, dataset)
        report(Outcome.OK if flaw is None else Outcome.INCOMPLETE, flaw)
        return usable

    async def _in_time(self, source: Source, ask: Ask[Answer]) -> Answer:
        try:
            async with asyncio.timeout(self.timeout):
                return await ask(source)
        except TimeoutError as exc:
            raise SourceTimeout(f"{source.name} 在 {self.timeout:g} 秒内没有给出完整数据") from exc


def _rows(answer: object) -> int:
    match answer:
        case ListAnswer():
            return len(answer.listings)
        case DailyAnswer():
            return len(answer.metrics)
        case RoeAnswer():
            return len(answer.values)
        case list() | tuple():
            return len(answer)
        case _:
            return 0


def judge_list(
    source: Source, answer: ListAnswer, *, minimum: int, at_least: int | None
) -> tuple[ListAnswer, str | None]:
    """Refuse a list that is not the whole market that the source declares. Raises SourceIncomplete.

    `minimum` is for any list; `at_least` follows from the source's last good one, where there is one. A list
    that lacks a whole exchange and is good otherwise can be used for the others: somebody else may have it.
    """
    count = len(answer.listings)
    if count < minimum:
        raise SourceIncomplete(f"股票列表只有 {count} 只，少于下限 {minimum}")
    if at_least is not None and count < at_least:
        raise SourceIncomplete(f"股票列表只有 {count} 只，比上次成功时缩水过多（下限 {at_least}）")
    present = answer.exchanges & {listing.exchange for listing in answer.listings}
    missing = source.exchanges - present
    if not missing:
        return answer, None
    return replace(answer, exchanges=present), f"股票列表缺少{exchange_names(missing)}的股票"


def exchange_names(exchanges: frozenset[Exchange]) -> str:
    """Name exchanges for people, in a fixed order."""
    return "、".join(exchange.full_name for exchange in Exchange if exchange in exchanges)


def judge_daily(source: Source, answer: DailyAnswer, *, listed: frozenset[str], coverage: float) -> None:
    """Refuse metrics that are not the whole of what the source declares. Raises SourceIncomplete.

    Each declared exchange is looked at by itself, because Beijing is no more than a twentieth of the market;
    a declared field that no row has is missing, however many rows there are.
    """
    for exchange in sorted(source.exchanges):
        wanted = {code for code in listed if locate(code).exchange is exchange}
        covered = len(wanted & answer.metrics.keys())
        if covered < coverage * len(wanted):
            share = f"{covered} / {len(wanted)}"
            raise SourceIncomplete(
                f"每日指标只覆盖{exchange.full_name}的 {share} 只股票，少于 {coverage:.0%}"
            )
    rows = answer.metrics.values()
    missing = [name for name in sorted(source.metrics) if all(getattr(row, name) is None for row in rows)]
    if missing:
        raise SourceIncomplete(f"每日指标缺少字段：{'、'.join(missing)}")
