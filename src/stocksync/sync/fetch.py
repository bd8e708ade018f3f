"""What a run asks its sources for, dataset by dataset: the winner first, then whoever can fill its gaps."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import Final

from stocksync.domain.calendar import (
    LOOK_BACK_DAYS,
    builtin_open_days,
    covers,
    days_with_final_figures,
    latest_report_period,
    market_day,
)
from stocksync.domain.codes import Exchange
from stocksync.domain.merge import DailyAnswer, ListAnswer, RoeAnswer, unite
from stocksync.domain.stock import METRICS, TEXTS, Dataset
from stocksync.domain.wire import MARKET_ZONE
from stocksync.errors import SourceEmpty, SourceError, SourceIncomplete
from stocksync.ports import Clock, Source, Store
from stocksync.settings import Settings
from stocksync.sync.breaker import Breaker
from stocksync.sync.fallback import Panel, accept, judge_calendar, judge_daily, judge_list
from stocksync.sync.tracker import RunTracker

MOST_DAYS_BACK: Final = 5
"""Open days tried before the newest one counts as unpublished for good."""

Lists = asyncio.Task[Sequence[ListAnswer]]


@dataclass(frozen=True, slots=True)
class Fetch:
    """One run's questions. `sources` are in the order in which this run asks them."""

    sources: Sequence[Source]
    store: Store
    clock: Clock
    settings: Settings
    track: RunTracker
    stored: dict[str, Mapping[Exchange, int]] = field(default_factory=dict)
    """What was stored as listed of each source whose list was asked for, by exchange, before this run."""

    async def stock_lists(self) -> Sequence[ListAnswer]:
        """The first good list, then what completes it: exchanges and texts that it does not have.

        Empty where no source has one.
        """

        async def judge(source: Source, answer: ListAnswer) -> tuple[ListAnswer, str | None]:
            self.stored[source.name] = await self.store.stocks.listed_counts(source.name)
            return judge_list(
                source,
                answer,
                minimum=self.settings.min_stocks,
                known=self.stored[source.name],
                max_shrink=self.settings.max_shrink,
            )

        answers: list[ListAnswer] = []
        exchanges, texts = frozenset(Exchange), frozenset(TEXTS)
        for source in self.sources:
            if answers and not (source.exchanges & exchanges or source.texts & texts):
                continue
            answer = await self._panel().attempt(
                Dataset.STOCK_LIST, source, lambda source: source.stock_list(), judge
            )
            if answer is not None:
                answers.append(answer)
                exchanges, texts = exchanges - answer.exchanges, texts - source.texts
                self.track.used(Dataset.STOCK_LIST, source.name)
        if answers:
            self.track.listed(unite(answers))
        return answers

    async def trade_days(self) -> Sequence[date]:
        """The open days with final figures, newest first: a source's, the kept or the built-in calendar's."""
        now = self._market_now()
        today = market_day(now)
        start = today - timedelta(days=LOOK_BACK_DAYS)

        async def judge(_source: Source, answer: Sequence[date]) -> tuple[Sequence[date], None]:
            judge_calendar(answer, start, today)
            return [day for day in answer if start <= day <= today], None

        answer = await self._panel().first(
            Dataset.TRADE_DATE, lambda source: source.open_days(start, today), judge
        )
        if answer is None:
            answer = await self._calendar_without_sources(start, today)
        else:
            await self.store.calendar.keep(start, today, answer)
        return days_with_final_figures(answer, now)

    async def _calendar_without_sources(self, start: date, today: date) -> Sequence[date]:
        kept = await self.store.calendar.open_days(start, today)
        if covers(kept, today):
            # What was kept may end before today; the table says which days came after it.
            newer = builtin_open_days(kept[-1] + timedelta(days=1), today)
            self.track.used(Dataset.TRADE_DATE, "store")
            return [*kept, *newer]
        self.track.used(Dataset.TRADE_DATE, "builtin")
        return builtin_open_days(start, today)

    async def dailies(self, days: asyncio.Task[Sequence[date]], lists: Lists) -> Sequence[DailyAnswer]:
        """The first complete metrics, then those of the same day that fill what they do not have.

        Empty where no source has any.
        """
        candidates = (await days)[:MOST_DAYS_BACK]
        answers: list[DailyAnswer] = []
        exchanges, metrics = frozenset(Exchange), frozenset(METRICS)
        for source in self.sources:
            if answers and not (source.exchanges & exchanges or source.metrics & metrics):
                continue
            wanted = [answers[0].day] if answers else candidates
            answer = await self._published(source, wanted, lists)
            if answer is not None:
                answers.append(answer)
                exchanges, metrics = exchanges - source.exchanges, metrics - source.metrics
        return answers

    async def _published(self, source: Source, days: Sequence[date], lists: Lists) -> DailyAnswer | None:
        """Walk back from the newest day to the last one that the source has published whole.

        The newest day may be missing or half there, because it is published in the evening; an older one
        that is incomplete will not get better.
        """

        async def judge(source: Source, answer: DailyAnswer) -> tuple[DailyAnswer, None]:
            listed = frozenset(unite(await lists).listings)
            judge_daily(source, answer, listed=listed, coverage=self.settings.min_coverage)
            return answer, None

        for n, day in enumerate(days):

            async def ask(source: Source, day: date = day) -> DailyAnswer:
                return await source.daily_data(day)

            try:
                return await self._panel().question(Dataset.DAILY_DATA, source, ask, judge)
            except SourceEmpty:
                continue
            except SourceIncomplete:
                if n:
                    return None
            except SourceError:
                return None
        return None

    async def roe(self) -> RoeAnswer | None:
        """Return on equity is welcome where somebody has it, and never decides how a run ends."""
        period = latest_report_period(market_day(self._market_now()))
        return await self._panel().first(Dataset.ROE, lambda source: source.roe(period), accept)

    def _panel(self) -> Panel:
        breaker = Breaker(self.store.health, self.clock)
        return Panel(self.sources, breaker, self.clock, self.settings.dataset_timeout, self.track.attempted)

    def _market_now(self) -> datetime:
        """The moment whose figures are wanted: now, or the evening of STOCKSYNC_AS_OF for a replay."""
        as_of = self.settings.as_of
        return self.clock.now() if as_of is None else datetime.combine(as_of, time.max, MARKET_ZONE)
