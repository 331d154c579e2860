"""A worker's claims do not keep the app's lock until they are on disk; the worker waits for that before it acts."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from uuid import uuid4

import asyncpg
import pytest

from patience import PATIENCE, eventually
from secateur.engines.native.claims import Claims
from secateur.engines.native.functions import App
from secateur.errors import Unreachable
from secateur.postgres.database import Database
from secateur.postgres.embedded import EmbeddedPostgres
from servers import kill_everything, with_schema

CLAIM = "select * from secateur.complete_and_claim('billing', $1, $2, null, 1, 'w', '1 hour', durable => {})"
COMMIT = (
    "select in_force_at is not null from secateur.commit_cancellation($1, 'billing', null, 'true', null, null, false,"
    " 'true', '{}', 1, '{}', null, null, 'python', 'tester', null, null)"
)
FLUSH = "select secateur.flush('billing', $1, $2)"


@pytest.fixture
async def server() -> AsyncIterator[EmbeddedPostgres]:
    """With a queue of three runs."""
    with EmbeddedPostgres() as server:
        await with_schema(server.url)
        async with connected(server) as connection:
            events = [json.dumps({"n": n}) for n in range(3)]
            await connection.execute("select secateur.enqueue_many('billing', 'charge', $1::jsonb[])", events)
        yield server


@asynccontextmanager
async def connected(server: EmbeddedPostgres, **settings: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(server.url, server_settings=settings)
    try:
        yield connection
    finally:
        connection.terminate()


@asynccontextmanager
async def never_confirmed(connection: asyncpg.Connection) -> AsyncIterator[None]:
    """Whoever waits for a flush waits for a replica that does not exist."""

    async def wait_for(names: str) -> None:
        await connection.execute(f"alter system set synchronous_standby_names = '{names}'")
        await connection.execute("select pg_reload_conf()")

        async def heeded() -> bool:
            return await connection.fetchval("show synchronous_standby_names") == names

        await eventually(heeded, "the new setting")

    await wait_for("nobody")
    try:
        yield
    finally:
        await wait_for("")


async def waits_for_the_flush(connection: asyncpg.Connection, pid: int) -> None:
    async def waiting() -> bool:
        return await connection.fetchval("select wait_event from pg_stat_activity where pid = $1", pid) == "SyncRep"

    await eventually(waiting, "a flush that waits")


async def test_a_commit_does_not_wait_for_the_flush_of_claims_and_steps(server: EmbeddedPostgres) -> None:
    async with (
        connected(server) as worker,
        connected(server, synchronous_commit="local") as operator,
        asyncio.timeout(PATIENCE),
    ):
        pid = worker.get_server_pid()
        async with never_confirmed(operator):
            run = await worker.fetchrow(CLAIM.format("false"), [], [])
            held = (run["id"], run["claim_token"])
            assert await worker.fetchval("select secateur.begin_step('billing', $1, $2, 'one', false)", *held)
            flushing = asyncio.create_task(worker.fetchval(FLUSH, *held))
            await waits_for_the_flush(operator, pid)
            assert await operator.fetchval(COMMIT, uuid4()), "it is in force at once"
            assert not flushing.done()
            asked = "select count(*) from secateur.cancel_requests where run_id = $1"
            assert await operator.fetchval(asked, run["id"]) == 1, "what was claimed is visible"
        assert await flushing == "running"


async def test_a_claim_that_is_to_be_durable_returns_when_it_is(server: EmbeddedPostgres) -> None:
    """As callers of SQL expect it. Its lock is held until then, so the commit is pending."""
    async with (
        connected(server) as worker,
        connected(server, synchronous_commit="local") as operator,
        asyncio.timeout(PATIENCE),
    ):
        async with never_confirmed(operator):
            claiming = asyncio.create_task(
                worker.fetch("select * from secateur.claim('billing', null, 1, 'w', '1 min')")
            )
            await waits_for_the_flush(operator, worker.get_server_pid())
            assert not await operator.fetchval(COMMIT, uuid4())
        assert len(await claiming) == 1


@asynccontextmanager
async def crash_after(server: EmbeddedPostgres, connection: asyncpg.Connection) -> AsyncIterator[None]:
    """Nothing is written down within the block for which nobody waits."""
    writer = await connection.fetchval("select pid from pg_stat_activity where backend_type = 'walwriter'")
    os.kill(writer, signal.SIGSTOP)
    try:
        yield
    finally:
        await asyncio.to_thread(kill_everything, server)
    await asyncio.to_thread(server.start)


async def test_a_crash_takes_back_what_was_not_flushed_and_the_worker_is_told(server: EmbeddedPostgres) -> None:
    async with connected(server) as worker:
        flushed = await worker.fetchrow(CLAIM.format("false"), [], [])
        assert await worker.fetchval(FLUSH, flushed["id"], flushed["claim_token"]) == "running"
        async with crash_after(server, worker):
            # It completes that run, and claims another: both or nothing.
            lost = await worker.fetchrow(CLAIM.format("false"), [flushed["id"]], [flushed["claim_token"]])
    async with connected(server) as worker:
        assert await worker.fetchval(FLUSH, lost["id"], lost["claim_token"]) is None
        assert await worker.fetchval(FLUSH, flushed["id"], flushed["claim_token"]) == "running"
        async with crash_after(server, worker):
            again = await worker.fetchrow(CLAIM.format("false"), [flushed["id"]], [flushed["claim_token"]])
            assert again["id"] == lost["id"], "it was never anybody's"
            assert await worker.fetchval(FLUSH, again["id"], again["claim_token"]) == "running"
    async with connected(server) as worker:
        assert await worker.fetchval(FLUSH, again["id"], again["claim_token"]) == "running"
        assert await worker.fetchval(FLUSH, flushed["id"], flushed["claim_token"]) == "completed"


@asynccontextmanager
async def claiming(server: EmbeddedPostgres) -> AsyncIterator[tuple[Claims, App]]:
    """The claims of a worker."""
    app = App("billing")

    @app.function(id="charge")
    async def charge(run: object) -> None:
        pass

    async with Database.connect(server.url, application_name="claiming") as database:
        claims = Claims(database, "w", timedelta(minutes=1))
        await claims.register(app.functions["charge"])
        yield claims, app
        claims.close()


async def pid_of_the_claim(connection: asyncpg.Connection) -> int:
    pid = "select pid from pg_stat_activity where application_name = 'claiming' and wait_event = 'SyncRep'"

    async def waits() -> int | None:
        return await connection.fetchval(pid)

    return await eventually(waits, "a claim that waits for its flush")


async def test_a_commit_does_not_wait_for_the_flush_of_a_workers_claim(server: EmbeddedPostgres) -> None:
    """The worker makes one call, which returns when the claim is on disk."""
    async with (
        connected(server, synchronous_commit="local") as operator,
        claiming(server) as (claims, app),
        asyncio.timeout(PATIENCE),
    ):
        async with never_confirmed(operator):
            task = asyncio.create_task(claims.claim("billing", dict(app.functions), 3))
            await pid_of_the_claim(operator)
            assert await operator.fetchval(COMMIT, uuid4()), "it is in force at once"
            assert await operator.fetchval("select count(*) from secateur.cancel_requests") == 3
            assert not task.done(), "it is not on disk"
        batch = await task
        assert (len(batch.claims), batch.drained) == (3, False)
        # Nothing was claimed or completed: there is nothing to wait for.
        async with never_confirmed(operator):
            assert (await claims.claim("billing", dict(app.functions), 3)).drained


async def test_a_worker_begins_nothing_whose_flush_was_not_answered(server: EmbeddedPostgres) -> None:
    """And what it has completed it reports again."""
    async with (
        connected(server, synchronous_commit="local") as operator,
        claiming(server) as (claims, app),
        asyncio.timeout(PATIENCE),
    ):
        (first,) = (await claims.claim("billing", dict(app.functions), 1)).claims
        async with never_confirmed(operator):
            reporting = asyncio.create_task(claims.complete(first))
            await asyncio.sleep(0)
            task = asyncio.create_task(claims.claim("billing", dict(app.functions), 1))
            await operator.fetchval("select pg_terminate_backend($1)", await pid_of_the_claim(operator))
            with pytest.raises(Unreachable):
                await task
        assert await reporting is True, "asked again, and it was completed"
