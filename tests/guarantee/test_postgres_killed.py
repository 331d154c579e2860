"""All of Postgres is killed again and again while everything works on it: what was acknowledged, stands.

`SECATEUR_KILLS` sets how often (4), `SECATEUR_SEED` where; what failed is repeated by its printed seed only roughly,
for the processes' timing is their own.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import survivor
from arena import LEDGER

from patience import PATIENCE, eventually
from secateur.postgres.database import Database
from secateur.postgres.embedded import EmbeddedPostgres
from secateur.schema import install
from servers import kill_everything

KILLS = int(os.environ.get("SECATEUR_KILLS", "4"))
SEED = os.environ.get("SECATEUR_SEED") or str(random.randrange(10**6))
APPS = (survivor.RAW, survivor.SERVED)
PROCESSES = ("claimer", "claimer", "server", "producer", "operator", "sweeper", "sweeper")
KILLS_A_ROUND = 4
"""Then everything comes to its end and is judged, which takes longer the more there was."""

LEFT = """
select (select count(*) from secateur.runs where status in ('queued', 'scheduled', 'running'))
     + (select count(*) from secateur.cancellations
         where state = 'active' or state = 'undone' and restored_at is null)
"""

HURRY = """
update secateur.runs as run
   set scheduled_for = case run.status when 'scheduled' then now() else run.scheduled_for end,
       lease_expires_at = least(run.lease_expires_at, now() + interval '1 s')
 where run.id = any (array(select id from secateur.runs where status in ('scheduled', 'running') order by id
                              for update skip locked))
