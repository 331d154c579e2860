"""Real workers, in processes of their own, claim as fast as they can while cancellations are committed and undone.

`SECATEUR_RACED_COMMITS` sets how many commits; `make race` has more than ten thousand.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import product
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
import racer
from arena import LEDGER
from operations import COMMIT, compile_filter

from patience import PATIENCE
from servers import with_schema

VERDICT = Path(__file__).with_name("race.sql").read_text(encoding="utf-8")
PROCESSES = (
    *("worker", "worker", "worker", "forgetful", "straggler", "producer", "dawdler", "sweeper", "sweeper", "pruner"),
)
OPERATORS = 2
"""Of each app: their cancellations overlap."""

OPEN = "select count(*) from secateur.cancellations where state = 'active' and app_id = $1"
MOST_OPEN = 10
"""For each app; with more of them the race would be about something else."""

COMMITS = {
    "embedded": int(os.environ.get("SECATEUR_RACED_COMMITS", "1200")),
    "embedded, never analyzed": 300,
    "system": 300,
}
"""By the ground: of all apps together."""

NEVER_ANALYZE = """
do $$
declare
  one regclass;
begin
  for one in select oid from pg_class where relnamespace = 'secateur'::regnamespace and relkind = 'r' loop
    execute format('alter table %s set (autovacuum_enabled = false)', one);
    delete from pg_statistic where starelid = one;
  end loop;
end
$$
"""
"""So that the planner knows nothing about any table, as in a new database into which a flood comes. This database was
copied from one that may have been analyzed."""
KNOWN = """
select count(*) from pg_statistic, pg_class as class
 where class.oid = starelid and class.relnamespace = 'secateur'::regnamespace
"""

HURRY = """
update secateur.runs set scheduled_for = now()
 where id = any (array(select id from secateur.runs where status = 'scheduled' order by id for update skip locked))
"""

KEEP = "update secateur.retention set finished = '2 s', cancelled = '3 s'"
"""So short that undos come too late now and then, and while a prune is at it."""

STANDING = COMMIT.replace("$6, false,", "$6, true,")
STOP = "select secateur.stop_cancellation($1, $2, 'racer')"
UNDO = "select secateur.undo_cancellation($1, $2, 'racer', 'python', $3)"
CANCEL_RUN = "select secateur.cancel_run($1, $2, $3, $4, null, 'python', 'racer')"
PAUSE, RESUME = (f"select secateur.{name}($1, $2, 'racer', 'python')" for name in ("pause", "resume"))
SOME_RUN = """
select id from secateur.runs where app_id = $1 and function_id = $2 and status = $3 order by id offset $4 limit 1
"""


@contextmanager
def racing(url: str, *roles: str) -> Iterator[list[subprocess.Popen[str]]]:
    """The processes; they are asked to end at the end of the block, and must have had no error."""
    processes = [
        subprocess.Popen([sys.executable, racer.__file__, role, url, str(seed)], stdout=subprocess.PIPE, text=True)
        for seed, role in enumerate(roles)
    ]
    try:
        yield processes
        for process in processes:
            process.send_signal(signal.SIGTERM)
        assert [process.wait(PATIENCE) for process in processes] == [0] * len(processes)
    finally:
        for process in processes:
            process.kill()
            process.wait()


async def commit_any(connection: asyncpg.Connection, chance: random.Random, app: str) -> UUID:
    """A vendor or a region, of one function or of all; some with a start to the window, some with an end to come."""
    kind = chance.choice(["vendor", "region"])
    field, letter, most = {"vendor": ("vendor_id", "v", racer.VENDORS), "region": ("region", "r", racer.REGIONS)}[kind]
    value = f"{letter}{chance.randrange(most)}"
    source = f"event.data.{field} == '{value}'"
    condition, parameters = compile_filter(source).condition.stored()
    now = await connection.fetchval("select clock_timestamp()")
    after = now - timedelta(seconds=chance.choice([0.2, 1, 60]))
    before = now + timedelta(seconds=chance.choice([0.1, 0.5])) if chance.random() < 0.1 else None
    words = (app, chance.choice([None, *racer.FUNCTIONS]), source, chance.choice([None, after]))
    stored = (condition, json.dumps(parameters), json.dumps({kind: value}), None)
    if before:
        try:
            return await connection.fetchval(STANDING, uuid4(), *words, before, *stored)
        except asyncpg.PostgresError as error:
            if error.sqlstate != "SC422":  # on a busy machine the window's end has come already
                raise
    return await connection.fetchval(COMMIT, uuid4(), *words, None, *stored)


async def cancel_one(connection: asyncpg.Connection, chance: random.Random, app: str) -> UUID | None:
    """A single run that waits or runs, if there is one where chance looks for it."""
    status = chance.choice(["queued", "queued", "scheduled", "running"])
    run = await connection.fetchval(SOME_RUN, app, chance.choice(racer.FUNCTIONS), status, chance.randrange(5))
    if run is None:
        return None
    id = uuid4()
    return id if await accepted(connection, CANCEL_RUN, id, app, run, str(id)) else None


async def accepted(connection: asyncpg.Connection, sql: str, *args: object) -> bool:
    """False: too late, for the run has ended or its cancellation is pruned."""
    try:
        await connection.fetchval(sql, *args)
    except asyncpg.PostgresError as error:
        if error.sqlstate != "SC409":
            raise
        return False
    return True


async def operate(url: str, app: str, commits: int, seed: str) -> None:
    """Commits, and now and then stops or undoes one of the last, cancels a single run, or pauses a function."""
    connection = await asyncpg.connect(url)
    chance = random.Random(seed)
    made: list[UUID] = []
    while len(made) < commits:
        one = await cancel_one(connection, chance, app) if chance.random() < 0.1 else None
        made.append(one or await commit_any(connection, chance, app))
        way = chance.random()
        if way < 0.1:
            await connection.fetchval(STOP, app, chance.choice(made[-5:]))
        elif way < 0.25:
            await accepted(connection, UNDO, app, chance.choice(made[-20:]), chance.random() < 0.3)
        elif way < 0.27:
            function = chance.choice(racer.FUNCTIONS)
            await connection.fetchval(PAUSE, app, function)
            await asyncio.sleep(chance.uniform(0, 0.05))
            await connection.fetchval(RESUME, app, function)
        while await connection.fetchval(OPEN, app) > MOST_OPEN:
            await asyncio.sleep(0.002)
    await connection.close()


async def drain(connection: asyncpg.Connection, seconds: float) -> None:
    """Until the workers and sweepers that go on have nothing left to do."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        left = await connection.fetchval(
            "select (select count(*) from secateur.runs where status in ('queued', 'scheduled', 'running'))"
            " + (select count(*) from secateur.cancellations"
            "     where state = 'active' or state = 'undone' and restored_at is null)"
        )
        if not left:
            return
        await connection.execute(HURRY)
        await asyncio.sleep(0.05)


