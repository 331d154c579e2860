"""Counts the runs that a request matches, and finds examples of them. It writes nothing, whatever the engine."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice, zip_longest
from typing import TYPE_CHECKING

from secateur.engines.base import Selection, Source, Verdict
from secateur.engines.searching import RunSearch
from secateur.errors import NotFound, Problem, RequestError
from secateur.ledger.selections import added, selections, why_failing
from secateur.runs import Count, Run, RunStatus, Scope

if TYPE_CHECKING:
    from secateur.requests import CancellationRequest

ERRORS_EXPLAINED = 100
"""A preview evaluates at most this many failing runs to find the reasons."""

ERROR_EXAMPLES = 3
"""A preview shows at most this many of the failing runs."""


@dataclass(frozen=True, slots=True)
class ErrorExample:
    """A run on which the expression could not be evaluated, and why."""

    run_id: str
    message: str


@dataclass(frozen=True, slots=True)
class Preview:
    """What a request would cancel now."""

    count: Count
    error_examples: tuple[ErrorExample, ...] = ()


class MatchCounter:
    """What requests match in one queue. Raises errors of `secateur.errors`."""

    def __init__(self, engine: Source, *, at_once: int = 1) -> None:
        """At most `at_once` exact counts run at a time."""
        self._engine = engine
        self._counting = asyncio.Semaphore(at_once)

    async def preview(self, request: CancellationRequest, *, on_primary: bool = False) -> Preview:
        """The exact count with its errors, and the reasons of a few of them.

        It takes longer than `count`, and waits and raises like it. Each function's figures come from one snapshot, so
        do not combine them with those of an earlier count.
        """
        wanted = selections(request)
        async with self._counting:
            counts = [await self._engine.count_with_errors(each, on_primary=on_primary) for each in wanted]
        await self._refuse_unknown_if_empty(request, counts)
        return await self._explain(wanted, added(counts))

    async def count(self, request: CancellationRequest, *, on_primary: bool = False) -> Count:
        """The exact count without its errors; for several functions, the sum.

        With `on_primary` the replica is not used, because something will be decided by the count. At most `at_once`
        counts run at a time: the next one waits until the database has finished or cancelled one. Raises `RequestError`
        for an unknown app or function: a misspelt name is not an empty queue.
        """
        async with self._counting:
            wanted = selections(request)
            counts = [await self._engine.count(selection, on_primary=on_primary) for selection in wanted]
        await self._refuse_unknown_if_empty(request, counts)
        return added(counts)

    async def guess(self, request: CancellationRequest) -> Count | None:
        """A quick count from a sample; None if an exact count is as quick."""
        wanted = selections(request)
        counts = [await self._engine.estimate(selection) for selection in wanted]
        if all(count is None for count in counts):
            return None
        return added([count or await self._engine.count(wanted[place]) for place, count in enumerate(counts)])

    async def estimate(self, request: CancellationRequest) -> Preview | None:
        """`guess`, with the reasons of a few errors; finding these may take longer than the figure itself."""
        count = await self.guess(request)
        return None if count is None else await self._explain(selections(request), count)

    async def examples(self, request: CancellationRequest, verdict: Verdict, limit: int) -> Sequence[Run]:
        """Up to `limit` unfinished runs of the scope and window with that verdict."""
        return await self._examples(selections(request), verdict, limit)

    async def arrival_rate(self, request: CancellationRequest) -> float:
        """Matching runs that arrive per second, regardless of the end of the request's window."""
        unbounded = request.model_copy(update={"started_before": None})
        return sum([await self._engine.arrival_rate(selection) for selection in selections(unbounded)])

    async def _examples(self, wanted: Sequence[Selection], verdict: Verdict, limit: int) -> Sequence[Run]:
        found: list[Run] = []
        for selection in wanted:
            if len(found) < limit:
                found += await self._engine.examples(selection, verdict, limit - len(found))
        return found

    async def _explain(self, wanted: Sequence[Selection], count: Count) -> Preview:
        """The preview with the reasons of a few errors. Postgres says which runs fail, the evaluator says why.

        The most frequent reason comes first, and every reason comes once before any comes twice.
        """
        filter = wanted[0].filter
        if not count.errors or filter is None:
            return Preview(count)
        failing = await self._examples(wanted, Verdict.ERROR, ERRORS_EXPLAINED)
        reasons: dict[str, list[ErrorExample]] = {}
        for run in failing:
            message = why_failing(filter, run, count.as_of)
            reasons.setdefault(message, []).append(ErrorExample(run.id, message))
        frequent_first = sorted(reasons.values(), key=len, reverse=True)
        by_turn = (example for turn in zip_longest(*frequent_first) for example in turn if example is not None)
        return Preview(count, tuple(islice(by_turn, ERROR_EXAMPLES)))

    async def _refuse_unknown_if_empty(self, request: CancellationRequest, counts: Sequence[Count]) -> None:
        if any(count.total == 0 for count in counts):
            await self._refuse_unknown(request.scopes)

    async def _refuse_unknown(self, scopes: Sequence[Scope]) -> None:
        app_id = scopes[0].app_id
        known = await self._engine.depth()
        functions = sorted({depth.function_id for depth in known if depth.app_id == app_id})
        if not functions and not await self._exists(Scope(app_id)):
            apps = ", ".join(sorted({depth.app_id for depth in known}))
            hint = f"known apps: {apps}" if apps else None
            raise RequestError([Problem("app_id", f"there is no app {app_id!r}", suggestion=hint)])
        field = "function_id" if len(scopes) == 1 else "function_ids"
        hint = f"known functions: {', '.join(functions)}"
        unknown = [
            Problem(field, f"app {app_id!r} has no function {scope.function_id!r}", suggestion=hint)
            for scope in scopes
            if scope.function_id is not None and scope.function_id not in functions and not await self._exists(scope)
        ]
        if unknown:
            raise RequestError(unknown)

    async def _exists(self, scope: Scope) -> bool:
        """Whether the engine knows the scope. A forgotten scope exists, although it has no depth."""
        try:
            await self._engine.runs(RunSearch(scope.app_id, scope.names, RunStatus.QUEUED, limit=1))
        except NotFound:
            return False
        return True
