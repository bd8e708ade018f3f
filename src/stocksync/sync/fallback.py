"""Asking the sources in order until one gives a complete answer, and remembering how each of them did."""

import asyncio
import logging
import math
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Final, TypeVar

from stocksync.domain.calendar import missing_days, tolerated_gaps
from stocksync.domain.codes import Exchange, locate
from stocksync.domain.merge import DailyAnswer, ListAnswer, RoeAnswer
from stocksync.domain.status import Attempt, Outcome
from stocksync.domain.stock import Dataset
from stocksync.errors import SourceError, SourceIncomplete, SourceNonsense, SourceSkipped, SourceTimeout
from stocksync.ports import Clock, Source
from stocksync.sync.breaker import Breaker

UNFORESEEN: Final = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
"""What an answer of a shape that nobody foresaw raises: that source's failure, not the run's."""

_log = logging.getLogger(__name__)

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

        def report(outcome: str, error: str | None) -> Attempt:
            attempt = Attempt(
                dataset=dataset,
                source=source.name,
                outcome=Outcome(outcome),
                rows=_rows(answer),
                dropped=getattr(answer, "dropped", 0),
                duration_ms=round((self.clock.monotonic() - started) * 1000),
                error=error,
            )
            self.report(attempt)
            return attempt

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
        attempt = report(Outcome.OK if flaw is None else Outcome.INCOMPLETE, flaw)
        await self.breaker.succeeded(source.name, dataset, latency_ms=attempt.duration_ms, rows=attempt.rows)
        return usable

    async def _in_time(self, source: Source, ask: Ask[Answer]) -> Answer:
        try:
            async with asyncio.timeout(self.timeout):
                return await ask(source)
        except TimeoutError as exc:
            raise SourceTimeout(f"{source.name} 在 {self.timeout:g} 秒内没有给出完整数据") from exc
        except UNFORESEEN as exc:
            _log.exception("%s could not read what its upstream sent", source.name)
            raise SourceNonsense(f"{source.name} 的应答无法理解（{type(exc).__name__}）") from exc


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


SLACK: Final = 3
"""Stocks that the smallest exchange may lose between two syncs without a doubt about its list."""

SHARES: Final = {Exchange.SSE: 0.42, Exchange.SZSE: 0.53, Exchange.BSE: 0.05}
"""What part of the market each exchange lists, roughly: 2,290, 2,880 and 280 of 5,450 in November 2025."""


def judge_list(
    source: Source,
    answer: ListAnswer,
    *,
    minimum: int,
    known: Mapping[Exchange, int],
    max_shrink: float,
) -> tuple[ListAnswer, str | None]:
    """Refuse a list that is not the whole of what the source declares. Raises SourceIncomplete.

    Where the source says that it failed for an exchange, the others are judged by themselves: `minimum` in
    proportion, and against `known`, what its last good lists named. A list that has nothing or hardly
    anything of one exchange and is good otherwise can be used for the others: somebody else may have it.
    """
    count = len(answer.listings)
    share = sum(SHARES[exchange] for exchange in answer.exchanges)
    least = round(minimum * share / sum(SHARES[exchange] for exchange in source.exchanges))
    if count < least:
        raise SourceIncomplete(_with_causes(f"股票列表只有 {count} 只，少于下限 {least}", answer))
    least = round(sum(known.get(exchange, 0) for exchange in answer.exchanges) * (1 - max_shrink))
    if count < least:
        text = f"股票列表只有 {count} 只，比上次成功时缩水过多（下限 {least}）"
        raise SourceIncomplete(_with_causes(text, answer))
    counts = Counter(listing.exchange for listing in answer.listings)
    floors = {each: _floor(minimum * SHARES[each], known.get(each, 0), max_shrink) for each in Exchange}
    whole = frozenset(each for each in answer.exchanges if counts[each] >= floors[each])
    lacking = source.exchanges - whole
    if not lacking:
        return answer, None
    flaw = _with_causes(f"股票列表缺少{exchange_names(lacking)}的股票", answer)
    return replace(answer, exchanges=whole), flaw


def _floor(usual: float, known: int, max_shrink: float) -> int:
    """How many stocks make an exchange's list one: half of its usual part, and hardly less than last time."""
    return max(1, round(usual / 2), math.floor(known * (1 - max_shrink)) - SLACK)


def _with_causes(text: str, answer: ListAnswer) -> str:
    causes = "；".join(dict.fromkeys(answer.failed.values()))
    return f"{text}（{causes}）" if causes else text


def exchange_names(exchanges: frozenset[Exchange]) -> str:
    """Name exchanges for people, in a fixed order."""
    return "、".join(exchange.full_name for exchange in Exchange if exchange in exchanges)


def judge_calendar(open_days: Sequence[date], start: date, end: date) -> None:
    """Refuse a calendar with holes: an old day would be taken for the newest. Raises SourceIncomplete."""
    missing = missing_days(open_days, start, end)
    if len(missing) > tolerated_gaps(start, end):
        raise SourceIncomplete(f"交易日历缺少 {len(missing)} 个交易日，最近的是 {missing[-1].isoformat()}")


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
