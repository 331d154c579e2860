"""The deltas that the queue's functions write add up to what a recount of the rows finds."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

pytestmark = pytest.mark.one_postgres

APP = "billing"
FUNCTIONS = ("invoices", "vendor-syncs", "mail")

TALLIED = """
select function_id, sum(queued)::int as queued, sum(scheduled)::int as scheduled, sum(running)::int as running,
       sum(failed)::int as failed, sum(entered)::int as entered, sum(drained)::int as drained
  from secateur.depth_deltas group by function_id order by function_id
"""

COUNTED = """
select function_id, count(*) filter (where status = 'queued')::int as queued,
       count(*) filter (where status = 'scheduled')::int as scheduled,
       count(*) filter (where status = 'running')::int as running,
       count(*) filter (where status = 'failed')::int as failed,
       count(*)::int as entered, count(*) filter (where status in ('completed', 'failed'))::int as drained
  from secateur.runs group by function_id order by function_id
"""

MOST_ROWS = 4
"""A function with a row for each run would show here: of one call, per function."""


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database_url)
    yield connection
    connection.terminate()


class Mix:
    """Operations on one app, drawn by chance."""

    def __init__(self, connection: asyncpg.Connection, chance: random.Random) -> None:
        self.connection, self.chance = connection, chance
        self.held: list[asyncpg.Record] = []

    def take(self, most: int) -> tuple[list[Any], list[Any]]:
        taken = [self.held.pop(self.chance.randrange(len(self.held))) for _ in range(min(most, len(self.held)))]
        return [run["id"] for run in taken], [run["claim_token"] for run in taken]

    async def enqueue(self) -> None:
        count = self.chance.randrange(1, 20)
        await self.connection.fetch(
            "select secateur.enqueue_many($1, $2, array_fill('{}'::jsonb, array[$3::int]),"
            " array(select case when random() < $4 then clock_timestamp() + '1 hour' end from generate_series(1, $3)))",
            *(APP, self.chance.choice(FUNCTIONS), count, self.chance.choice([0.0, 0.3])),
        )

    async def claim(self) -> None:
        self.held += await self.connection.fetch(
            "select id, claim_token from secateur.claim($1, null, $2, 'mix', '1 hour')",
            *(APP, self.chance.choice([1, 5, 30])),
        )

    async def complete(self) -> None:
        ids, tokens = self.take(8)
        for _ in range(2):
            await self.connection.fetch("select * from secateur.complete_runs('billing', $1, $2)", ids, tokens)

    async def complete_one(self) -> None:
        for run in zip(*self.take(1), strict=True):
            await self.connection.fetchval("select secateur.complete('billing', $1, $2)", *run)

    async def fail(self) -> None:
        for run in zip(*self.take(3), strict=True):
            await self.connection.fetchval("select secateur.fail('billing', $1, $2, 'bad luck')", *run)

    async def release(self) -> None:
        await self.connection.fetchval("select secateur.release('billing', $1, $2)", *self.take(5))

    async def become_due(self) -> None:
        await self.connection.execute(
            "update secateur.runs set scheduled_for = now() where status = 'scheduled' and random() < 0.5"
        )

    async def lose(self) -> None:
        ids, _ = self.take(6)
        await self.connection.execute(
            "update secateur.runs set lease_expires_at = now() - interval '1 s'"
            " where id = any ($1) and status = 'running'",
            ids,
        )


@pytest.mark.parametrize("seed", range(3))
async def test_deltas_add_up(connection: asyncpg.Connection, seed: int) -> None:
    chance = random.Random(seed)
    for function in FUNCTIONS:
        await connection.execute(f"select secateur.register_function('{APP}', '{function}', '{{}}', 2)")
    mix = Mix(connection, chance)
    operations = [mix.enqueue, mix.claim, mix.claim, mix.complete, mix.complete_one, mix.fail, mix.release, mix.lose]
    for number in range(250):
        await chance.choice([*operations, mix.become_due])()
        if number % 25 == 0:
            assert await connection.fetch(TALLIED) == await connection.fetch(COUNTED)
    assert await connection.fetch(TALLIED) == await connection.fetch(COUNTED)
    statuses = await connection.fetch("select distinct status from secateur.runs")
    assert {row[0] for row in statuses} >= {"completed", "failed"}


async def test_a_batch_is_one_row_a_function(connection: asyncpg.Connection) -> None:
    for function in FUNCTIONS:
        await connection.fetch(
            "select secateur.enqueue_many($1, $2, array_fill('{}'::jsonb, array[200]))", APP, function
        )
    claimed = await connection.fetch("select id, claim_token from secateur.claim($1, null, 600, 'w', '1 hour')", APP)
    ids, tokens = [run["id"] for run in claimed], [run["claim_token"] for run in claimed]
    await connection.fetch("select * from secateur.complete_runs('billing', $1, $2)", ids[:300], tokens[:300])
    await connection.fetchval("select secateur.release('billing', $1, $2)", ids[300:], tokens[300:])
    rows = await connection.fetch("select function_id, count(*) from secateur.depth_deltas group by function_id")
    assert len(rows) == len(FUNCTIONS)
    assert max(row["count"] for row in rows) <= MOST_ROWS