@pytest.mark.timeout(900 + max(COMMITS.values()) // 10)
@pytest.mark.parametrize("ground", sorted(COMMITS))
async def test_no_claim_after_any_commit(postgres_servers: Callable[[str], Any], ground: str) -> None:
    server, _, never_analyzed = ground.partition(", ")
    try:
        lent = postgres_servers(server)
    except KeyError:
        pytest.skip("no Postgres but the embedded one")
    name = lent.create_database(with_schema)
    url = lent.postgres.database_url(name)
    connection = await asyncpg.connect(url)
    await connection.execute(LEDGER)
    await connection.execute(KEEP)
    if never_analyzed:
        await connection.execute(NEVER_ANALYZE)
    for app, function in product(racer.APPS, racer.FUNCTIONS):
        await connection.fetchval("select secateur.ensure_function($1, $2)", app, function)
    with racing(url, *PROCESSES) as processes:
        while await connection.fetchval("select count(*) from secateur_test.decisions where kind = 'claim'") < 500:
            await asyncio.sleep(0.05)
        places = list(product(racer.APPS, range(OPERATORS)))
        began = time.monotonic()
        await asyncio.gather(
            *(operate(url, app, COMMITS[ground] // len(places), f"{app} {nth}") for app, nth in places)
        )
        seconds = time.monotonic() - began
        for role in ("producer", "dawdler"):
            processes[PROCESSES.index(role)].send_signal(signal.SIGTERM)
            processes[PROCESSES.index(role)].wait(PATIENCE)
        await drain(connection, 60)
    assert not never_analyzed or await connection.fetchval(KNOWN) == 0
    await connection.execute("set enable_nestloop = off")  # it knows nothing of how much there is
    verdict = await connection.fetchrow(VERDICT)
    decided = dict(
        await connection.fetch("select kind, count(*) from secateur_test.decisions group by kind order by kind")
    )
    print(f"{ground}: {decided['commit']} commits raced in {seconds:.0f} s; {decided}; violations: {dict(verdict)}")
    assert decided["commit"] == COMMITS[ground] // len(places) * len(places)
    assert min(decided["claim"], decided["cancel"], decided["step"]) > decided["commit"]
    seldom = {"hand over", "pause"} if COMMITS[ground] > 1000 else set()
    assert {"restore", "return", "stop", "undo", "prune", *seldom} <= decided.keys()
    assert dict(verdict) == dict.fromkeys(verdict.keys(), 0)
    await connection.close()
    lent.drop_database(name)
