"""One batch of a sweep in another engine's queue; restores.py has those of a restore.

A batch is one transaction. It calls the ledger's functions and the engine's own statements. It locks the rows first and
decides afterwards, by a statement that reads them again. So it cancels nothing that was claimed or changed meanwhile.
It passes over rows that others hold, and comes back to them when nothing else is left.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from uuid import UUID

import asyncpg

from secateur.engines.foreign.batching import Batching
from secateur.engines.foreign.rules import JobRule
from secateur.engines.foreign.slow_jobs import IN_A_BATCH, TooLong, within
from secateur.engines.foreign.walks import MOST, Walk
from secateur.errors import DatabaseError, LockUnavailable
from secateur.ledger.steps import SweepStep
from secateur.postgres.database import Database
from secateur.runs import UNFINISHED, RunStatus
from secateur.states import State

if TYPE_CHECKING:
    from secateur.engines.foreign.source import ForeignSource

FOUND_AT_ONCE = 50_000
"""Runs that one look for matching ones finds: the look may read the whole backlog, so it is not for every batch."""

LOOK_SECONDS = 20.0
"""For the conditions of such a look."""

ASKED_SINGLY = 500_000
"""Runs of which a sweep keeps the ids, because a look at them all takes long."""

RIGHTS_SECONDS = 60.0
"""For so long a role that may cancel is not asked again: a commit waits for the answer. Where it has lost the rights
since, the sweep fails and says so."""

_NONE = "'{}'"
"""No ids, and no pre-images."""


@dataclass(slots=True)
class _Taken:
    """What a batch has dealt with."""

    met: int = 0
    """Runs that its cancellation had not met before."""
    passed: Sequence[str] = ()
    """Runs that match, and that others hold."""


class Batches(Batching):
    """The batches of one queue. Each raises `DatabaseError`, and has then done nothing."""

    def __init__(self, database: Database, source: ForeignSource) -> None:
        super().__init__(database, source)
        self._walks: dict[UUID, Walk] = {}
        self._may_until = float("-inf")

    async def sweep(self, app_id: str, rule: JobRule, batch: int) -> SweepStep:
        """Cancel up to `batch` runs, and see what became of those that ran. `app_id` is the name in the ledger."""
        trying: list[str] = []
        try:
            step = await self._sweep(app_id, rule, batch, trying)
            if step is None:
                await self._look(rule)
                step = await self._sweep(app_id, rule, batch, trying)
        except TooLong:
            return await self._put_off(app_id, rule, trying)
        except LockUnavailable as error:
            # What the batch had taken from its walk is not cancelled.
            self._walks.pop(rule.id, None)
            return await self._held_up(State.ACTIVE, trying, error)
        except BaseException:
            self._walks.pop(rule.id, None)
            raise
        if step is None:
            return SweepStep(State.ACTIVE, busy=True)  # another process has begun the next walk meanwhile
        if step.state != State.ACTIVE:
            self._walks.pop(rule.id, None)
        return step

    async def _put_off(self, app_id: str, rule: JobRule, ids: Sequence[str]) -> SweepStep:
        """The condition took too long on these: the next batch takes fewer. A single one is decided under no lock."""
        walk = self._walks.get(rule.id)
        if walk is not None and walk.most > 1:
            walk.put_back(ids)
            return SweepStep(State.ACTIVE)
        await self._slow.note(app_id, rule.id, ids)
        return SweepStep(State.ACTIVE, undecided=len(ids))

    async def decide(self, app_id: str, rule: JobRule) -> int:
        """See `Ledger.decide`."""
        verdicts = await self._slow.decide(app_id, rule)
        if not all(verdicts.values()):
            async with self._database.transaction() as connection:
                await self._wake(connection, app_id)
        return len(verdicts)

    async def _sweep(self, app_id: str, rule: JobRule, batch: int, trying: list[str]) -> SweepStep | None:
        """None if it has to look for matching runs first. `trying` becomes the runs that it locks."""
        async with self._transaction() as connection:
            begun = await connection.fetchrow(self._source.sql("begin_sweep"), app_id, rule.id)
            if begun["state"] != State.ACTIVE or begun["busy"]:
                idle = begun["state"] == State.ENDING
                return SweepStep(begun["state"], busy=begun["busy"], idle=idle, wait=begun["wait"])
            walk = self._walk(rule, begun["pass"]) if begun["walks"] else None
            if walk is not None and not (walk.found or walk.ended):
                return None
            slow = await self._slow.known(connection, app_id, rule.id) if begun["has_slow"] else {}
            settled = await self._settle(connection, app_id, rule, begun["open"])
            matching = [each for each, matches in slow.items() if matches][:batch]
            walked = [] if walk is None else walk.take(min(MOST, batch, begun["most"] or MOST))
            trying[:] = dict.fromkeys(each for each in [*settled, *walked] if each not in slow)
            taken = await self._take(connection, app_id, rule, trying, matching)
            if walk is not None:
                walk.passed.extend({*walked} & {*taken.passed})
            if not taken.passed or taken.met or (walk is not None and walk.found and not walk.again):
                ended = walk is not None and walk.is_over
                values = (app_id, rule.id, taken.met, walk is not None, ended)
                return SweepStep(**await connection.fetchrow(self._source.sql("end_sweep"), *values))
        return await self._held_up(State.ACTIVE, taken.passed)

    def _walk(self, rule: JobRule, number: int) -> Walk:
        walk = self._walks.get(rule.id)
        if walk is None or walk.number != number:
            walk = self._walks[rule.id] = Walk(number)
        return walk

    async def _look(self, rule: JobRule) -> None:
        """Find runs for its walk. That may read the whole backlog: no lock is held, so that a stop need not wait.

        If the condition takes long, the batches ask it of every run. But not in a backlog that is too large for that.
        """
        walk = self._walks[rule.id]
        try:
            found = await self._matching(rule, FOUND_AT_ONCE, LOOK_SECONDS)
            walk.extend(found, ended=len(found) < FOUND_AT_ONCE)
        except TooLong:
            every = await self._matching(replace(rule, filter=None), ASKED_SINGLY + 1, LOOK_SECONDS)
            if len(every) <= ASKED_SINGLY:
                walk.extend(every, ended=True)
            else:
                found = await self._matching(rule, FOUND_AT_ONCE, None)
                walk.extend(found, ended=len(found) < FOUND_AT_ONCE)

    async def _matching(self, rule: JobRule, most: int, seconds: float | None) -> list[str]:
        """Raises `TooLong`."""
        async with self._database.transaction() as connection, within(connection, seconds):
            await connection.execute(self._source.sql("plan_for_values"))
            return await self._rules.matching(connection, rule, most)

    async def _settle(
        self, connection: asyncpg.Connection, app_id: str, rule: JobRule, open: Sequence[str]
    ) -> list[str]:
        """Note which of the running runs that it waits for have ended. Returns those that wait again."""
        if not open:
            return []
        found = await self._rules.states_of(connection, open)
        if left := [each for each in open if each not in found]:
            found |= await self._rules.states_of_gone(connection, left)
        statuses = {each: RunStatus(found[each]["status"]) if each in found else None for each in open}
        ended = {
            each: "stopped" if status is RunStatus.CANCELLED else "finished_first"
            for each, status in statuses.items()
            if status not in UNFINISHED
        }
        if ended:
            settle = self._source.sql("settle")
            await connection.execute(settle, app_id, rule.id, list(ended), list(ended.values()))
        return [each for each, status in statuses.items() if status in (RunStatus.QUEUED, RunStatus.SCHEDULED)]

    async def _take(
        self, connection: asyncpg.Connection, app_id: str, rule: JobRule, ids: Sequence[str], matching: Sequence[str]
    ) -> _Taken:
        """Cancels those of the runs that it matches, and asks running ones to stop, but for those that others hold.

        That it matches the runs of `matching` is known. Raises `TooLong`.
        """
        if not ids and not matching:
            return _Taken()
        held = await self._lock_free(connection, [*ids, *matching])
        async with within(connection, IN_A_BATCH):
            rows = [*await self._rules.matching_of(connection, rule, ids)]
        if matching:
            whatever_it_says = replace(rule, filter=None)
            known = await self._rules.matching_of(connection, whatever_it_says, matching)
            await self._slow.gone(connection, app_id, rule.id, sorted({*matching} - {row["id"] for row in known}))
            rows += known
        passed = [row["id"] for row in rows if row["id"] not in held]
        rows = [row for row in rows if row["id"] in held]
        return _Taken(await self.cancel(connection, app_id, rule.id, rows) if rows else 0, passed)

    async def lock(self, connection: asyncpg.Connection, run_id: str) -> None:
        """Locks a run, and waits for whoever has it."""
        for sql in self._installation.each("lock"):
            await connection.fetch(sql, [run_id])

    async def cancel(
        self, connection: asyncpg.Connection, app_id: str, cancellation_id: UUID, rows: Sequence[Any]
    ) -> int:
        """Cancels locked rows (id, function_id, status) that match, as `take` does."""
        ids, functions, running = [], [], []
        for row in rows:
            ids.append(row["id"])
            functions.append(row["function_id"])
            running.append(row["status"] == RunStatus.RUNNING)
        met, changed = 0, set[str]()
        for sql in self._installation.each("cancel"):
            taking = and_then(sql, self._source.sql("take_cancelled"))
            row = await connection.fetchrow(taking, ids, self._stops, app_id, cancellation_id, functions, running)
            if row is not None:
                met += row["met"]
                changed.update(row["ids"])
        left = [place for place, run_id in enumerate(ids) if run_id not in changed]
        if waiting := [ids[place] for place in left if not running[place]]:
            raise DatabaseError(
                f"{len(waiting)} runs of {self._source.name} could not be cancelled, such as {waiting[0]}"
            )
        if left:  # they run, and nothing was written to them
            going_on = [[of[place] for place in left] for of in (ids, functions)]
            nothing = [None] * len(left)
            met += await connection.fetchval(
                self._source.sql("take"), app_id, cancellation_id, *going_on, nothing, [True] * len(left)
            )
        # Some workers take a row that was cancelled under their eyes for an empty queue.
        await self._wake(connection, app_id)
        return met

    async def require_rights(self) -> None:
        """Raises `PermissionDenied` if this role may not cancel. Changes nothing, so that any session may ask."""
        if time.monotonic() < self._may_until:
            return
        statements = [sql for name in ("lock", "cancel", "restore") for sql in self._installation.each(name)]
        # To explain a statement takes the rights of executing it. All at once, since a commit waits for the answer.
        await self._database.execute(
            "; ".join(f"explain {sql.replace('$1', _NONE).replace('$2', 'false')}" for sql in statements)
        )
        self._may_until = time.monotonic() + RIGHTS_SECONDS


def and_then(statement: str, after: str) -> str:
    """An engine's statement with one after it that reads its rows: there they are `cancelled`."""
    before, last, rows = statement.rpartition("\n)\nselect ")
    if not last:
        raise ValueError(f"it does not end with a select of its own: {statement}")
    return f"{before}\n), cancelled as (\nselect {rows}\n)\n{after}"
