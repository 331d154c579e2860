"""How many runs cancellations have matched and not yet reached: the same figures, and one read of each record."""

from __future__ import annotations

import json
import random
from collections import defaultdict
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

FUNCTIONS = [f"function-{n:03}" for n in range(300)]

RULE = """
insert into secateur.cancellations
  (app_id, id, kind, state, function_id, started_before, standing, parameters, compiler, request, source, created_at,
   created_by, created_role, expected_by_function)
values ($1, $2, 'bulk', $3, $4, now(), false, '{}', 1, '{}', 'python', now(), 'me', 'me', $5)
"""
DELTA = """
insert into secateur.cancellation_deltas
  (app_id, cancellation_id, function_id, requested, cancelled, finished_first, stopped)
values ($1, $2, $3, $4, $5, $6, $7)
"""


@pytest.fixture
async def connection(embedded_url: str) -> Any:
    connection = await asyncpg.connect(embedded_url)
    await connection.execute("select secateur.ensure_function('shop', one) from unnest($1::text[]) as one", FUNCTIONS)
    await connection.execute("select secateur.ensure_function('other', one) from unnest($1::text[]) as one", FUNCTIONS)
    yield connection
    await connection.close()


def an_estimate(expected: object, deltas: list[tuple[int, int, int, int]]) -> int:
    """By the words of the view: what was expected and is not reached, or what was asked to stop and has not yet."""
    requested, cancelled, finished_first, stopped = (sum(column) for column in zip((0, 0, 0, 0), *deltas, strict=True))
    if isinstance(expected, int | float) and not isinstance(expected, bool):
        return max(0, min(10**15, int(expected)) - cancelled - finished_first)
    return max(0, requested - stopped - finished_first)


@pytest.mark.parametrize("seed", range(20))
async def test_the_estimates_are_the_sums_of_what_each_cancellation_has_yet_to_reach(
    connection: asyncpg.Connection, seed: int
) -> None:
    """Whatever somebody has written into a record: it is said, not proven."""
    chance = random.Random(seed)
    odd = [None, True, "7", [3], {"runs": 3}, -5, -1e30, 1e30, 2.9, 0]
    wanted: dict[tuple[str, str], int] = defaultdict(int)
    for _ in range(8):
        app, id, state = chance.choice(["shop", "other"]), uuid4(), chance.choice(["active", "active", "complete"])
        scope = chance.choice([None, None, FUNCTIONS[0]])
        document = {
            name: chance.choice(odd) if chance.random() < 0.3 else chance.randrange(1000)
            for name in chance.sample(FUNCTIONS[:20], 10)
        }
        document["gone"] = 3
        expected = chance.choice([None, json.dumps(document), json.dumps(document)])
        await connection.execute(RULE, app, id, state, scope, expected)
        deltas: dict[str, list[tuple[int, int, int, int]]] = defaultdict(list)
        for _ in range(chance.randrange(30)):
            name = scope or chance.choice(FUNCTIONS[:20])
            row = (chance.randrange(20), chance.randrange(100), chance.randrange(5), chance.randrange(10))
            deltas[name].append(row)
            await connection.execute(DELTA, app, id, name, *row)
        known = json.loads(expected) if expected is not None else None
        for name in FUNCTIONS if state == "active" else []:
            if scope in {None, name}:
                said = known.get(name) if isinstance(known, dict) else None
                wanted[app, name] += an_estimate(said, deltas[name])
    rows = await connection.fetch("select * from secateur.cancelling_runs where function_id <> 'gone'")
    found = {(row["app_id"], row["function_id"]): int(row["runs"]) for row in rows}
    assert found == {key: runs for key, runs in wanted.items() if runs > 0}


async def test_a_record_is_read_once_whatever_the_number_of_functions(connection: asyncpg.Connection) -> None:
    """By the blocks that it takes, for the depth and for a sample; a sample that is not coarse does not look at all."""
    chance = random.Random(0)
    long_names = dict.fromkeys([*FUNCTIONS, *(str(UUID(int=chance.getrandbits(128))) for _ in range(2000))], 7)
    for _ in range(3):
        await connection.execute(RULE, "shop", uuid4(), "active", None, json.dumps(long_names))
    pages = await connection.fetchval(
        "select pg_relation_size(reltoastrelid) / 8192 from pg_class where oid = 'secateur.cancellations'::regclass"
    )
    assert pages >= 15
    view = "select count(*) from secateur.cancelling_runs where app_id = 'shop' and function_id <> ''"
    assert pages < await blocks(connection, view) < 5 * pages
    await connection.execute(
        "insert into secateur.depth_totals (app_id, function_id, queued, scheduled, running, moved_at)"
        " select 'shop', one, 5, 0, 0, now() from unnest($1::text[]) as one",
        FUNCTIONS,
    )
    coarse = await blocks(connection, "select secateur.sample_depth('shop', now())")
    fine = "select secateur.sample_depth('shop', (select max(at) + interval '1 s' from secateur.depth_samples))"
    await connection.execute("update secateur.depth_totals set moved_at = moved_at + interval '1 s'")
    assert await blocks(connection, fine) + pages < coarse < 50 * pages


async def blocks(connection: asyncpg.Connection, sql: str) -> int:
    [[plan]] = await connection.fetch(f"explain (analyze, buffers, format json) {sql}")
    root = json.loads(plan)[0]["Plan"]
    return root["Shared Hit Blocks"] + root["Shared Read Blocks"]
