"""Jobs on which a condition takes long: evaluated one by one, while nobody waits. See sql/slow_jobs.sql."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from uuid import UUID

import asyncpg

from secateur.engines.foreign.rules import JobRule, RuleReader
from secateur.engines.foreign.source import ForeignSource
from secateur.errors import QueryTimeout
from secateur.postgres.database import Database
from secateur.postgres.statements import Statements

IN_A_BATCH = 0.5
"""Seconds for all conditions of a batch. A stop waits for it."""

FOR_ONE = 10.0
"""Seconds for one job, under no lock."""

AT_A_TIME = 2.0
"""Seconds after which no further job is begun."""

MOST = 1_000

TOO_LONG = "SC408"
"""What the conditions raise after the deadline; see cel_boxes.sql."""


_SQL = Statements.load("secateur.engines.foreign", "foreign.sql")


class TooLong(Exception):
    """The conditions of a batch took too long. It has done nothing."""


@asynccontextmanager
async def within(connection: asyncpg.Connection, seconds: float | None) -> AsyncIterator[None]:
    """Raises `TooLong` if the conditions that are evaluated in the block take longer. In an open transaction."""
    await connection.execute(_SQL["limit_conditions"], seconds)
    try:
        yield
    except asyncpg.PostgresError as error:
        if error.sqlstate != TOO_LONG:
            raise
        raise TooLong from error


class SlowJobs:
    """Those of one queue."""

    def __init__(self, database: Database, source: ForeignSource) -> None:
        self._database = database
        self._source = source

    async def known(self, connection: asyncpg.Connection, app_id: str, cancellation_id: UUID) -> dict[str, bool | None]:
        """Whether the cancellation matches those that are written down for it; None: that is not known yet."""
        rows = await connection.fetch(self._source.sql("slow"), app_id, cancellation_id)
        return {row["job_id"]: row["verdict"] for row in rows}

    async def note(self, app_id: str, cancellation_id: UUID, ids: Sequence[str]) -> None:
        """These are to be decided: a batch did not get through them."""
        await self._database.execute(self._source.sql("note_slow"), app_id, cancellation_id, list(ids))

    async def decide(self, app_id: str, rule: JobRule) -> dict[str, bool]:
        """Whether the rule matches, for as many jobs as there is time for. Writes that down."""
        found = await self._database.fetch(self._source.sql("to_decide"), app_id, rule.id, MOST)
        verdicts: dict[str, bool | None] = {}
        until = time.monotonic() + AT_A_TIME
        for row in found:
            if time.monotonic() > until:
                break
            verdicts[row["job_id"]] = await self._verdict(rule, row["job_id"])
        if verdicts:
            decided = (app_id, rule.id, list(verdicts), list(verdicts.values()))
            await self._database.execute(self._source.sql("decide"), *decided)
        return {job_id: verdict for job_id, verdict in verdicts.items() if verdict is not None}

    async def _verdict(self, rule: JobRule, job_id: str) -> bool | None:
        """None if it takes too long. A job that has left the queue is not matched."""
        return await self._judged(rule, job_id, unfinished=True)

    async def verdict_of_ended(self, rule: JobRule, job_id: str) -> bool | None:
        """Whether the rule matches a cancelled job. None if it takes too long, or the job cannot be read now: some
        engines delete what is cancelled, or take it off its queue."""
        scope = replace(rule, filter=None)
        return await self._judged(rule, job_id, unfinished=False) if await self._judged(scope, job_id) else None

    async def _judged(self, rule: JobRule, job_id: str, *, unfinished: bool = False) -> bool | None:
        try:
            async with self._database.transaction() as connection, within(connection, FOR_ONE):
                await connection.execute(self._source.sql("plan_for_values"))
                reader = RuleReader(self._source, self._source.installation)
                return bool(await reader.matching_of(connection, rule, [job_id], unfinished=unfinished))
        except (TooLong, QueryTimeout):
            return None

    async def gone(
        self, connection: asyncpg.Connection, app_id: str, cancellation_id: UUID, ids: Sequence[str]
    ) -> None:
        """These have left the queue: nothing is to be done about them any more."""
        if ids:
            none = [False] * len(ids)
            await connection.execute(self._source.sql("decide"), app_id, cancellation_id, list(ids), none)
