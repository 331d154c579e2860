"""Several queues of one database, as if they were one.

The apps of secateur's own queue keep their names. Those of another queue are called `NAME/APP`, and its runs `NAME/ID`.
Where only one queue has an app of a name, the bare name means that one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar, cast

from secateur.engines.base import (
    Arriving,
    Charting,
    DepthCheck,
    Forgetting,
    Pausing,
    Pruned,
    Remembering,
    Retention,
    Retrying,
    Selection,
    Sending,
    Sent,
    Source,
    Streaming,
    Tracing,
    Upkeep,
    Verdict,
    unsupported,
)
from secateur.engines.populations import Arrivals, Population, Tally
from secateur.engines.searching import RunPage, RunSearch
from secateur.engines.several_ledgers import SeveralLedgers
from secateur.errors import DatabaseError, NotFound, Problem, RequestError
from secateur.ledger.ledger import Cancelling, Ledger
from secateur.runs import Count, FunctionDepth, Histogram, Paused, Run, Scope
from secateur.samples import Backlogs, Mark, Sample, SampleGap, SampleSteps
from secateur.traces import RunTrace

if TYPE_CHECKING:
    from secateur.cel import Filter
    from secateur.cel.words import QueueWords

Found = TypeVar("Found")

logger = logging.getLogger(__name__)


def several(own: Source | None, others: Sequence[Source]) -> Source:
    """One source over secateur's `own` queue, if there is one, and the others; it can what at least one of them can."""
    sources = [*([own] if own is not None else []), *others]
    kinds = [routed for capability, routed in _ROUTED.items() if any(isinstance(each, capability) for each in sources)]
    retrying = [each.retryable for each in sources if isinstance(each, Retrying)]
    constants = {"retryable": retrying[0]} if retrying else {}
    return cast("Source", type("SeveralSources", (*kinds, SeveralSources), constants)(own, others))


class SeveralSources(Source):
    """Made by `several`."""

    def __init__(self, own: Source | None, others: Sequence[Source]) -> None:
        self._own = own
        self._others: Mapping[str, Source] = {each.name: each for each in others}
        self._apps: dict[str, list[str]] = {}
        """The queues that were seen to have an app of that name."""
        self.name = " + ".join(each.name for each in self._sources)
        self.first_run = own.first_run if own is not None else None

    @property
    def _sources(self) -> list[Source]:
        return [*([self._own] if self._own is not None else []), *self._others.values()]

    @property
    def words(self) -> QueueWords:
        return self._sources[0].words

    def problem_of_run_id(self, run_id: str) -> str | None:
        name, bare = self._split(run_id)
        if name is not None:
            return self._others[name].problem_of_run_id(bare)
        if self._own is not None and (problem := self._own.problem_of_run_id(run_id)) is None:
            return None
        return f"must be {' or '.join(f'{name}/ID' for name in self._others)}" + (
            f", or {problem.removeprefix('must be ')}" if self._own is not None and problem is not None else ""
        )

    async def detect(self) -> str:
        return " + ".join([await each.detect() for each in self._sources])

    async def clock(self) -> datetime:
        return await self._sources[0].clock()

    async def depth(self) -> list[FunctionDepth]:
        """What cannot be read hides nothing else, unless none can be read."""
        looked = await asyncio.gather(*(each.depth() for each in self._sources), return_exceptions=True)
        found: list[FunctionDepth] = []
        failed: list[BaseException] = []
        for source, depths in zip(self._sources, looked, strict=True):
            if isinstance(depths, BaseException):
                failed.append(depths)
                continue
            for each in depths:
                queues = self._apps.setdefault(each.app_id, [])
                if source.name not in queues:
                    queues.append(source.name)
                found.append(replace(each, app_id=self.full_name(source, each.app_id)))
        for error in failed:
            if not isinstance(error, DatabaseError) or len(failed) == len(looked):
                raise error
            logger.warning("one of the queues cannot be read: %s", error)
        return sorted(found, key=lambda each: (each.app_id, each.function_id))

    async def count(self, selection: Selection, *, on_primary: bool = False) -> Count:
        source, selection = await self._selected(selection)
        return await source.count(selection, on_primary=on_primary)

    async def count_with_errors(self, selection: Selection, *, on_primary: bool = False) -> Count:
        source, selection = await self._selected(selection)
        return await source.count_with_errors(selection, on_primary=on_primary)

    async def estimate(self, selection: Selection) -> Count | None:
        source, selection = await self._selected(selection)
        return await source.estimate(selection)

    async def examples(self, selection: Selection, verdict: Verdict, limit: int) -> list[Run]:
        source, selection = await self._selected(selection)
        return [self._named(source, run) for run in await source.examples(selection, verdict, limit)]

    async def sample_events(self, scope: Scope, limit: int) -> list[Any]:
        source, scope = await self._scoped(scope)
        return await source.sample_events(scope, limit)

    async def arrival_rate(self, selection: Selection) -> float:
        source, selection = await self._selected(selection)
        return await source.arrival_rate(selection)

    async def run(self, run_id: str) -> Run:
        if (problem := self.problem_of_run_id(run_id)) is not None:
            raise RequestError([Problem("run_id", problem)])
        source, bare = self.of_full_name(run_id)
        try:
            return self._named(source, await source.run(bare))
        except NotFound:
            raise NotFound(f"there is no run {run_id}") from None

    async def runs(self, search: RunSearch) -> RunPage:
        source, scope = await self._scoped(Scope(search.app_id))
        before = None if search.before is None else self._split(search.before)[1]
        page = await source.runs(replace(search, app_id=scope.app_id, before=before))
        following = None if page.next is None else self.full_name(source, page.next)
        named = [self._named(source, run) for run in page]
        return RunPage(named, next=following, looked_at=page.looked_at, back_to=page.back_to)

    async def of_app(self, app_id: str) -> tuple[Source, str]:
        """The queue that has the app, and what the app is called there.

        Raises `RequestError` where several have one of that name.
        """
        name, bare = self._split(app_id)
        if name is not None:
            return self._others[name], bare
        if len(self._apps.get(app_id, [])) != 1:
            await self.depth()
        queues = self._apps.get(app_id, [])
        if self._own is not None and (self._own.name in queues or not queues):
            return self._own, app_id
        if len(queues) > 1:
            names = ", ".join(f"{queue}/{app_id}" for queue in queues)
            raise RequestError([Problem("app_id", f"several queues have an app {app_id!r}: say which ({names})")])
        return (self._others[queues[0]] if queues else self._sources[0]), app_id

    def source_of(self, app_id: str) -> Source:
        """The queue that has the app, by what is known of it so far."""
        name, _ = self._split(app_id)
        queues = self._apps.get(app_id, [])
        if name is None and queues and (self._own is None or self._own.name not in queues):
            name = queues[0]
        return self._others.get(name or "", self._sources[0])

    def of_full_name(self, full_name: str) -> tuple[Source, str]:
        """The queue that an app or a run of that full name is in, and what it is called there."""
        name, bare = self._split(full_name)
        return (self._sources[0] if name is None else self._others[name]), bare

    async def _scoped(self, scope: Scope) -> tuple[Source, Scope]:
        source, bare = await self.of_app(scope.app_id)
        return source, replace(scope, app_id=bare)

    async def _selected(self, selection: Selection) -> tuple[Source, Selection]:
        source, scope = await self._scoped(selection.scope)
        return source, replace(selection, scope=scope)

    def _split(self, name: str) -> tuple[str | None, str]:
        """The queue that an app's or a run's name begins with, and the rest."""
        queue, slash, rest = name.partition("/")
        return (queue, rest) if slash and queue in self._others else (None, name)

    def full_name(self, source: Source, name: str) -> str:
        """What an app or a run of that queue is called here."""
        return name if source is self._own else f"{source.name}/{name}"

    def _named(self, source: Source, run: Run) -> Run:
        return replace(run, id=self.full_name(source, run.id), app_id=self.full_name(source, run.app_id))


