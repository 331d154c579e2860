"""Looks at one queue: its depth, runs, payloads and clock, whatever its engine is. It writes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from secateur.engines.base import (
    Arriving,
    Charting,
    Evaluating,
    Routing,
    Source,
    Streaming,
    Tracing,
    queue_of,
    unsupported,
)
from secateur.engines.searching import RunPage, RunSearch
from secateur.errors import Problem, RequestError
from secateur.ledger.selections import selections
from secateur.looking.counter import MatchCounter
from secateur.looking.histograms import FINER, together
from secateur.looking.history import DepthHistory
from secateur.looking.suggestions import DEFAULT_FIELDS, Suggestions
from secateur.runs import NO_BOUNDS, UNFINISHED, FunctionDepth, Histogram, Run, RunStatus, Scope, Window

if TYPE_CHECKING:
    from secateur.cel import Filter
    from secateur.cel.authoring.shapes import Shape
    from secateur.cel.words import QueueWords
    from secateur.engines.index_costs import IndexAdvice
    from secateur.looking.blast import BlastRadius
    from secateur.looking.why import Why
    from secateur.requests import CancellationRequest


class Reader:
    """Reads one queue. Modules that only some screens need are imported on first use."""

    def __init__(self, engine: Source, *, counts_at_once: int = 1) -> None:
        self._engine = engine
        self.counter = MatchCounter(engine, at_once=counts_at_once)
        self.history = DepthHistory(engine)
        self._suggesting = asyncio.Lock()

    @property
    def engine_name(self) -> str:
        return self._engine.name

    def words_of(self, app_id: str) -> QueueWords:
        """The extra fields that expressions on the app's runs may read, and the engine's own names for things."""
        return queue_of(self._engine, app_id).words

    def queue_of(self, app_id: str) -> tuple[str, str] | None:
        """The queue that has the app, and the app's name there; None if only one queue is open."""
        if not isinstance(self._engine, Routing):
            return None
        name = self._engine.source_of(app_id).name
        return name, app_id.removeprefix(f"{name}/")

    def evaluated(self, app_id: str) -> int | None:
        """How many of the app's runs the count under way has evaluated in this process; None if the database does."""
        queue = queue_of(self._engine, app_id)
        return queue.evaluated if isinstance(queue, Evaluating) else None

    @property
    def first_run(self) -> str | None:
        """What to type to enqueue a first run; None if that is up to the application."""
        return self._engine.first_run

    async def clock(self) -> datetime:
        """The database's time."""
        return await self._engine.clock()

    async def depth(self, *, with_growth: bool = True) -> list[FunctionDepth]:
        """Every function, sorted by app and function; `with_growth` adds since when it has been growing."""
        depths = await self._engine.depth()
        if not with_growth:
            return depths
        return _with_growth(depths, await self.history.growing(depths))

    async def depth_of(self, scope: Scope) -> list[FunctionDepth]:
        """The function of the scope, or all functions of its app."""
        depths = [each for each in await self._engine.depth() if scope.covers(each.app_id, each.function_id)]
        return _with_growth(depths, await self.history.growing_of(depths))

    async def run(self, run_id: str) -> Run:
        """Raises `NotFound`, and `RequestError` for what cannot be the id of a run."""
        return await self._engine.run(run_id)

    async def runs(self, search: RunSearch) -> RunPage:
        """One page of a search, made by `read_search`. Raises `NotFound` for an app or function that is not known."""
        return await self._engine.runs(search)

    async def stream(
        self, request: CancellationRequest, statuses: tuple[RunStatus, ...] = UNFINISHED
    ) -> AsyncGenerator[Run, None]:
        """Every run that the request matches, in bounded memory: function by function, and otherwise unordered.

        Each function is read in one snapshot. Raises `NotFound` and `Unsupported`. Close it if you do not read it to
        its end.
        """
        if not isinstance(self._engine, Streaming):
            raise unsupported(self._engine, "export its runs")
        for selection in selections(request):
            async with aclosing(self._engine.stream(replace(selection, statuses=statuses))) as runs:
                async for run in runs:
                    yield run

    async def why(self, run_id: str) -> Why:
        """The run, and why it is where it is. Raises like `run`, and `Unsupported`."""
        from secateur.looking.why import why

        return await why(self._engine, run_id)

    @property
    def can_tell_why(self) -> bool:
        return isinstance(self._engine, Tracing)

    async def shape(self, scopes: Scope | Sequence[Scope]) -> Shape:
        """The fields and values of a sample of the events of unfinished runs."""
        from secateur.looking.facets import payload_shape

        return await payload_shape(self._engine, scopes)

    @property
    def can_suggest(self) -> bool:
        """Whether the engine can list arrivals, which `suggest` and `blast_radius` need."""
        return isinstance(self._engine, Arriving)

    async def histogram(self, request: CancellationRequest, bars: int) -> Histogram | None:
        """The runs of the request's scope and window by the time of their start, in `bars` parts, with the number that
        match.

        None if there are no runs, or if the engine cannot tell. Raises `RequestError`. Cancelling the task cancels the
        query in the database.
        """
        engine, wanted = self._engine, selections(request)
        if not isinstance(engine, Charting):
            return None
        if len(wanted) == 1:
            return await engine.histogram(wanted[0], bars)
        finely = [await engine.histogram(each, bars * FINER) for each in wanted]
        return together([each for each in finely if each is not None], bars)

    async def suggest(
        self,
        scopes: Scope | Sequence[Scope],
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = DEFAULT_FIELDS,
    ) -> Suggestions:
        """What stands out in what arrived since `since`, or since arrivals grew, and filters for it; one question at a
        time.

        Several scopes are functions of one app. Raises `RequestError` for times that leave nothing, `NotFound` and
        `Unsupported`. Cancelling the task cancels the query in the database, or the search.
        """
        if since is not None and until is not None and since >= until:
            raise RequestError([Problem("since", "must be before `until`")])
        from secateur.looking.suggesting import suggest

        async with self._suggesting:
            return await suggest(self._engine, self.history, scopes, since, until, limit)

    async def blast_radius(
        self,
        scopes: Scope | Sequence[Scope],
        filter_: Filter,
        window: Window = NO_BOUNDS,
        limit: int = DEFAULT_FIELDS,
    ) -> BlastRadius:
        """How the matches of a filter differ from the runs that it leaves. Takes turns with `suggest`, and raises like
        it.
        """
        from secateur.looking.blast import blast_radius

        async with self._suggesting:
            return await blast_radius(self._engine, scopes, filter_, window, limit)

    async def advise_index(self, request: CancellationRequest) -> IndexAdvice | None:
        """The index that would help the count of the request's filter most; None where none can.

        Counts once, for a minute at most, and reads a sample of the table. Raises `Unsupported` and `RequestError`.
        """
        from secateur.looking.indexing import advise_index

        return await advise_index(self._engine, request)


def _with_growth(depths: list[FunctionDepth], growing: Mapping[Scope, datetime]) -> list[FunctionDepth]:
    if not growing:
        return depths
    return [
        each if since is None else replace(each, growing_since=since)
        for each in depths
        for since in (growing.get(each.scope),)
    ]