"""


class Race:
    """The processes, and what they have logged."""

    def __init__(self, url: str, directory: Path, seed: str) -> None:
        self._directory = directory
        self._processes = [
            subprocess.Popen([sys.executable, survivor.__file__, role, url, str(self._log(place)), f"{seed} {place}"])
            for place, role in enumerate(PROCESSES)
        ]

    def _log(self, place: int) -> Path:
        return self._directory / f"{place}-{PROCESSES[place]}.log"

    def logged(self, kind: str) -> list[dict[str, Any]]:
        """All entries of that kind, of all processes."""
        found = []
        for place in range(len(PROCESSES)):
            with suppress(FileNotFoundError):
                for line in self._log(place).read_text(encoding="utf-8").splitlines(keepends=True):
                    # The last line may still be being written.
                    if line.endswith("\n") and (entry := json.loads(line))["kind"] == kind:
                        found.append(entry)
        return found

    def stop(self, *roles: str) -> None:
        """Ask the processes of these roles to end, and wait until they have, without an error."""
        chosen = [
            process for role, process in zip(PROCESSES, self._processes, strict=True) if not roles or role in roles
        ]
        for process in chosen:
            process.send_signal(signal.SIGTERM)
        assert [process.wait(PATIENCE) for process in chosen] == [0] * len(chosen)

    def kill(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()


@contextmanager
def racing(url: str, directory: Path, seed: str) -> Iterator[Race]:
    race = Race(url, directory, seed)
    try:
        yield race
    finally:
        race.kill()


async def until_going(connection: asyncpg.Connection) -> None:
    """Until runs are claimed, completed and cancelled again."""
    counts = (
        "select (select count(*) from secateur_test.decisions where kind = 'claim'),"
        " (select count(*) from secateur_test.decisions where kind = 'cancel'),"
        " (select count(*) from secateur.runs where status = 'completed' and app_id = 'raw'),"
        " (select count(*) from secateur.runs where status = 'completed' and app_id = 'served')"
    )
    before = await connection.fetchrow(counts)

    async def more_of_each() -> bool:
        return all(new > old for new, old in zip(await connection.fetchrow(counts), before, strict=True))

    await eventually(more_of_each, "more claims, cancellations and completions")


async def drain(connection: asyncpg.Connection) -> None:
    async def is_done() -> bool:
        await connection.execute(HURRY)
        return not await connection.fetchval(LEFT)

    await eventually(is_done, "the end of all runs and cancellations")


async def broken(connection: asyncpg.Connection, race: Race) -> list[str]:
    """Everything that was promised and is not so, in words."""
    found = [row[0] for app in APPS for row in await connection.fetch("select secateur_test.broken($1)", app)]
    found += [row[0] for row in await connection.fetch("select secateur_test.wrong_depth()")]
    sizes = dict(await connection.fetch("select event #>> '{data,batch}', count(*) from secateur.runs group by 1"))
    ids = {
        row["id"]: row
        for row in await connection.fetch(
            "select id, status, coalesce(last_token, claim_token) as claim_token from secateur.runs"
        )
    }
    known = {str(id) for id in ids}
    for entry in race.logged("enqueued"):
        lost = [id for id in entry["ids"] if id not in known]
        if lost or sizes.get(entry["batch"]) != len(entry["ids"]):
            found.append(f"of the batch {entry['batch']}, {len(lost)} runs are lost")
    found += await broken_commits(connection, race)
    completed = {str(row["claim_token"]) for row in ids.values() if row["status"] == "completed"}
    found += [
        f"the completion of the claim {token} was forgotten"
        for entry in race.logged("completed")
        for token in entry["tokens"]
        if token not in completed
    ]
    given_back = {token for entry in race.logged("gives back") for token in entry["tokens"]}
    early = await connection.fetch(
        "select d.run_id, d.claim_token from secateur_test.decisions as d"
        " join secateur.runs as run on run.id = d.run_id where d.kind = 'return' and not d.lapsed and run.app_id = $1",
        survivor.RAW,
    )
    found += [
        f"run {row['run_id']} came back before its lease had ended, and its worker had not given it back"
        for row in early
        if str(row["claim_token"]) not in given_back
    ]
    return found


async def broken_commits(connection: asyncpg.Connection, race: Race) -> list[str]:
    """An acknowledged cancellation is there; one whose answer was lost is there under its key, once, or not at all.

    Commits go on meanwhile: what was acknowledged is read before the database, and what was asked for after it.
    """
    acknowledged = race.logged("committed")
    recorded = {
        row["idempotency_key"]: str(row["id"])
        for row in await connection.fetch("select id, idempotency_key from secateur.cancellations")
    }
    asked = {entry["key"] for entry in race.logged("asks")}
    found = [f"nobody asked for the cancellation {id}" for key, id in recorded.items() if key not in asked]
    for entry in acknowledged:
        if recorded.get(entry["key"]) != entry["id"]:
            found.append(f"{entry['id']} was acknowledged, but its key has {recorded.get(entry['key'])}")
    return found


async def one_round(postgres: EmbeddedPostgres, directory: Path, seed: str, kills: int) -> dict[str, int]:
    """Kills the server so often, lets everything come to its end, and returns how much there was of each decision."""
    chance = random.Random(seed)
    maintenance = await asyncpg.connect(postgres.url)
    name = f"round_{seed.replace(' ', '_')}"
    await maintenance.execute(f"create database {name}")
    await maintenance.close()
    url = postgres.database_url(name)
    async with Database.connect(url) as database:
        await install(database)
    connection = await asyncpg.connect(url)
    assert await connection.fetchval("show fsync") == "on"
    assert await connection.fetchval("show synchronous_commit") == "on"
    await connection.execute(LEDGER)
    for app in APPS:
        for function in survivor.FUNCTIONS:
            await connection.fetchval("select secateur.ensure_function($1, $2)", app, function)
    with racing(url, directory, seed) as race:
        for _ in range(kills):
            await until_going(connection)
            await asyncio.sleep(chance.uniform(0, 0.8))
            await asyncio.to_thread(kill_everything, postgres)
            connection.terminate()
            await asyncio.sleep(chance.choice([0, 0, 0.5, 1.5]))
            await asyncio.to_thread(postgres.start)
            connection = await asyncpg.connect(url)
            wrong = [row[0] for row in await connection.fetch("select secateur_test.wrong_depth()")]
            assert wrong == [], f"after a kill: {wrong}"
            assert await broken_commits(connection, race) == []
        await until_going(connection)
        race.stop("producer", "operator")
        await drain(connection)
        race.stop("claimer", "server", "sweeper")
        found = await broken(connection, race)
        assert found == [], f"{len(found)} broken promises, such as {found[:5]}"
        assert {"claimed", "completed", "committed", "enqueued", "began"} <= {
            kind for kind in ("claimed", "completed", "committed", "enqueued", "began") if race.logged(kind)
        }
    decided = await connection.fetch("select kind, count(*) from secateur_test.decisions group by kind order by kind")
    await connection.close()
    return dict(decided)


@pytest.mark.timeout(120 + 30 * KILLS)
async def test_what_was_acknowledged_outlives_postgres(tmp_path: Path) -> None:
    print(f"seed {SEED}")
    total: dict[str, int] = {}
    with EmbeddedPostgres(settings={"track_commit_timestamp": "on"}) as postgres:
        for number, done in enumerate(range(0, KILLS, KILLS_A_ROUND)):
            directory = tmp_path / str(number)
            directory.mkdir()
            decided = await one_round(postgres, directory, f"{SEED} {number}", min(KILLS_A_ROUND, KILLS - done))
            total = {kind: total.get(kind, 0) + count for kind, count in decided.items()}
    print(f"{KILLS} kills; {total}")
    assert min(total["claim"], total["cancel"], total["step"], total["commit"]) > 0
