"""No statement goes through a list for each of its rows: what it reads grows with the batch, however long that is.

Functions are planned for lists of a few ids; a join that looks through one of them for every row is the cheapest then.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from explaining import explained

from secateur import Queue, connect

pytestmark = pytest.mark.one_postgres

BATCH = 1000
RUNS = 4 * BATCH

_REMOVED = re.compile(r"Rows Removed by (?:Join )?Filter: (\d+)")
_LOOPS = re.compile(r"Function Scan on \w+ .*rows=(\d+)(?:\.\d+)? loops=(\d+)\)")


def wasted(plans: list[str]) -> list[str]:
    """Plans that met many more rows than there are in the batch."""
    return [
        plan
        for plan in plans
        if any(int(removed) > 10 * RUNS for removed in _REMOVED.findall(plan))
        or any(int(rows) * int(loops) > 10 * RUNS for rows, loops in _LOOPS.findall(plan))
    ]


@pytest.fixture
async def queue(database_url: str) -> AsyncIterator[Queue]:
    async with connect(database_url) as queue:
        events = [{"name": "order.placed", "n": n} for n in range(RUNS)]
        await queue.enqueue_many("shop", "sync", events)
        await queue.database.execute("analyze secateur.runs")
        yield queue


@pytest.fixture
async def connection(queue: Queue, database_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


async def held(connection: asyncpg.Connection, most: int = BATCH) -> tuple[list[Any], list[Any]]:
    rows = await connection.fetch("select * from secateur.claim('shop', null, $1, 'w', '1 hour')", most)
    return [row["id"] for row in rows], [row["claim_token"] for row in rows]


async def expire(connection: asyncpg.Connection) -> None:
    await connection.execute(
        "update secateur.runs set lease_expires_at = now() - interval '1 s' where status = 'running'"
    )


REQUEST = {"app_id": "shop", "if": "event.name == 'order.placed'"}
FAILING = {"app_id": "shop", "if": "event.missing == 1"}


@pytest.mark.parametrize("limit", [None, BATCH])
async def test_work(queue: Queue, connection: asyncpg.Connection, limit: int | None) -> None:
    await connection.execute("select secateur.register_function('shop', 'sync', '{}', 4, $1)", limit)
    async with explained(connection, analyze=True) as plans:
        mine = await held(connection)
        assert len(mine[0]) == BATCH
        await connection.fetch("select * from secateur.heartbeat('shop', $1, $2, '1 hour')", *mine)
        steps = [["pay"] * BATCH, ["1"] * BATCH]
        await connection.fetch("select secateur.finish_steps('shop', $1, $2, $3, $4::jsonb[])", *mine, *steps)
        await connection.fetch("select * from secateur.complete_runs('shop', $1, $2)", *mine)
        await connection.fetch("select * from secateur.complete_runs('shop', $1, $2)", *mine)
        again = await held(connection)
        assert await connection.fetchval("select secateur.release('shop', $1, $2)", *again) == BATCH
        await held(connection)
        await expire(connection)
        await held(connection)
    assert wasted(plans) == []


@pytest.mark.parametrize("ending", ["complete", "release", "fail", "expire", "stop", "undo"])
async def test_running_runs_that_were_asked_to_stop(queue: Queue, connection: asyncpg.Connection, ending: str) -> None:
    held_runs = [await held(connection) for _ in range(RUNS // BATCH)]
    cancelled = await queue.cancel(REQUEST)
    assert cancelled.requested == RUNS
    async with explained(connection, analyze=True) as plans:
        match ending:
            case "complete":
                for mine in held_runs:
                    await connection.fetch("select * from secateur.complete_runs('shop', $1, $2)", *mine)
            case "release":
                for mine in held_runs:
                    await connection.fetch("select secateur.release('shop', $1, $2)", *mine)
            case "fail":
                for run in zip(*held_runs[0], strict=True):
                    await connection.fetch("select secateur.fail('shop', $1, $2, 'no luck')", *run)
            case "expire":
                await expire(connection)
            case "stop":
                await connection.fetch("select secateur.stop_cancellation('shop', $1, 'me')", cancelled.id)
            case "undo":
                await connection.fetch("select secateur.undo_cancellation('shop', $1, 'me')", cancelled.id)
                await connection.fetch("select secateur.restore_cancellation('shop', $1, 10000)", cancelled.id)
        await connection.fetch("select secateur.sweep_cancellation('shop', $1)", cancelled.id)
        await held(connection)
    assert wasted(plans) == []


async def test_sweeps_and_restores(queue: Queue, connection: asyncpg.Connection) -> None:
    await queue.enqueue_many("shop", "sync", [{"n": n} for n in range(BATCH)])
    failing = await queue.cancel(FAILING)
    cancelled = await queue.cancel(REQUEST)
    other = await queue.cancel({"app_id": "shop", "if": "event.n < 2000"})
    async with explained(connection, analyze=True) as plans:
        for id in (failing.id, cancelled.id, other.id):
            await connection.fetch("select secateur.sweep_cancellation('shop', $1)", id)
        await connection.fetch("select secateur.undo_cancellation('shop', $1, 'me')", cancelled.id)
        for _ in range(RUNS // BATCH + 1):
            await connection.fetch("select secateur.restore_cancellation('shop', $1, $2)", cancelled.id, BATCH)
        await connection.fetch("select secateur.sweep_cancellation('shop', $1)", other.id)
        await held(connection)
        await connection.fetch("select secateur.prune_cancelled('shop', now() + interval '1 day', $1)", BATCH)
    assert wasted(plans) == []


async def test_undecided_runs(queue: Queue, connection: asyncpg.Connection) -> None:
    """As when a condition took too long, on a machine with much to do."""
    cancelled = await queue.cancel({"app_id": "shop", "if": "event.n < 3000"})
    ids = await connection.fetchval("select array_agg(id) from secateur.runs")
    async with explained(connection, analyze=True) as plans:
        kept = "select secateur.keep_undecided('shop', $1, $2)"
        for some in (ids[: BATCH // 2], ids):
            assert len(await connection.fetchval(kept, some, [cancelled.id] * len(some))) == len(some)
            hits = await connection.fetch(
                "select hit.* from secateur.reached('shop', array(select rule from secateur.cancellations as rule), $1,"
                " quickly => true, budget => '1 min') as hit",
                ids,
            )
            assert sum(hit["undecided_by"] == cancelled.id for hit in hits) == len(some)
    assert wasted(plans) == []


async def test_claims_among_matches(queue: Queue, connection: asyncpg.Connection) -> None:
    await connection.execute("select secateur.register_function('shop', 'told', array['function.cancelled'], 4)")
    await queue.cancel({"app_id": "shop", "if": "event.n < 3000"})
    async with explained(connection, analyze=True) as plans:
        for _ in range(3):
            await held(connection)
    assert wasted(plans) == []
