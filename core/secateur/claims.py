"""A worker's side of the queue's SQL functions: claim runs, keep them alive, say how they ended.

What must be said is said again until Postgres hears it: every call names a claim's token, so that repeating
one does no harm, and one that comes too late is refused.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar
from uuid import UUID

import asyncpg

from secateur.cel.values import decode_json
from secateur.database import Database
from secateur.errors import DatabaseError, PermissionDenied, Unreachable
from secateur.functions import ActiveRun, Function
from secateur.statements import Statements
from secateur.steps import Steps
from secateur.together import Together

Answer = TypeVar("Answer")

SHORTEST_PAUSE = 0.1
LONGEST_PAUSE = 3.0
"""Seconds between two attempts to reach Postgres."""

MOST_RESULTS = 1_000_000
"""Characters of steps' results that are sent together."""

LONGEST_TEXT = 10_000
"""Characters of an error's text that are kept."""

logger = logging.getLogger("secateur.worker")

_SQL = Statements.load("secateur", "worker.sql")


@dataclass(frozen=True, slots=True)
class Claim:
    """A run that this worker holds, under the token that proves it."""

    run: ActiveRun
    token: UUID
    function: Function


@dataclass(frozen=True, slots=True)
class Batch:
    """What one claim brought. `more`: cancelled runs were in the way, so ask again at once."""

    claims: list[Claim]
    more: bool = False
    due_in: float | None = None
    """If it brought nothing: seconds until the next scheduled run becomes due; None if none is known."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A step that has ended, with its result's JSON."""

    app_id: str
    run_id: UUID
    token: UUID
    step: str
    result: str


class KeptSteps(Steps):
    """The steps of one claimed run, as the queue has them."""

    def __init__(self, claims: Claims, app_id: str, run_id: UUID, token: UUID) -> None:
        self._claims, self._app_id, self._run_id, self._token = claims, app_id, run_id, token

    async def begin(self, name: str) -> bool:
        return await self._claims.begin_step(self._app_id, self._run_id, self._token, name)

    async def finish(self, name: str, result: str) -> bool:
        return await self._claims.finish_step(Finished(self._app_id, self._run_id, self._token, name, result))


