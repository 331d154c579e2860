"""One process of a race, as `python racer.py ROLE URL SEED`; the roles are at the end.

It runs until SIGTERM, after which it ends its round in good order.
"""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sys

import asyncpg

APPS = ("race-a", "race-b", "race-c")
FUNCTIONS = ("sync", "invoice", "mail")
VENDORS = 60
REGIONS = 12
BACKLOG = 1000

RELEASE = "select secateur.release($1, $2::uuid[], $3::uuid[])"
BEGIN_STEP = "select secateur.begin_step($1, $2, $3, 'only')"
# Several calls in one transaction, so in the order of ids, as the functions lock.
HELD = "(select * from unnest($2::uuid[], $3::uuid[]) as one (id, token) order by one.id) as held"
COMPLETE = f"select secateur.complete($1, held.id, held.token) from {HELD}"
FAIL = f"select secateur.fail($1, held.id, held.token, 'bad luck') from {HELD}"


def event(chance: random.Random) -> str:
    vendor = chance.randrange(VENDORS)
    return json.dumps({"name": "race", "data": {"vendor_id": f"v{vendor}", "region": f"r{vendor % REGIONS}"}})


async def work(connection: asyncpg.Connection, chance: random.Random) -> None:
    """Claims a batch of 1 to 50, and ends it in one of the ways in which workers do."""
    app = chance.choice(APPS)
    functions = chance.choice([None, None, list(FUNCTIONS), [chance.choice(FUNCTIONS)]])
    claimed = await connection.fetch(
        "select id, claim_token from secateur.claim($1, $2, $3, 'racer', '1 minute')",
        *(app, functions, chance.choice([1, 2, 5, 10, 20, 50])),
    )
    if not claimed:
        await asyncio.sleep(0.002)
        return
    runs = (app, [row["id"] for row in claimed], [row["claim_token"] for row in claimed])
    way = chance.random()
    if way < 0.1:
        await connection.fetch(FAIL, *runs)
    elif way < 0.15:
        await connection.fetch(RELEASE, *runs)
    elif way < 0.5:
        granted = [row for row in claimed if await connection.fetchval(BEGIN_STEP, app, *row)]
        await connection.fetch(COMPLETE, app, [row["id"] for row in granted], [row["claim_token"] for row in granted])
    else:
        await connection.fetch(COMPLETE, *runs)


async def produce(connection: asyncpg.Connection, chance: random.Random) -> None:
    """Keeps the backlog at its size, in transactions that stay open for a moment."""
    waiting = await connection.fetchval("select count(*) from secateur.runs where status in ('queued', 'scheduled')")
    if waiting >= BACKLOG:
        await asyncio.sleep(0.01)
        return
    async with connection.transaction():
        for app in APPS:
            await connection.fetch(
                "select secateur.enqueue_many($1, $2, $3::jsonb[], priorities => $4::int[])",
                *(app, chance.choice(FUNCTIONS)),
                *([event(chance) for _ in range(50)], [chance.randrange(3) for _ in range(50)]),
            )
        await asyncio.sleep(chance.random() * 0.02)


async def dawdle(connection: asyncpg.Connection, chance: random.Random) -> None:
    """Enqueues a little, by COPY or not, and commits it when the window of many a standing cancellation is over."""
    app, function, events = chance.choice(APPS), chance.choice(FUNCTIONS), [event(chance) for _ in range(20)]
    async with connection.transaction():
        if chance.random() < 0.5:
            await connection.fetch("select secateur.enqueue_many($1, $2, $3::jsonb[])", app, function, events)
        else:
            await connection.execute("select secateur.begin_bulk()")
            await connection.copy_records_to_table(
                "secateur_bulk", schema_name="pg_temp", columns=["event"], records=[(one,) for one in events]
            )
            await connection.execute("select secateur.enqueue_bulk($1, $2)", app, function)
        await asyncio.sleep(chance.uniform(0.05, 0.4))
    await asyncio.sleep(chance.uniform(0, 0.5))


async def prune(connection: asyncpg.Connection, chance: random.Random) -> None:
    """In small batches, so that it meets undos between two of them."""
    for app in APPS:
        await connection.fetch("select * from secateur.prune($1, $2)", app, chance.choice([20, 300]))
    await asyncio.sleep(0.05)


async def sweep(connection: asyncpg.Connection, chance: random.Random) -> None:
    """One batch of every open cancellation, or of its restore, in a size that makes several of each."""
    for row in await connection.fetch("select app_id, id, state from secateur.open_cancellations()"):
        name = "restore_cancellation" if row["state"] == "restoring" else "sweep_cancellation"
        await connection.fetch(
            f"select * from secateur.{name}($1, $2, $3)", row["app_id"], row["id"], chance.choice([100, 2000])
        )
    await asyncio.sleep(0.01)


async def hang(connection: asyncpg.Connection, chance: random.Random) -> None:
    """Claims everything for two seconds and never comes back to it."""
    claimed = await connection.fetch("select id from secateur.claim($1, null, 1000, 'hangs', '2 s')", APPS[0])
    print(json.dumps([str(row["id"]) for row in claimed]), flush=True)
    await asyncio.sleep(3600)


async def forget(connection: asyncpg.Connection, chance: random.Random) -> None:
    """Claims a few for a moment, and has forgotten most of them when the moment is over."""
    app = chance.choice(APPS)
    claimed = await connection.fetch(
        "select id, claim_token from secateur.claim($1, null, $2, 'forgets', $3::text::interval)",
        *(app, chance.choice([1, 5]), f"{chance.choice([1, 20, 100])} ms"),
    )
    await asyncio.sleep(chance.choice([0.02, 0.1]))
    if claimed and chance.random() < 0.2:
        await connection.fetch(COMPLETE, app, [row["id"] for row in claimed], [row["claim_token"] for row in claimed])


async def straggle(connection: asyncpg.Connection, chance: random.Random) -> None:
    """Claims a few in a transaction that stays open for longer than a commit waits, which is then pending."""
    transaction = connection.transaction()
    await transaction.start()
    await connection.fetch("select id from secateur.claim($1, null, 2, 'straggles', '1 s')", chance.choice(APPS))
    await asyncio.sleep(chance.uniform(0.3, 0.5))
    await (transaction.commit() if chance.random() < 0.5 else transaction.rollback())
    await asyncio.sleep(chance.uniform(0.5, 1.5))


ROLES = {
    "worker": work,
    "producer": produce,
    "dawdler": dawdle,
    "sweeper": sweep,
    "pruner": prune,
    "hanging": hang,
    "forgetful": forget,
    "straggler": straggle,
}


async def main(role: str, url: str, seed: str) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    connection = await asyncpg.connect(url)
    chance = random.Random(seed)
    while not stop.is_set():
        await ROLES[role](connection, chance)
    await connection.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