class _ChartingSources(SeveralSources, Charting):
    async def histogram(self, selection: Selection, bars: int) -> Histogram | None:
        source, selection = await self._selected(selection)
        return await source.histogram(selection, bars) if isinstance(source, Charting) else None


class _StreamingSources(SeveralSources, Streaming):
    async def stream(self, selection: Selection) -> AsyncGenerator[Run, None]:
        source, selection = await self._selected(selection)
        if not isinstance(source, Streaming):
            raise unsupported(source, "export its runs")
        async with aclosing(source.stream(selection)) as runs:
            async for run in runs:
                yield self._named(source, run)


class _PausingSources(SeveralSources, Pausing):
    async def pause(self, scope: Scope, author: str, source: str) -> Paused:
        able, bare = await self.of_app(scope.app_id)
        if not isinstance(able, Pausing):
            raise unsupported(able, "pause a queue")
        return await able.pause(replace(scope, app_id=bare), author, source)

    async def resume(self, scope: Scope, author: str, source: str) -> None:
        able, bare = await self.of_app(scope.app_id)
        if not isinstance(able, Pausing):
            raise unsupported(able, "pause a queue, or resume it")
        await able.resume(replace(scope, app_id=bare), author, source)


class _ForgettingSources(SeveralSources, Forgetting):
    async def forget(self, scope: Scope, author: str, source: str) -> list[str]:
        able, bare = await self.of_app(scope.app_id)
        if not isinstance(able, Forgetting):
            raise unsupported(able, "forget functions")
        return await able.forget(replace(scope, app_id=bare), author, source)


class _SendingSources(SeveralSources, Sending):
    async def send(self, event: object, text: str, *, idempotency_key: str | None = None) -> Sent:
        (able,) = [each for each in self._sources if isinstance(each, Sending)][:1]
        return await able.send(event, text, idempotency_key=idempotency_key)