class Claims:
    """The claims of the worker called `worker`, each for `lease` at a time.

    `background` is for the heartbeat: a pool of its own, so that no step that waits for a lock can delay it.
    """

    def __init__(self, database: Database, background: Database, worker: str, lease: timedelta) -> None:
        self._database = database
        self._background = background
        self._worker = worker
        self._lease = lease
        # Runs and steps of an app that end at about the same time share a call.
        self._completed = defaultdict[str, Together[Claim, bool]](lambda: Together(self._complete))
        self._finished = defaultdict[str, Together[Finished, bool]](
            lambda: Together(self._finish, most=MOST_RESULTS, size=lambda done: 1_000 + len(done.result))
        )

    def close(self) -> None:
        """Tell nothing more."""
        for runs in self._completed.values():
            runs.close()
        for steps in self._finished.values():
            steps.close()

    async def register(self, function: Function) -> None:
        """What was declared before and is declared no more goes. Raises `LockUnavailable` if its limit changes while
        somebody's open transaction has claimed runs of the app."""
        await self._database.execute(
            _SQL["register"],
            function.app_id,
            function.id,
            list(function.triggers),
            function.max_attempts,
            function.concurrency,
            json.dumps([one.stored() for one in function.cancel_on]),
        )

    async def claim(self, app_id: str, functions: dict[str, Function], limit: int) -> Batch:
        """Up to `limit` runs of these functions.

        Not repeated by itself; raises `DatabaseError` if Postgres is away. Runs whose claim got lost on the
        way here come back when their lease ends.
        """
        rows = await self._database.fetch(_SQL["claim"], app_id, list(functions), limit, self._worker, self._lease)
        claims = []
        more, due_in = False, None
        for row in rows:
            if row["id"] is None:
                more, due_in = row["more"], row["due_in"]
                continue
            run = ActiveRun(
                id=row["id"],
                app_id=row["app_id"],
                function_id=row["function_id"],
                event=decode_json(row["event"]),
                attempt=row["attempt"],
                max_attempts=row["max_attempts"],
                started_at=row["started_at"],
                steps=KeptSteps(self, row["app_id"], row["id"], row["claim_token"]),
            )
            claims.append(Claim(run, row["claim_token"], functions[row["function_id"]]))
        return Batch(claims, more, None if due_in is None else due_in.total_seconds())

    async def recall(self, claim: Claim) -> None:
        """Let the run know its steps that finished in earlier attempts; a first attempt has none."""
        if claim.run.attempt > 1:
            rows = await self._insist(
                lambda: self._database.fetch(_SQL["finished_steps"], claim.run.app_id, claim.run.id, claim.token)
            )
            claim.run.steps.finished = {row["step"]: row["result"] for row in rows}

    async def begin_step(self, app_id: str, run_id: UUID, token: UUID, step: str) -> bool:
        """False: the run must stop; if it was cancelled, that is recorded now."""
        granted: bool = await self._insist(
            lambda: self._database.fetchval(_SQL["begin_step"], app_id, run_id, token, step)
        )
        return granted

    async def finish_step(self, finished: Finished) -> bool:
        """Keep the result. False: the claim was not this worker's any more."""
        return await self._finished[finished.app_id](finished)

    async def _finish(self, batch: Sequence[Finished]) -> Sequence[bool]:
        columns = (
            batch[0].app_id,
            [done.run_id for done in batch],
            [done.token for done in batch],
            [done.step for done in batch],
            [done.result for done in batch],
        )
        kept: Sequence[bool] = await self._insist(lambda: self._database.fetchval(_SQL["finish_steps"], *columns))
        return kept

    async def complete(self, claim: Claim) -> bool:
        """False: the claim was not this worker's any more."""
        return await self._completed[claim.run.app_id](claim)

    async def _complete(self, batch: Sequence[Claim]) -> Sequence[bool]:
        tokens = [claim.token for claim in batch]
        rows = await self._insist(
            lambda: self._database.fetch(_SQL["complete"], batch[0].run.app_id, _ids(batch), tokens)
        )
        done = {row[0]: row[1] for row in rows}
        return [done[token] for token in tokens]

    async def fail(self, claim: Claim, error: str) -> str | None:
        """The run's status now: `scheduled`, `failed` or `cancelled`; None: not this worker's any more."""
        text = _storable(error)
        status: str | None = await self._insist(
            lambda: self._database.fetchval(_SQL["fail"], claim.run.app_id, claim.run.id, claim.token, text)
        )
        return status

    async def heartbeat(self, claims: Sequence[Claim]) -> dict[UUID, str]:
        """Extend the leases, one claim a run. Returns the runs that must stop: `cancelled` or `lost`."""
        answers = await asyncio.gather(*(self._heartbeat(app_id, held) for app_id, held in _by_app(claims)))
        return {run_id: reason for stopped in answers for run_id, reason in stopped.items()}

    async def _heartbeat(self, app_id: str, claims: Sequence[Claim]) -> dict[UUID, str]:
        rows = await self._insist(
            lambda: self._background.fetch(
                _SQL["heartbeat"],
                app_id,
                _ids(claims),
                [claim.token for claim in claims],
                self._lease,
                timeout=self._lease.total_seconds() / 3,
            )
        )
        return {row["run_id"]: row["reason"] for row in rows}

    async def release(self, claims: Sequence[Claim]) -> None:
        """Give back runs that were not begun; their attempt does not count."""
        await asyncio.gather(*(self._release(app_id, held) for app_id, held in _by_app(claims)))

    async def _release(self, app_id: str, claims: Sequence[Claim]) -> None:
        tokens = [claim.token for claim in claims]
        await self._insist(lambda: self._database.fetchval(_SQL["release"], app_id, _ids(claims), tokens))

    async def _insist(self, call: Callable[[], Awaitable[Answer]]) -> Answer:
        pause = SHORTEST_PAUSE
        while True:
            try:
                return await call()
            except DatabaseError as error:
                if not may_pass(error):
                    raise
                level = logging.DEBUG if isinstance(error, Unreachable) else logging.WARNING
                logger.log(level, "%s goes on trying: %s", self._worker, error)
            await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 - spreads the attempts
            pause = min(pause * 2, LONGEST_PAUSE)


def may_pass(error: DatabaseError) -> bool:
    """Whether the same call may work later. A worker that gave up on a full disk would have to be restarted."""
    refused = isinstance(error.__cause__, asyncpg.DataError | asyncpg.ProgramLimitExceededError)
    return not isinstance(error, PermissionDenied) and not refused


def _ids(claims: Sequence[Claim]) -> list[UUID]:
    return [claim.run.id for claim in claims]


def _by_app(claims: Sequence[Claim]) -> list[tuple[str, list[Claim]]]:
    apps = dict.fromkeys(claim.run.app_id for claim in claims)
    return [(app_id, [claim for claim in claims if claim.run.app_id == app_id]) for app_id in apps]


def _storable(text: str) -> str:
    """What Postgres can keep: no NUL, no half of a surrogate pair, and an end."""
    readable = text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")
    return readable if len(readable) <= LONGEST_TEXT else f"{readable[: LONGEST_TEXT - 1]}…"
