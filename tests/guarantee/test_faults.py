"""What is left when a process dies in the middle: nothing half done, and somebody else goes on."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import asyncpg
import pytest
import racer
from arena import points
from operations import commit
from scene import Stage

APP = racer.APPS[0]


@contextmanager
def process(url: str, role: str) -> Iterator[subprocess.Popen[str]]:
    started = subprocess.Popen([sys.executable, racer.__file__, role, url, "1"], stdout=subprocess.PIPE, text=True)
    try:
        yield started
    finally:
        started.kill()
        started.wait()


@pytest.fixture
async def connection(database_url: str) -> Any:
    connection = await asyncpg.connect(database_url)
    yield connection
    connection.terminate()


async def enqueue(connection: asyncpg.Connection, vendors: list[str]) -> None:
    events = [json.dumps({"data": {"vendor_id": vendor}}) for vendor in vendors]
    await connection.fetch("select secateur.enqueue_many($1, 'sync', $2::jsonb[])", APP, events)


async def sweep(connection: asyncpg.Connection, id: object, batch: int = 1000) -> asyncpg.Record:
    return await connection.fetchrow("select * from secateur.sweep_cancellation($1, $2, $3)", APP, id, batch)


async def tallies(connection: asyncpg.Connection, id: object) -> dict[str, int]:
    return dict(
        await connection.fetchrow(
            "select coalesce(sum(requested), 0)::int as requested, coalesce(sum(cancelled), 0)::int as cancelled,"
            " coalesce(sum(finished_first), 0)::int as finished_first, coalesce(sum(stopping), 0)::int as stopping"
            " from secateur.cancellation_tallies where cancellation_id = $1",
            id,
        )
    )


async def test_another_sweeper_goes_on_where_one_was_killed(database_url: str, connection: asyncpg.Connection) -> None:
    await enqueue(connection, ["acme", "globex"] * 20_000)
    id = await commit(connection, APP, "acme")
    with process(database_url, "sweeper") as sweeper:
        while (await tallies(connection, id))["cancelled"] < 1000:
            assert sweeper.poll() is None
            await asyncio.sleep(0.002)
        sweeper.kill()
        sweeper.wait()
    done = (await tallies(connection, id))["cancelled"]
    assert 1000 <= done < 20_000
    assert await connection.fetchval("select run_id is not null from secateur.sweeps") or done % 50 == 0
    steps = 0
    while (await sweep(connection, id))["state"] == "active":
        steps += 1
        assert steps < 200
    assert await tallies(connection, id) == {"requested": 0, "cancelled": 20_000, "finished_first": 0, "stopping": 0}
    rows = await connection.fetch("select status, count(*) from secateur.runs group by status")
    assert dict(rows) == {"cancelled": 20_000, "queued": 20_000}


async def test_a_killed_workers_runs_are_cancelled_or_retried(
    database_url: str, connection: asyncpg.Connection
) -> None:
    await enqueue(connection, ["acme", "globex"] * 5)
    with process(database_url, "hanging") as worker:
        assert worker.stdout is not None
        held = json.loads(await asyncio.to_thread(worker.stdout.readline))
    assert len(held) == 10
    id = await commit(connection, APP, "acme")
    assert (await sweep(connection, id))["state"] == "active"
    assert (await tallies(connection, id))["stopping"] == 5
    claim = (
        "select id, attempt, event #>> '{data,vendor_id}' as vendor from secateur.claim($1, null, 50, 'next', '1 min')"
    )
    retried: list[asyncpg.Record] = []
    while len(retried) < 5:
        retried += await connection.fetch(claim, APP)
        await asyncio.sleep(0.05)
    assert {(run["attempt"], run["vendor"]) for run in retried} == {(2, "globex")}
    assert not await connection.fetch(claim, APP)
    while (await sweep(connection, id))["state"] == "active":
        await asyncio.sleep(0.02)
    assert await tallies(connection, id) == {"requested": 5, "cancelled": 5, "finished_first": 0, "stopping": 0}
    froms = await connection.fetch("select distinct cancelled_from from secateur.runs where status = 'cancelled'")
    assert [row[0] for row in froms] == ["running"]


@pytest.mark.parametrize("point", points("commit_draft"))
async def test_a_commit_whose_backend_dies_never_happened(arena_url: str, point: str) -> None:
    stage = Stage(arena_url)
    async with stage.scene() as here:
        operator = here.connections[0]
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
            async with here.paused("commit", "commit_draft", point):
                await operator.execute(
                    "select pg_terminate_backend(pid, 5000) from pg_locks where classid = 99001 and not granted"
                    " and database = (select oid from pg_database where datname = current_database())"
                )
        records = "select count(*) from secateur.cancellations where id = $1"
        requests = "select count(*) from secateur.cancel_requests where cancellation_id = $1"
        assert not await operator.fetchval(records, here.cancellation)
        assert not await operator.fetchval(requests, here.cancellation)
        await here.verify()
        await here.commit(operator)
        await here.commit(operator)
        assert await operator.fetchval(records, here.cancellation) == 1
        assert await operator.fetchval(requests, here.cancellation) == 2
        await here.settle()
        await here.verify()
        here.connections[:] = [connection for connection in here.connections if not connection.is_closed()]
    stage.close()
