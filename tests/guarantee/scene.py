"""One app with every kind of run, the operations that meet on it, and what must hold afterwards."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from uuid import UUID

import asyncpg
from operations import Cast, commit

from patience import eventually


class GuaranteeBroken(AssertionError):
    """What the database's own record says against the guarantee."""


SITUATIONS = ("before", "committed", "overlapping", "pending", "ended", "undone", "undone late")
"""How far it has come with the cancellation when the scene begins.

before: it is not committed. committed: it is active. overlapping: so is a newer one, which means the same runs and
more. pending: it is active, but was not in force so far, for a claim was open. ended: it is complete. undone: it was
swept, and is undone; its restore has not begun, and a newer cancellation is active which means some of its runs. undone
late: the newer one is complete."""

KEEP = "update secateur.retention set finished = '7 days', cancelled = '30 days' where finished = '0'"


@dataclass
class Scene(Cast):
    """What is in it, how it begins and ends, and how two operations meet in it."""

    url: str = ""
    spare: list[asyncpg.Connection] = field(default_factory=list)
    """Idle connections of earlier scenes, to be used again."""
    connections: list[asyncpg.Connection] = field(default_factory=list)

    async def connect(self) -> asyncpg.Connection:
        connection = self.spare.pop() if self.spare else await asyncpg.connect(self.url)
        self.connections.append(connection)
        return connection

    async def populate(self, situation: str) -> None:
        """Five running runs, two of them with an ended lease; a backlog of every kind; an older cancellation."""
        connection = await self.connect()
        await connection.execute(KEEP)
        await connection.execute("select secateur.ensure_function($1, 'empty')", self.app)
        await self.enqueue(connection, "sync", ["acme", "globex", "acme", "globex"])
        for run in await connection.fetch("select * from secateur.claim($1, null, 4, 'early', '1 hour')", self.app):
            vendor = json.loads(run["event"])["data"]["vendor_id"]
            if vendor in self.held:
                await connection.execute(
                    "update secateur.runs set lease_expires_at = now() - interval '1 s' where app_id = $1 and id = $2",
                    *(self.app, run["id"]),
                )
                self.lapsed[vendor] = run
            else:
                self.held[vendor] = run
        vendors = ("acme", "globex", "initech")
        queued = await self.enqueue(connection, "sync", ["acme", "globex", "acme", "initech", "acme", "globex"])
        self.waiting = queued[2]
        await self.enqueue(connection, "other", vendors)
        self.middle = await connection.fetchval("select clock_timestamp()")
        await self.enqueue(connection, "sync", vendors, delay="1 hour")
        await self.enqueue(connection, "sync", vendors, delay="1 minute")
        await connection.execute(
            "update secateur.runs set scheduled_for = now()"
            " where app_id = $1 and scheduled_for < now() + interval '2 min'",
            self.app,
        )
        self.older = await commit(connection, self.app, "initech")
        if situation == "pending":
            await self._commit_pending(connection)
        elif situation != "before":
            await self.commit(connection)
        if situation == "overlapping":
            self.newer = await self.overlap(connection)
        elif situation == "ended":
            await self.begin_step(connection)
            await self._sweep_to_the_end(connection, self.cancellation)
        elif situation.startswith("undone"):
            await self.sweep(connection)
            self.newer = await commit(connection, self.app, "acme", after=self.middle)
            await self.undo(connection)
            if situation == "undone late":
                await self._sweep_to_the_end(connection, self.newer)

    async def _commit_pending(self, connection: asyncpg.Connection) -> None:
        """While a claim of nothing is open, which makes the commit wait in vain for a quarter of a second."""
        worker = await self.connect()
        async with worker.transaction():
            await self.claim_nothing(worker)
            await self.commit(connection)

    async def _sweep_to_the_end(self, connection: asyncpg.Connection, id: UUID) -> None:
        for _ in range(10):
            if (await self.step("sweep", connection, id))["state"] == "complete":
                return
        raise AssertionError(f"the sweep of {id} does not come to its end")

    async def perform(self, connection: asyncpg.Connection, operation: str, pause_at: str | None = None) -> None:
        """The operation in its own transaction, pausing there if the session is to."""
        async with connection.transaction(isolation="read_committed"):
            if pause_at:
                await connection.execute("select set_config('secateur_test.pause_at', $1, true)", pause_at)
            await getattr(self, operation)(connection)
            await connection.execute("select secateur_test.reach('returned')")

    @asynccontextmanager
    async def paused(self, operation: str, function: str, point: str) -> AsyncIterator[None]:
        """While the block runs, the operation stands at that point of the function; then it goes on to its end."""
        session, watch = await self.connect(), await self.connect()
        pid = session.get_server_pid()
        place = point if point == "returned" else f"{function}: {point}"
        await watch.execute("select pg_advisory_lock(99001, $1)", pid)
        task = asyncio.create_task(self.perform(session, operation, place))
        try:
            await _until_waiting(watch, session, task)
            assert not task.done(), f"{operation} never reached {place!r}: {task.exception() or 'it ended'}"
            yield
        finally:
            await watch.execute("select pg_advisory_unlock(99001, $1)", pid)
        await task

    async def meet(self, operation: str, function: str, point: str, other: str) -> None:
        """Run the first up to the point, then the other until it ends or has to wait, then both to their ends."""
        session, watch = await self.connect(), await self.connect()
        async with self.paused(operation, function, point):
            task = asyncio.create_task(self.perform(session, other))
            await _until_waiting(watch, session, task)
        await task

    async def settle(self, *, rounds: int = 40) -> None:
        """Work, sweep and restore on until nothing is left to do."""
        connection = self.connections[0]
        await self.resume(connection)
        for nth in range(rounds):
            await self._work(connection)
            states = [await self._go_on(connection, row["id"]) for row in await self._committed(connection)]
            if not {"active", "restoring", "ending"} & set(states) and not await self._waiting(connection):
                return
            # Whoever comes below a floor unnoticed is found within a second or so.
            await asyncio.sleep(0 if nth < rounds // 2 else 0.1)
        raise GuaranteeBroken(f"it does not settle: {states}, {await self._waiting(connection)} runs wait")

    async def _go_on(self, connection: asyncpg.Connection, id: UUID) -> str:
        step = await self.step("sweep", connection, id, 8)
        if step["undecided"]:
            await connection.fetchval("select secateur.decide_slowly($1, $2)", self.app, id)
        return (await self.step("restore", connection, id, 8) if step["state"] == "restoring" else step)["state"]

    async def _work(self, connection: asyncpg.Connection) -> None:
        await connection.execute(
            "update secateur.runs set scheduled_for = now()"
            " where app_id = $1 and status = 'scheduled' and scheduled_for < now() + interval '1 min'",
            self.app,
        )
        await connection.fetch("select from secateur.claim($1, null, 100, 'later', '1 hour')", self.app)
        await connection.fetch(
            "select secateur.complete(app_id, id, claim_token) from secateur.runs"
            " where app_id = $1 and status = 'running' and secateur.begin_step(app_id, id, claim_token, 'last')",
            self.app,
        )

    async def _committed(self, connection: asyncpg.Connection) -> list[asyncpg.Record]:
        return await connection.fetch("select id from secateur.cancellations where app_id = $1", self.app)

    async def floors_may_rise(self, connection: asyncpg.Connection) -> None:
        """Wait until no run is so young that others may yet enter before it, which keeps the floors below it."""
        old = (
            "select not exists (select from secateur.runs"
            " where app_id = $1 and uuid_send(id) >= uuid_send(secateur.floor_lag()))"
        )
        await eventually(lambda: connection.fetchval(old, self.app), "the runs to be old enough")

    async def _waiting(self, connection: asyncpg.Connection) -> int:
        """Unfinished runs, other than those that are due in an hour."""
        return await connection.fetchval(
            "select count(*) from secateur.runs where app_id = $1 and (status in ('queued', 'running')"
            " or status = 'scheduled' and scheduled_for < now() + interval '1 min')",
            self.app,
        )

    async def verify(self) -> None:
        """Raises `GuaranteeBroken` with all that the ledger holds against it."""
        connection = self.connections[0]
        broken = [row[0] for row in await connection.fetch("select secateur_test.broken($1)", self.app)]
        if broken:
            raise GuaranteeBroken("\n".join(broken))


async def _until_waiting(watch: asyncpg.Connection, session: asyncpg.Connection, task: asyncio.Task[None]) -> None:
    """Until the session waits for a lock, of whatever kind, or its task is done."""
    pid = session.get_server_pid()
    while not task.done():
        if await watch.fetchval("select exists (select from pg_locks where pid = $1 and not granted)", pid):
            return
        await asyncio.sleep(0.002)


@dataclass(frozen=True)
class Stage:
    """An arena and the connections that its scenes share, one after the other."""

    url: str
    spare: list[asyncpg.Connection] = field(default_factory=list)

    @asynccontextmanager
    async def scene(self, situation: str = "before") -> AsyncIterator[Scene]:
        made = Scene(url=self.url, spare=self.spare)
        try:
            await made.populate(situation)
            yield made
        except BaseException:
            for connection in made.connections:
                connection.terminate()
            raise
        self.spare.extend(made.connections)

    def close(self) -> None:
        for connection in self.spare:
            connection.terminate()
