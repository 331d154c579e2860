"""One batch of a restore in another engine's queue: it puts back what an undone cancellation took, or hands it over.

The conditions of the other cancellations are evaluated while the batch holds rows, and the app's lock, shared. So they
have as little time as those of a sweep's batch. If that is too little, the next batches take fewer runs. A single run
that takes longer stays cancelled while it is judged with more time and under no lock.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from uuid import UUID

import asyncpg

from secateur.engines.foreign.batching import Batching
from secateur.engines.foreign.rules import JobRule, rule_of
from secateur.engines.foreign.slow_jobs import IN_A_BATCH, TooLong, within
from secateur.engines.foreign.walks import MOST
from secateur.errors import LockUnavailable
from secateur.ledger.steps import SweepStep
from secateur.postgres.database import Database
from secateur.states import State

if TYPE_CHECKING:
    from secateur.engines.foreign.source import ForeignSource

MOST_PACES = 1_000
"""Restores of which something is kept in mind."""

SHORTEST = 0.01
"""Seconds that a condition has, however long those before it took."""


@dataclass(slots=True)
class _Pace:
    """What a restore has learnt of the conditions of others."""

    most: int = MOST
    """How many runs its next batch takes."""
    verdicts: dict[tuple[UUID, str], bool | None] = field(default_factory=dict)
    """Whether another cancellation matches a run, where that took long. None: that cannot be told in any time."""


class _TooLongOn(Exception):
    """The condition of the rule took too long on these runs. The batch has done nothing."""

    def __init__(self, rule: JobRule, ids: Sequence[str]) -> None:
        self.rule = rule
        self.ids = ids


class Restores(Batching):
    """The restores of one queue. Each raises `DatabaseError`, and has then done nothing."""

    def __init__(self, database: Database, source: ForeignSource) -> None:
        super().__init__(database, source)
        self._paces: dict[UUID, _Pace] = {}

    async def restore(self, app_id: str, cancellation_id: UUID, batch: int) -> SweepStep:
        """Puts back up to `batch` runs of an undone cancellation, or hands them over to others that match them."""
        if len(self._paces) >= MOST_PACES:
            self._paces.clear()
        pace = self._paces.setdefault(cancellation_id, _Pace())
        trying: list[str] = []
        try:
            async with self._transaction() as connection:
                step = await self._restore(connection, app_id, cancellation_id, min(batch, pace.most), pace, trying)
        except _TooLongOn as slow:
            await self._slow_down(pace, slow)
            return SweepStep(State.RESTORING)
        except LockUnavailable as error:
            return await self._held_up(State.RESTORING, trying, error)
        pace.most = min(MOST, 2 * pace.most)
        if step is not None and step.state != State.RESTORING:
            self._paces.pop(cancellation_id, None)
        return step or await self._held_up(State.RESTORING, trying)

    async def _slow_down(self, pace: _Pace, slow: _TooLongOn) -> None:
        """The next batch takes fewer runs. A single one is judged under no lock; meanwhile it stays cancelled."""
        if len(slow.ids) > 1:
            pace.most = max(1, len(slow.ids) // 8)
        else:
            pace.verdicts[slow.rule.id, slow.ids[0]] = await self._slow.verdict_of_ended(slow.rule, slow.ids[0])

    async def _restore(
        self,
        connection: asyncpg.Connection,
        app_id: str,
        cancellation_id: UUID,
        batch: int,
        pace: _Pace,
        trying: list[str],
    ) -> SweepStep | None:
        """None if others hold all of the runs, which `trying` becomes."""
        begun = await connection.fetchrow(self._source.sql("begin_restore"), app_id, cancellation_id, batch)
        if begun["state"] != State.RESTORING or begun["busy"] or begun["job_ids"] is None:
            idle = begun["wait"] is not None or begun["state"] == State.ENDING
            return SweepStep(begun["state"], busy=begun["busy"], idle=idle, wait=begun["wait"])
        pres = dict(zip(begun["job_ids"], begun["pres"] or (), strict=True))
        trying[:] = pres
        others = [rule_of(each, self._installation.name) for each in begun["others"]]
        held = await self._lock_free(connection, trying)
        # What is not held is deleted, or somebody else has it.
        passed = await self.states_of(connection, [each for each in trying if each not in held])
        if passed and len(passed) == len(pres):
            return None
        pres = {each: pre for each, pre in pres.items() if each not in passed}
        owners = await self._owners(connection, others, pres, pace)
        back: list[str] = []
        told: dict[str, str | None] = {}
        for job_id, reason in await self._put_back(
            connection, {each: pres[each] for each in pres if each not in owners}
        ):
            told[job_id] = reason
            if reason is None:
                back.append(job_id)
        taken = await self._take_back(connection, others, back, pace)
        owners |= {job_id: owner for job_id, (owner, _) in taken.items()}
        pres |= {job_id: pre for job_id, (_, pre) in taken.items()}
        if back:
            await self._wake(connection, app_id)
        outcomes = [_outcome(each, owners, told) for each in pres]
        row = await connection.fetchrow(
            self._source.sql("end_restore"),
            app_id,
            cancellation_id,
            list(pres),
            [outcome for outcome, _ in outcomes],
            [reason for _, reason in outcomes],
            [owners.get(each) for each in pres],
            list(pres.values()),
        )
        return SweepStep(**row)

    async def _owners(
        self, connection: asyncpg.Connection, others: Sequence[JobRule], ids: Collection[str], pace: _Pace
    ) -> dict[str, UUID]:
        """For each cancelled run that another cancellation matches, the oldest such cancellation."""
        owners: dict[str, UUID] = {}
        until = time.monotonic() + IN_A_BATCH
        for rule in others:
            left = [each for each in ids if each not in owners]
            # One that cannot be judged goes over as well: only what nobody else matches may come back.
            owners |= {each: rule.id for each in left if pace.verdicts.get((rule.id, each), False) is not False}
            owners |= dict.fromkeys(await self._matched(connection, rule, left, pace, until, unfinished=False), rule.id)
        return owners

    async def _take_back(
        self, connection: asyncpg.Connection, others: Sequence[JobRule], back: Sequence[str], pace: _Pace
    ) -> dict[str, tuple[UUID, str]]:
        """Cancels again what came back although another cancellation matches it: a deleted row cannot be judged."""
        taken: dict[str, tuple[UUID, str]] = {}
        until = time.monotonic() + IN_A_BATCH
        for rule in others:
            left = [each for each in back if each not in taken]
            if found := await self._matched(connection, rule, left, pace, until, unfinished=True):
                changed = await self._changed(connection, found)
                taken |= {job_id: (rule.id, row["pre"]) for job_id, row in changed.items()}
        return taken

    async def _matched(
        self,
        connection: asyncpg.Connection,
        rule: JobRule,
        ids: Sequence[str],
        pace: _Pace,
        until: float,
        *,
        unfinished: bool,
    ) -> list[str]:
        """Those that the rule matches, of those on which it does not take long. Raises `_TooLongOn`."""
        asked = [each for each in ids if (rule.id, each) not in pace.verdicts]
        if not asked:
            return []
        try:
            async with within(connection, max(SHORTEST, until - time.monotonic())):
                rows = await self._rules.matching_of(connection, rule, asked, unfinished=unfinished)
        except TooLong as error:
            raise _TooLongOn(rule, asked) from error
        return [row["id"] for row in rows]

    async def _put_back(self, connection: asyncpg.Connection, pres: dict[str, str]) -> Iterable[tuple[str, str | None]]:
        """Each run, and why it is not back. Goes one by one if another job takes one of their keys at this moment."""
        if not pres:
            return []
        try:
            async with connection.transaction():
                return await self._restored(connection, pres)
        except asyncpg.UniqueViolationError as error:
            if len(pres) == 1:
                return [(each, f"another job has what only one may have: {error.detail or error}") for each in pres]
        return [outcome for job_id, pre in pres.items() for outcome in await self._put_back(connection, {job_id: pre})]

    async def _restored(self, connection: asyncpg.Connection, pres: dict[str, str]) -> list[tuple[str, str | None]]:
        found: dict[str, str | None] = {}
        for sql in self._installation.each("restore"):
            found |= {row["id"]: row["outcome"] for row in await connection.fetch(sql, list(pres.values()))}
        return [(each, found.get(each, "the queue no longer has it")) for each in pres]


def _outcome(job_id: str, owners: dict[str, UUID], told: dict[str, str | None]) -> tuple[str, str | None]:
    if job_id in owners:
        return "handed_over", f"cancellation {owners[job_id]} matches it too"
    reason = told.get(job_id)
    return ("restored", None) if reason is None else ("left", reason)
