"""What holds up a run of secateur's own queue, and how far it has come."""

from __future__ import annotations

from typing import TYPE_CHECKING

from secateur.bounds import require_id
from secateur.cel.values import decode_shown
from secateur.engines.base import Tracing
from secateur.errors import NotFound
from secateur.postgres.database import Database
from secateur.postgres.statements import Statements
from secateur.runs import Run, RunStatus

if TYPE_CHECKING:
    from secateur.traces import RunTrace

_SQL = Statements.load("secateur.engines.native", "tracing.sql")


class NativeTracing(Tracing):
    """Some short statements, each a look at what belongs to the run."""

    _database: Database

    async def trace(self, run: Run) -> RunTrace:
        from secateur.traces import MOST_AHEAD, FinishedStep, Pause, RunTrace, StopRequest, Undecided

        run_id = require_id("run_id", run.id)
        database = self._database
        row = await database.fetchrow(_SQL["trace"], run_id)
        if row is None:
            raise NotFound(f"there is no run {run.id}")
        waits = run.status in (RunStatus.QUEUED, RunStatus.SCHEDULED)
        place = (run.app_id, run.function_id, run.priority, run_id, MOST_AHEAD)
        own = (run_id, run.app_id)
        pauses = (
            (None, row["app_paused_at"], row["app_paused_by"]),
            (run.function_id, row["paused_at"], row["paused_by"]),
        )
        return RunTrace(
            as_of=row["as_of"],
            max_attempts=row["max_attempts"],
            steps=tuple(
                FinishedStep(each["step"], each["finished_at"], each["size"], decode_shown(each["result"]))
                for each in await database.fetch(_SQL["finished_steps"], *own)
            ),
            pauses=tuple(Pause(function_id, since, by) for function_id, since, by in pauses if since is not None),
            concurrency=row["concurrency"],
            slots_taken=row["slots_taken"],
            undecided=tuple(
                Undecided(str(each["cancellation_id"]), each["attempts"], each["next_at"])
                for each in await database.fetch(_SQL["undecided"], *own)
            ),
            stop_requests=tuple(
                StopRequest(str(each["cancellation_id"]), each["requested_at"], each["outcome"])
                for each in await database.fetch(_SQL["stop_requests"], *own)
            ),
            interruptions=row["interruptions"],
            retry_id=_text(row["retry_id"]),
            handed_over_from=_text(row["handed_over_from"]),
            key_taken_by=_text(row["key_taken_by"]),
            ahead=await database.fetchval(_SQL["ahead"], *place) if waits else 0,
            workers=row["workers"],
            listening=row["listening"],
        )


def _text(id: object) -> str | None:
    return None if id is None else str(id)
