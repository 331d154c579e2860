"""One app with every kind of run, the operations that meet on it, and what must hold afterwards."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from uuid import UUID, uuid4

import asyncpg

from secateur.cel import compile as compile_filter

_numbers = count(1)

COMMIT = """
select id from secateur.commit_cancellation(
  $1, $2, $3, $4, $5, $6, false, $7, $8::jsonb, 1, $9::jsonb, $10, null, 'python', 'tester', null, null)
"""


class GuaranteeBroken(AssertionError):
    """What the database's own record says against the guarantee."""


def event(vendor: str) -> str:
    return json.dumps({"name": "vendor/sync", "data": {"vendor_id": vendor}})


async def commit(
    connection: asyncpg.Connection,
    app: str,
    vendor: str | None,
    *,
    id: UUID | None = None,
    function: str | None = None,
    after: object = None,
    before: object = None,
    key: str | None = None,
) -> UUID:
    source = f"event.data.vendor_id == '{vendor}'" if vendor else None
    condition, parameters = compile_filter(source).condition.stored() if source else (None, {})
    request = json.dumps({"app_id": app, "function_id": function, "if": source})
    return await connection.fetchval(
        COMMIT, id or uuid4(), app, function, source, after, before, condition, json.dumps(parameters), request, key
    )


@dataclass
class Scene:
    """`acme` in the function `sync` is what the cancellation means; an older one means `initech`, all over the app."""

    url: str
    app: str = field(default_factory=lambda: f"app-{next(_numbers)}")
    cancellation: UUID = field(default_factory=uuid4)
    older: UUID | None = None
    spare: list[asyncpg.Connection] = field(default_factory=list)
    """Idle connections of earlier scenes, to be used again."""
    connections: list[asyncpg.Connection] = field(default_factory=list)
    held: dict[str, asyncpg.Record] = field(default_factory=dict)
    """The running run of each vendor whose lease goes on."""

    async def connect(self) -> asyncpg.Connection:
        connection = self.spare.pop() if self.spare else await asyncpg.connect(self.url)
        self.connections.append(connection)
        return connection

    async def populate(self, *, committed: bool) -> None:
        """Five running runs, two of them with an ended lease; a backlog of every kind; an older cancellation."""
        connection = await self.connect()
        for vendor in ("acme", "globex", "acme", "globex"):
            await self.enqueue(connection, "sync", vendor)
        for run in await connection.fetch("select * from secateur.claim($1, null, 4, 'early', '1 hour')", self.app):
            vendor = json.loads(run["event"])["data"]["vendor_id"]
            if vendor in self.held:
                await connection.execute(
                    "update secateur.runs set lease_expires_at = now() - interval '1 s' where id = $1", run["id"]
                )
            else:
                self.held[vendor] = run
        for vendor in ("acme", "globex", "acme", "initech", "acme", "globex"):
            await self.enqueue(connection, "sync", vendor)
        for vendor in ("acme", "globex", "initech"):
            await self.enqueue(connection, "other", vendor)
            await self.enqueue(connection, "sync", vendor, delay="1 hour")
            await self.enqueue(connection, "sync", vendor, delay="1 minute")
        await connection.execute(
            "update secateur.runs set scheduled_for = now()"
            " where app_id = $1 and scheduled_for < now() + interval '2 min'",
            self.app,
        )
        self.older = await commit(connection, self.app, "initech")
        if committed:
            await self.commit(connection)

    async def enqueue(self, connection: asyncpg.Connection, function: str, vendor: str, delay: str = "0") -> UUID:
        return await connection.fetchval(
            "select secateur.enqueue($1, $2, $3, clock_timestamp() + $4::text::interval)",
            *(self.app, function, event(vendor), delay),
        )

    # The operations that meet. Each is one call of one function, in a transaction of the caller's.

    async def claim(self, connection: asyncpg.Connection) -> None:
        await connection.fetch("select * from secateur.claim_batch($1, null, 50, 'meeting', '1 hour')", self.app)

    async def commit(self, connection: asyncpg.Connection) -> None:
        """Repeated under the same key, as after a lost connection."""
        await commit(connection, self.app, "acme", id=self.cancellation, function="sync", key=str(self.cancellation))

    async def overlap(self, connection: asyncpg.Connection) -> UUID:
        """Commit another cancellation, which means the same runs and more."""
        return await commit(connection, self.app, "acme")

    async def stop(self, connection: asyncpg.Connection) -> None:
        await connection.fetch("select secateur.stop_cancellation($1, 'tester')", self.cancellation)

    async def sweep(self, connection: asyncpg.Connection) -> asyncpg.Record:
        return await connection.fetchrow("select * from secateur.sweep_cancellation($1, 100)", self.cancellation)

    async def begin_step(self, connection: asyncpg.Connection) -> bool:
        return await self._of_held(connection, "begin_step($1, $2, 'next')")

    async def complete(self, connection: asyncpg.Connection) -> bool:
        return await self._of_held(connection, "complete($1, $2)")

    async def fail(self, connection: asyncpg.Connection) -> str:
        return await self._of_held(connection, "fail($1, $2, 'no luck')")

    async def release(self, connection: asyncpg.Connection) -> int:
        return await self._of_held(connection, "release(array[$1::uuid], array[$2::uuid])")

    async def enqueue_many(self, connection: asyncpg.Connection) -> None:
        await connection.fetch(
            "select secateur.enqueue_many($1, 'sync', $2::jsonb[])", self.app, [event("acme"), event("globex")]
        )

    async def _of_held(self, connection: asyncpg.Connection, call: str) -> object:
        run = self.held["acme"]
        return await connection.fetchval(f"select secateur.{call}", run["id"], run["claim_token"])

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

    async def settle(self, *, rounds: int = 30) -> None:
        """Work and sweep on until nothing is left to do."""
        connection = self.connections[0]
        for _ in range(rounds):
            await self._work(connection)
            states = [
                (await connection.fetchrow("select * from secateur.sweep_cancellation($1, 5)", id))["state"]
                for id in await self._committed(connection)
            ]
            if "active" not in states and not await self._waiting(connection):
                return
        raise GuaranteeBroken(f"it does not settle: {states}, {await self._waiting(connection)} runs wait")

    async def _work(self, connection: asyncpg.Connection) -> None:
        await connection.execute(
            "update secateur.runs set scheduled_for = now()"
            " where app_id = $1 and status = 'scheduled' and scheduled_for < now() + interval '1 min'",
            self.app,
        )
        await connection.fetch("select * from secateur.claim($1, null, 100, 'later', '1 hour')", self.app)
        for run in await connection.fetch(
            "select id, claim_token from secateur.runs where app_id = $1 and status = 'running'", self.app
        ):
            if await connection.fetchval("select secateur.begin_step($1, $2, 'last')", *run):
                await connection.fetchval("select secateur.complete($1, $2)", *run)

    async def _committed(self, connection: asyncpg.Connection) -> list[UUID]:
        return [
            row["id"]
            for row in await connection.fetch("select id from secateur.cancellations where app_id = $1", self.app)
        ]

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
    async def scene(self, *, committed: bool = False) -> AsyncIterator[Scene]:
        made = Scene(self.url, spare=self.spare)
        try:
            await made.populate(committed=committed)
            yield made
        except BaseException:
            for connection in made.connections:
                connection.terminate()
            raise
        self.spare.extend(made.connections)

    def close(self) -> None:
        for connection in self.spare:
            connection.terminate()
