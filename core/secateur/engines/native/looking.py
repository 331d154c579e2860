"""Looking at the queue from Python: its depth, its runs, what was cancelled and by whom."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from secateur import bounds
from secateur.bounds import INT_MAX, LONGEST_PAGE, optional, problem_of_instant, problem_of_number, require_id
from secateur.engines.base import Retention
from secateur.engines.native.engine import NativeEngine
from secateur.engines.searching import RunPage
from secateur.ledger.cancellations import Cancellations
from secateur.ledger.steps import Unrestored
from secateur.looking.history import Series
from secateur.looking.listing import read_scope, read_search
from secateur.looking.reader import Reader
from secateur.looking.suggestions import DEFAULT_FIELDS, Suggestions
from secateur.looking.why import Why
from secateur.runs import UNFINISHED, FunctionDepth, Run
from secateur.samples import DEFAULT_RANGE

if TYPE_CHECKING:
    from secateur.records import AuditEntry, Cancellation

SHORTEST_LOOK = 0.02
LONGEST_LOOK = 0.5
"""`wait` looks at its run at least this often, in seconds."""


class Looking:
    """The part of `Queue` that changes nothing."""

    def __init__(self, engine: NativeEngine, cancellations: Cancellations) -> None:
        self.engine = engine
        self.reader = Reader(engine)
        self.cancellations = cancellations

    async def depth(self) -> list[FunctionDepth]:
        """Waiting and running runs of every function, with arrival and completion rates, sorted by app and function.

        A forgotten function is included only while it has unfinished runs.
        """
        return await self.reader.depth()

    async def depth_history(self, app_id: str, function_id: str | None = None, *, range: str = DEFAULT_RANGE) -> Series:
        """How deep the function's queue was, or (None) that of the app as a whole: in the last `15m`, `2h` or `48h`.

        Its points are one second, ten seconds or four minutes apart. Raises `NotFound` if there is no such app or
        function, and `RequestError` for another range.
        """
        return await self.reader.history.series_of(read_scope(app_id, function_id), range)

    async def history(self, limit: int = 50, before: UUID | None = None) -> Sequence[Cancellation]:
        """Cancellations, newest first; `before` is the last one of the previous page."""
        bounds.require({"limit": problem_of_number(limit, 1, LONGEST_PAGE)})
        return await self.cancellations.list(limit, before if before is None else require_id("before", before))

    async def show(self, cancellation_id: UUID) -> Cancellation:
        """One cancellation with its progress. Raises `NotFound`."""
        return await self.cancellations.get(require_id("cancellation_id", cancellation_id))

    async def unrestored(self, cancellation_id: UUID, limit: int = 100) -> Sequence[Unrestored]:
        """Runs that an undo did not restore, with the reasons."""
        bounds.require({"limit": problem_of_number(limit, 1, INT_MAX)})
        return await self.cancellations.unrestored(require_id("cancellation_id", cancellation_id), limit)

    async def audit(self, limit: int = 50, before: int | None = None) -> Sequence[AuditEntry]:
        """Who did what and when, newest first; `before` is the id of the last entry of the previous page."""
        bounds.require(
            {
                "limit": problem_of_number(limit, 1, LONGEST_PAGE),
                "before": optional(problem_of_number(before, 1, 2**63 - 1), before),
            }
        )
        return await self.cancellations.audit(limit, before)

    async def retention(self) -> Retention:
        """How long finished runs are kept."""
        return await self.engine.retention()

    async def runs(
        self,
        app_id: str,
        function_id: str | Sequence[str] | None = None,
        *,
        status: str | Sequence[str] = "failed",
        if_: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = 50,
        before: UUID | str | None = None,
        newest: bool = True,
    ) -> RunPage:
        """One page of the runs with that status, or with one of several, or `any`: those that started after `since` and
        before `until`, and that the expression `if_` is true of. It may read `run.status` and `run.attempt`, too.

        The page is a list that knows where it ended: `next` is the `before` of the next one, None at the end. A page
        also ends, and may be empty, when it has looked at some 200,000 runs; `looked_at` and `back_to` say how far it
        came.
        Raises `NotFound` for an unknown app or function, and `RequestError`.
        """
        position = before if before is None else str(require_id("before", before))
        search = read_search(
            app_id,
            function_id,
            status=status,
            if_=if_,
            since=since,
            until=until,
            limit=limit,
            before=position,
            newest=newest,
        )
        return await self.reader.runs(search)

    async def suggest(
        self,
        app_id: str,
        function_id: str | None = None,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = DEFAULT_FIELDS,
    ) -> Suggestions:
        """What stands out in what arrived from `since` to `until`, against what arrived before, and filters for it.

        By samples of some thousand runs. Without `since`, from when more began to arrive. `limit` is how many fields
        are listed. Times are aware. Raises `NotFound` for an app or function that is not known.
        """
        bounds.require(
            {
                "since": optional(problem_of_instant(since), since),
                "until": optional(problem_of_instant(until), until),
                "limit": problem_of_number(limit, 1, LONGEST_PAGE),
            }
        )
        return await self.reader.suggest(read_scope(app_id, function_id), since, until, limit)

    async def get(self, run_id: UUID) -> Run:
        """The run in its current state. Raises `NotFound`."""
        return await self.engine.run(str(require_id("run_id", run_id)))

    async def why(self, run_id: UUID) -> Why:
        """Why the run is where it is: the `reason`, the cancellations that touch it, with the parts of their `if` that
        decided, and in its `trace` pauses, limits and finished steps. `telling.sentence` puts it into words.

        Raises `NotFound`.
        """
        return await self.reader.why(str(require_id("run_id", run_id)))

    async def wait(self, run_id: UUID) -> Run:
        """Wait until the run has completed, failed for good or been cancelled, and return it.

        It looks at least every half second. Limit the wait with `asyncio.timeout`. Raises `NotFound` if the run does
        not exist, or no longer exists.
        """
        wanted = str(require_id("run_id", run_id))
        pause = SHORTEST_LOOK
        while (run := await self.engine.run(wanted)).status in UNFINISHED:
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, LONGEST_LOOK)
        return run