class _RememberingSources(SeveralSources, Remembering):
    """A queue whose depth nobody keeps has no samples: nothing is known of it."""

    async def samples(self, scope: Scope, steps: Sequence[SampleSteps]) -> list[Sample]:
        source, scope = await self._scoped(scope)
        return await source.samples(scope, steps) if isinstance(source, Remembering) else []

    async def samples_of_functions(
        self, steps: Sequence[SampleSteps], app_ids: Sequence[str] | None = None
    ) -> dict[Scope, list[Sample]]:
        return await self._of_functions(lambda source, bare: source.samples_of_functions(steps, bare), app_ids)

    async def backlogs_of_functions(
        self, steps: Sequence[SampleSteps], app_ids: Sequence[str] | None = None
    ) -> dict[Scope, Backlogs]:
        return await self._of_functions(lambda source, bare: source.backlogs_of_functions(steps, bare), app_ids)

    async def _of_functions(
        self,
        read: Callable[[Remembering, list[str] | None], Awaitable[dict[Scope, Found]]],
        app_ids: Sequence[str] | None,
    ) -> dict[Scope, Found]:
        found: dict[Scope, Found] = {}
        for source in self._sources:
            if not isinstance(source, Remembering):
                continue
            bare = None if app_ids is None else [self._split(each)[1] for each in app_ids]
            for scope, each in (await read(source, bare)).items():
                full = replace(scope, app_id=self.full_name(source, scope.app_id))
                if app_ids is None or full.app_id in app_ids:
                    found[full] = each
        return found

    async def gaps(self, app_id: str, since: datetime, until: datetime) -> list[SampleGap]:
        source, bare = await self.of_app(app_id)
        return await source.gaps(bare, since, until) if isinstance(source, Remembering) else []

    async def marks(self, scope: Scope, since: datetime, until: datetime) -> list[Mark]:
        source, scope = await self._scoped(scope)
        return await source.marks(scope, since, until) if isinstance(source, Remembering) else []


class _ArrivingSources(SeveralSources, Arriving):
    async def arrival_times(self, population: Population, limit: int) -> list[datetime]:
        able, bare = await self.of_app(population.app_id)
        if not isinstance(able, Arriving):
            raise unsupported(able, "list what has arrived")
        return await able.arrival_times(replace(population, app_id=bare), limit)

    async def arrivals(self, population: Population, limit: int) -> Arrivals:
        able, bare = await self.of_app(population.app_id)
        if not isinstance(able, Arriving):
            raise unsupported(able, "list what has arrived")
        return await able.arrivals(replace(population, app_id=bare), limit)

    async def tally(self, population: Population, filters: Sequence[Filter], limit: int) -> Tally:
        able, bare = await self.of_app(population.app_id)
        if not isinstance(able, Arriving):
            raise unsupported(able, "list what has arrived")
        return await able.tally(replace(population, app_id=bare), filters, limit)


class _TracingSources(SeveralSources, Tracing):
    async def trace(self, run: Run) -> RunTrace:
        able, bare = await self.of_app(run.app_id)
        if not isinstance(able, Tracing):
            raise unsupported(able, "tell why a run waits")
        return await able.trace(replace(run, id=self._split(run.id)[1], app_id=bare))


class _CancellingSources(SeveralSources, Cancelling):
    @cached_property
    def ledger(self) -> Ledger:
        return SeveralLedgers(self, self._sources)


class _UpkeepSources(SeveralSources, Upkeep):
    async def compact_depth(self, every: timedelta, batch: int) -> int:
        return sum([await each.compact_depth(every, batch) for each in self._kept_up])

    async def check_depth(self, every: timedelta) -> DepthCheck | None:
        found = [check for each in self._kept_up if (check := await each.check_depth(every)) is not None]
        return DepthCheck(sum(each.counted for each in found), sum(each.drift for each in found)) if found else None

    async def prune(self, batch: int) -> Pruned:
        found = [await each.prune(batch) for each in self._kept_up]
        return Pruned(sum(each.runs for each in found), any(each.more for each in found))

    async def retention(self) -> Retention:
        """There is one for all."""
        return await self._kept_up[0].retention()

    async def set_retention(
        self,
        *,
        finished: timedelta | None = None,
        cancelled: timedelta | None = None,
        standing: timedelta | None = None,
        author: str,
        source: str,
    ) -> Retention:
        return await self._kept_up[0].set_retention(
            finished=finished, cancelled=cancelled, standing=standing, author=author, source=source
        )

    @property
    def _kept_up(self) -> list[Upkeep]:
        return [each for each in self._sources if isinstance(each, Upkeep)]


_ROUTED: Mapping[type[Any], type[SeveralSources]] = {
    Charting: _ChartingSources,
    Streaming: _StreamingSources,
    Pausing: _PausingSources,
    Forgetting: _ForgettingSources,
    Sending: _SendingSources,
    Remembering: _RememberingSources,
    Arriving: _ArrivingSources,
    Tracing: _TracingSources,
    Upkeep: _UpkeepSources,
    Cancelling: _CancellingSources,
}
