"""Whoever locks several runs takes them in id order, also where the table has them the other way round and the planner
knows nothing of the table."""

from __future__ import annotations

import asyncio
import random

import asyncpg
import pytest

RUNS, SOME = 2000, 300

# Each is as old as it says, so the last has the smallest id.
ENQUEUE = """
select id from secateur.enqueue_many(
  'billing', 'sync', array_fill('{}'::jsonb, array[$1::int]),
  started_at => array(select now() - nth * interval '1 s' from generate_series(1, $1::int) as nth)) as entered (id)
"""

WAITING = "select exists (select from pg_locks where pid = $1 and not granted)"
FREE = "select id from secateur.runs where id = any ($1) for update skip locked"

CALLS = {
    "cancel_backlog": "select secateur.cancel_backlog('billing', $1, $2)",
    "complete_runs": "select secateur.complete_runs('billing', $1, $2)",
    "release": "select secateur.release('billing', $1, $2)",
    "heartbeat": "select secateur.heartbeat('billing', $1, $2, '1 hour')",
    "finish_steps": "select secateur.finish_steps('billing', $1, $2,"
    " array_fill('one'::text, array[cardinality($1::uuid[])]), array_fill('1'::jsonb, array[cardinality($1::uuid[])]))",
}


@pytest.mark.parametrize("function", CALLS)
async def test_in_id_order(database_url: str, function: str) -> None:
    caller, other, watch = [await asyncpg.connect(database_url) for _ in range(3)]
    await caller.execute("select secateur.ensure_function('billing', 'sync')")
    await caller.fetch(ENQUEUE, RUNS)
    if function == "cancel_backlog":
        rows = await caller.fetch("select id, gen_random_uuid() from secateur.runs order by id limit $1", SOME)
    else:
        rows = await caller.fetch("select id, claim_token from secateur.claim('billing', null, $1, 'w', '1 h')", SOME)
    held = [tuple(row) for row in rows]
    first, *others = sorted(id for id, _ in held)
    random.Random(1).shuffle(held)
    async with other.transaction():
        await other.execute("select from secateur.runs where id = $1 for update", first)
        call = asyncio.create_task(caller.execute(CALLS[function], *zip(*held, strict=True)))
        while not await watch.fetchval(WAITING, caller.get_server_pid()):
            assert not call.done(), call
            await asyncio.sleep(0.01)
        async with watch.transaction():
            assert {row["id"] for row in await watch.fetch(FREE, others)} == set(others)
    await call
    for connection in (caller, other, watch):
        await connection.close()
