"""Claim gates on the engines' own tables, with their own workers."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from beds.procrastinate import Procrastinate
from verdicts import verdict

from nursery import start
from patience import eventually
from secateur.engines.foreign.gating import GateKeeper, GateState
from secateur.engines.foreign.installation import Installation
from secateur.engines.foreign.installing import install_queue
from secateur.engines.loading import find_installation, open_engine
from secateur.errors import PermissionDenied
from secateur.open_queue import OpenQueue
from secateur.postgres.database import Database
from secateur.requests import CancellationRequest

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.parametrize("bed", [Procrastinate], indirect=True),
    pytest.mark.every_postgres,
]

ACME = "event.data.vendor == 'acme'"
WAITING = "select id from procrastinate_jobs where args ->> 'vendor' = 'acme' and status in ('todo', 'cancelled')"
STARTED = "select count(*) from procrastinate_events where type = 'started' and job_id = any ($1::bigint[])"


async def gated(database: Database) -> GateKeeper:
    installation = await find_installation(database, "procrastinate")
    await install_queue(database, installation, author="tester")
    keeper = GateKeeper(database, installation)
    assert (await keeper.install("tester")).state is GateState.ON
    return keeper


async def commit(database: Database, **request: Any) -> Any:
    queue = OpenQueue.over(await open_engine(database, name="procrastinate"))
    wanted = CancellationRequest.parse({"app_id": "default", "if": ACME, **request})
    return queue, await queue.cancellations.commit(wanted, author="tester", source="python")


def jobs(number: int) -> list[dict[str, Any]]:
    return [{"number": n, "vendor": "acme" if n % 3 == 0 else "globex"} for n in range(number)]


@pytest.mark.one_postgres
async def test_without_a_sweep_no_matching_job_starts(
    bed: Procrastinate, keeper: GateKeeper, database: Database
) -> None:
    await bed.enqueue(jobs(60))
    _, cancellation = await commit(database)
    assert cancellation.guarantee == "in_force"
    async with bed.worker():

        async def others_ran() -> bool:
            return await database.fetchval("select count(*) from bed_ran where what = 'end'") == 40

        await eventually(others_ran)
    ran = {row["number"] for row in await database.fetch("select distinct number from bed_ran")}
    assert ran == {n for n in range(60) if n % 3}
    states = await database.fetch("select status::text, count(*) from procrastinate_jobs group by 1")
    assert {row["status"]: row["count"] for row in states} == {"succeeded": 40, "cancelled": 20}
    kept = await database.fetch("select job_id, taken_by from secateur.preimages")
    assert len(kept) == 20
    assert {row["taken_by"] for row in kept} == {"gate"}


@pytest.mark.parametrize("commits", [40])
async def test_raced_commits(bed: Procrastinate, keeper: GateKeeper, database: Database, commits: int) -> None:
    """What waits when a commit has returned never starts, however close a claim was."""
    queue = OpenQueue.over(await open_engine(database, name="procrastinate"))
    sweeping = asyncio.create_task(queue.cancellations.sweep_forever())
    waiting: list[int] = []
    pending = 0
    async with bed.worker(concurrency=5), bed.worker(concurrency=5):
        for number in range(commits):
            await bed.enqueue([{"number": number, "vendor": f"v{number}"} for _ in range(20)])
            wanted = CancellationRequest.parse({"app_id": "default", "if": f"event.data.vendor == 'v{number}'"})
            cancellation = await queue.cancellations.commit(wanted, author="tester", source="python")
            if cancellation.is_pending:
                pending += 1
                continue
            waiting += await waits(database, number)
    sweeping.cancel()
    assert pending < commits / 2
    assert waiting
    assert await database.fetchval(STARTED, waiting) == 0


async def waits(database: Database, number: int) -> list[int]:
    """The jobs of a commit that no worker has, now; those that its gate or sweep has cancelled as well."""
    rows = await database.fetch(
        "select id from procrastinate_jobs where args ->> 'vendor' = $1 and status in ('todo', 'cancelled')",
        f"v{number}",
    )
    return [row["id"] for row in rows]


@pytest.mark.one_postgres
async def test_without_a_gate_jobs_start_after_the_commit(
    bed: Procrastinate, installed: Installation, database: Database
) -> None:
    """The test before sees what it is to see."""
    await bed.enqueue(jobs(300))
    async with bed.worker(concurrency=5):
        _, cancellation = await commit(database)
        assert cancellation.guarantee == "swept"
        waiting = [row["id"] for row in await database.fetch(WAITING)]

        async def all_ran() -> bool:
            return await database.fetchval("select count(*) from bed_ran where what = 'end'") == 300

        await eventually(all_ran)
    assert await database.fetchval(STARTED, waiting) > 0


@pytest.mark.one_postgres
async def test_what_the_gate_took_comes_back(bed: Procrastinate, keeper: GateKeeper, database: Database) -> None:
    before = {}
    await bed.enqueue(jobs(30))
    for row in await database.fetch("select to_jsonb(job) as whole, id from procrastinate_jobs as job"):
        before[row["id"]] = row["whole"]
    queue, cancellation = await commit(database)
    async with bed.worker():

        async def all_taken() -> bool:
            return await database.fetchval("select count(*) from secateur.preimages") == 10

        await eventually(all_taken)
    done = await queue.cancellations.wait(cancellation.id)
    assert (done.state, done.cancelled) == ("complete", 10)
    await queue.cancellations.undo(cancellation.id, author="tester")
    back = await queue.cancellations.wait(cancellation.id)
    assert back.restored == 10
    after = {
        row["id"]: row["whole"]
        for row in await database.fetch(
            "select to_jsonb(job) as whole, id from procrastinate_jobs as job where args ->> 'vendor' = 'acme'"
        )
    }
    assert len(after) == 10
    assert after == {id: before[id] for id in after}
    async with bed.worker():

        async def all_ran() -> bool:
            return await database.fetchval("select count(distinct number) from bed_ran where what = 'end'") == 30

        await eventually(all_ran)
    assert await database.fetchval("select count(*) from bed_ran where what = 'start'") == 30


IDLE = UUID("ffffffff-ffff-ffff-ffff-ffffffffffff")


async def judged(database: Database, data: str, job_id: str = "1") -> UUID | None:
    """What the generated function says of a job with that data, to a claim that knows its generation."""
    async with database.transaction() as connection:
        gate = await connection.fetchrow("select lock_number, generation from secateur.gates")
        known = f"pg_current_xact_id()::text || ' {gate['generation']}'"
        job = "'default', 'sync', $2, 'sync', $1::jsonb, now() - interval '1 hour', 3, null"
        said: UUID | None = await connection.fetchval(
            f"select {verdict(gate['lock_number'], known, job)}", data, job_id
        )
        return said


async def test_a_stop_opens_the_gate(bed: Procrastinate, keeper: GateKeeper, database: Database) -> None:
    await bed.enqueue(jobs(3))
    queue, cancellation = await commit(database)
    await queue.cancellations.stop(cancellation.id, author="tester")
    # It was made anew, and knows that nothing is active.
    assert await judged(database, '{"vendor": "acme"}') == IDLE
    async with bed.worker():

        async def all_ran() -> bool:
            return await database.fetchval("select count(*) from bed_ran where what = 'end'") == 3

        await eventually(all_ran)


async def test_what_fails_lets_jobs_through_and_says_so(
    bed: Procrastinate, keeper: GateKeeper, database: Database
) -> None:
    """A fault of ours never stops the queue."""
    await bed.enqueue(jobs(3))
    await commit(database)
    await database.execute("drop function secateur.take_jobs")
    async with bed.worker():

        async def all_ran() -> bool:
            return await database.fetchval("select count(*) from bed_ran where what = 'end'") == 3

        await eventually(all_ran)
    found = await keeper.check()
    assert found.failures == 1
    assert "take_jobs" in str(found.last_error)


async def test_a_generated_function_that_raises_is_replaced_by_the_tables(
    bed: Procrastinate, keeper: GateKeeper, database: Database
) -> None:
    await bed.enqueue(jobs(3))
    await commit(database)
    number = await database.fetchval("select lock_number from secateur.gates")
    other = "begin return '00000000-0000-0000-0000-000000000000'; end"
    for tests in (other, "begin raise exception 'no'; end", "this is no function"):
        await database.execute("select secateur.define_match($1, 'false', $2, null)", number, tests)
        claimed = await database.fetchrow("select * from procrastinate_fetch_job_v2(null, null)")
        assert claimed is None or claimed["id"] is None or claimed["args"] != '{"number": 0, "vendor": "acme"}'
    assert await database.fetchval("select count(*) from procrastinate_jobs where status = 'cancelled'") == 1
    assert (await keeper.check()).failures == 0


@pytest.mark.parametrize("if_", ["run.id == '2'", "run.id.startsWith('2') && run.app == 'default'"])
async def test_the_tables_know_a_job_by_its_id(
    bed: Procrastinate, keeper: GateKeeper, database: Database, if_: str
) -> None:
    """So does the generated function: both are asked."""
    await bed.enqueue(jobs(3))
    await commit(database, **{"if": if_})
    number = await database.fetchval("select lock_number from secateur.gates")
    for job_id, is_meant in (("1", False), ("2", True), ("3", False)):
        job = f"'procrastinate/default', 'work', '{job_id}', '{{}}', now() - interval '1 hour', 0, '{{}}'"
        by_tables = await database.fetchval(f"select secateur_gates.judge_{number}({job})")
        said = await judged(database, "{}", job_id)
        assert (by_tables is not None, said is not None) == (is_meant, is_meant)


STOP = "select secateur.stop_cancellation('procrastinate/default', $1, 'tester')"


async def test_a_stop_that_was_rolled_back_opens_nothing(
    bed: Procrastinate, keeper: GateKeeper, database: Database
) -> None:
    """The sequence that claims read is not rolled back with it. They find the last change in the table then."""
    await bed.enqueue(jobs(4))
    _, cancellation = await commit(database)
    async with database.transaction() as connection:
        stopping = connection.transaction()
        await stopping.start()
        await connection.execute(STOP, cancellation.id)
        await stopping.rollback()
        assert await connection.fetchval(CLAIM) is None
        assert await connection.fetchval("select count(*) from secateur.preimages where taken_by = 'gate'") == 1
    assert await database.fetchval("select bool_and(generation < $1) from secateur.gates", await last_change(database))
    assert [await database.fetchval(CLAIM) is None for _ in range(3)] == [False, False, True]
    assert await database.fetchval("select count(*) from procrastinate_jobs where status = 'cancelled'") == 2
    assert await database.fetchval("select count(*) from secateur.gate_failures") == 0


async def last_change(database: Database) -> int:
    number = await database.fetchval("select lock_number from secateur.gates")
    change: int = await database.fetchval(f"select last_value from secateur_gates.newest_{number}")
    return change


async def test_it_is_found_stale_and_removed(bed: Procrastinate, keeper: GateKeeper, database: Database) -> None:
    await bed.enqueue(jobs(1))
    await database.execute("alter table procrastinate_jobs disable trigger aaa_secateur_gate")
    found = await keeper.check()
    assert (found.state, found.problems) == (GateState.STALE, ("its trigger is disabled",))
    _, cancellation = await commit(database)
    assert cancellation.guarantee == "swept"
    assert (await keeper.install("tester")).state is GateState.ON
    number = await database.fetchval("select lock_number from secateur.gates")
    function = await database.fetchval(f"select pg_get_functiondef('secateur_gates.gate_{number}'::regproc)")
    await database.execute(function.replace("begin\n", "begin\n  -- as it was once\n", 1))
    assert (await keeper.check()).problems == ("it was made by another version of secateur: install it again",)
    assert (await keeper.install("tester")).state is GateState.ON
    await database.execute("drop trigger aaa_secateur_gate on procrastinate_jobs")
    assert (await keeper.check()).problems == ("its trigger is not on the engine's table",)
    await keeper.remove("tester")
    await keeper.remove("tester")
    assert (await keeper.check()).state is GateState.NONE
    left = await database.fetch("select proname from pg_proc where pronamespace = 'secateur_gates'::regnamespace")
    assert left == []
    assert (await keeper.install("tester")).state is GateState.ON


async def test_a_gate_that_nobody_lets_in_gives_up(
    bed: Procrastinate, installed: Installation, database: Database
) -> None:
    """It waits a moment at a time, so that claims do not queue up behind it."""
    keeper = GateKeeper(database, installed)
    connection = await asyncpg.connect(bed.url)
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute("lock table procrastinate_jobs in row exclusive mode")
    installing = asyncio.create_task(keeper.install("tester"))
    await asyncio.sleep(1)
    await bed.enqueue(jobs(1))
    assert (await keeper.check()).state is GateState.STALE
    await transaction.rollback()
    assert (await installing).state is GateState.ON
    await connection.close()


CLAIM = "select id from procrastinate_fetch_job_v2(null, null)"


async def test_a_claim_that_was_rolled_back_has_read_nothing(
    bed: Procrastinate, keeper: GateKeeper, database: Database
) -> None:
    """A savepoint gives the lock back: what was read under it no longer holds."""
    await bed.enqueue(jobs(1))
    async with database.transaction() as connection:
        undone = connection.transaction()
        await undone.start()
        assert await connection.fetchval(CLAIM) is not None
        await undone.rollback()
        _, cancellation = await commit(database)
        assert cancellation.guarantee == "in_force"
        assert await connection.fetchval(CLAIM) is None
    assert await database.fetchval("select status::text from procrastinate_jobs") == "cancelled"


async def test_a_claim_obeys_what_its_own_transaction_has_changed(
    bed: Procrastinate, keeper: GateKeeper, database: Database
) -> None:
    await bed.enqueue(jobs(4)[1:])
    queue, cancellation = await commit(database)
    await queue.cancellations.stop(cancellation.id, author="tester")
    async with database.transaction() as connection:
        assert await connection.fetchval(CLAIM) is not None
        await connection.execute("update secateur.cancellations set state = 'active', stopped_at = null")
        await connection.execute("select secateur.compile_gate('procrastinate')")
        assert await connection.fetchval(CLAIM) is not None
        assert await connection.fetchval(CLAIM) is None
    assert await database.fetchval("select count(*) from procrastinate_jobs where status = 'cancelled'") == 1


@pytest.fixture
async def somebody(database: Database) -> AsyncIterator[str]:
    """A role of the test's own: roles belong to the whole server."""
    name: str = await database.fetchval("select 'somebody_of_' || current_database()")
    await database.execute(f"create role {name}")
    yield name
    await database.execute(f"drop owned by {name}; drop role {name}")


@pytest.mark.parametrize("grant", ["before", "after", "by column"])
async def test_a_workers_role_needs_no_right_of_ours(
    bed: Procrastinate, database: Database, somebody: str, grant: str
) -> None:
    """However, and whenever, it got the right to claim."""
    update = "update (status, worker_id)" if grant == "by column" else "update"
    grants = (
        f"grant select, insert, delete on all tables in schema public to {somebody};"
        f"grant {update} on procrastinate_jobs to {somebody};"
        f"grant usage on all sequences in schema public to {somebody}"
    )
    if grant == "before":
        await database.execute(grants)
    await gated(database)
    if grant != "before":
        await database.execute(grants)
    await bed.enqueue(jobs(3))
    await commit(database)
    async with database.transaction() as connection:
        await connection.execute(f"set local role {somebody}")
        claimed = [await connection.fetchrow("select * from procrastinate_fetch_job_v2(null, null)") for _ in range(3)]
    assert {row["args"] for row in claimed if row["id"] is not None} == {
        '{"number": 1, "vendor": "globex"}',
        '{"number": 2, "vendor": "globex"}',
    }
    assert await database.fetchval("select count(*) from secateur.preimages") == 1


async def test_a_stranger_cannot_write_what_the_gate_would(
    bed: Procrastinate, keeper: GateKeeper, database: Database, somebody: str
) -> None:
    keep = await database.fetchval(
        "select oid::regproc::text from pg_proc"
        " where proname like 'keep%' and pronamespace = 'secateur_gates'::regnamespace"
    )
    with pytest.raises(PermissionDenied):
        async with database.transaction() as connection:
            await connection.execute(f"set local role {somebody}")
            await connection.execute(f"select {keep}('a', null, 'b', 'c', null)")


def cli(url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "secateur.cli", *arguments, "--database", url]
    pipe = subprocess.PIPE
    with start(command, env={**os.environ}, stdout=pipe, stderr=pipe, text=True) as process:
        out, err = process.communicate()
    return subprocess.CompletedProcess(command, process.returncode, out, err)


async def test_by_the_command_line(bed: Procrastinate, database: Database) -> None:
    assert json.loads(cli(bed.url, "gate", "check", "--json").stdout)["name"] == "procrastinate"
    refused = cli(bed.url, "gate", "install", "--engine", "procrastinate")
    assert refused.returncode != 0
    assert "Traceback" not in refused.stderr
    assert cli(bed.url, "install", "--engine", "procrastinate").returncode == 0
    none = cli(bed.url, "gate", "check", "--engine", "procrastinate")
    assert (none.returncode, none.stdout) == (
        1,
        "The gate of procrastinate has not been made: what a sweep has not reached may still start.\n",
    )
    listed = json.loads(cli(bed.url, "engines", "--json").stdout)
    (queue,) = [each for each in listed if each["name"] == "procrastinate"]
    assert (queue["gate"], queue["capabilities"]["gate"], queue["capabilities"]["cancel"]) == ("none", False, True)
    assert any("secateur gate" in each and "--engine procrastinate" in each for each in queue["missing"])
    assert cli(bed.url, "gate", "install", "--engine", "procrastinate").returncode == 0
    assert cli(bed.url, "gate", "check", "--engine", "procrastinate").returncode == 0
    listed = json.loads(cli(bed.url, "engines", "--json").stdout)
    (queue,) = [each for each in listed if each["name"] == "procrastinate"]
    assert (queue["gate"], queue["capabilities"]["gate"]) == ("on", True)
    assert cli(bed.url, "gate", "remove", "--engine", "procrastinate").returncode == 0
    assert cli(bed.url, "gate", "check", "--engine", "procrastinate").returncode == 1


@pytest.mark.parametrize("printed", [False, True])
async def test_it_can_be_removed_when_secateurs_schema_is_gone(
    bed: Procrastinate, keeper: GateKeeper, database: Database, printed: bool
) -> None:
    await bed.enqueue(jobs(3))
    await commit(database)
    await database.execute("drop schema secateur cascade")
    found = cli(bed.url, "gate", "check", "--engine", "procrastinate")
    assert "its trigger is there, and secateur has no record of it: remove it" in found.stdout
    (queue,) = [
        each for each in json.loads(cli(bed.url, "engines", "--json").stdout) if each["name"] == "procrastinate"
    ]
    assert (queue["gate"], queue["capabilities"]["gate"]) == ("stale", False)
    removed = cli(bed.url, "gate", "remove", "--engine", "procrastinate", *(["--sql"] if printed else []))
    assert (removed.returncode, removed.stderr) == (0, "")
    if printed:
        await database.execute(removed.stdout)
    left = (
        "select proname::text from pg_proc where pronamespace = 'secateur_gates'::regnamespace union all"
        " select relname from pg_class where relnamespace = 'secateur_gates'::regnamespace union all"
        " select tgname from pg_trigger where tgname = 'aaa_secateur_gate'"
    )
    assert await database.fetch(left) == []
    assert cli(bed.url, "gate", "remove", "--engine", "procrastinate").returncode == 0
    assert (await gated(database)) is not None


async def test_a_gate_of_another_time_is_replaced(bed: Procrastinate, keeper: GateKeeper, database: Database) -> None:
    await bed.enqueue(jobs(3))
    await database.execute("drop schema secateur cascade")
    installation = await find_installation(database, "procrastinate")
    await install_queue(database, installation, author="tester")
    keeper = GateKeeper(database, installation)
    assert (await keeper.check()).state is GateState.STALE
    _, cancellation = await commit(database)
    assert cancellation.guarantee == "swept"
    assert (await keeper.install("tester")).state is GateState.ON
    await keeper.remove("tester")
    assert (await keeper.check()).state is GateState.NONE


async def test_what_is_printed_makes_it(bed: Procrastinate, installed: Installation, database: Database) -> None:
    printed = cli(bed.url, "gate", "install", "--engine", "procrastinate", "--sql")
    assert printed.returncode == 0
    keeper = GateKeeper(database, installed)
    assert (await keeper.check()).state is GateState.NONE
    await database.execute(printed.stdout)
    assert (await keeper.check()).state is GateState.ON
    removing = cli(bed.url, "gate", "remove", "--engine", "procrastinate", "--sql")
    await database.execute(removing.stdout)
    assert (await keeper.check()).state is GateState.NONE


async def test_a_commit_does_not_rely_on_a_gate_that_goes(
    bed: Procrastinate, keeper: GateKeeper, database: Database
) -> None:
    """The removal is open when the commit looks for the gate, and holds the lock: the commit is pending."""
    await bed.enqueue(jobs(3))
    queue = OpenQueue.over(await open_engine(database, name="procrastinate"))
    connection = await asyncpg.connect(bed.url)
    removing = connection.transaction()
    await removing.start()
    await connection.execute("select secateur.unguard('procrastinate', null)")
    wanted = CancellationRequest.parse({"app_id": "default", "if": ACME})
    cancellation = await queue.cancellations.commit(wanted, author="tester", source="python")
    assert cancellation.is_pending
    await connection.execute("drop trigger aaa_secateur_gate on procrastinate_jobs")
    await removing.commit()
    await connection.close()
    done = await queue.cancellations.wait(cancellation.id)
    assert (done.gated, done.guarantee) == (False, "swept")


async def test_a_number_of_another_server_holds_up_no_claim(
    bed: Procrastinate, keeper: GateKeeper, database: Database
) -> None:
    """As after a restore from a dump of an older cluster."""
    await bed.enqueue(jobs(2))
    (newest,) = [row[0] for row in await database.fetch("select relname from pg_class where relname like 'newest%'")]
    await database.execute(f"select setval('secateur_gates.{newest}', 1000000000000)")
    for isolation in ("repeatable read", "serializable"):
        connection = await asyncpg.connect(bed.url)
        async with connection.transaction(isolation=isolation.replace(" ", "_")):
            claimed = await connection.fetchrow("select * from procrastinate_fetch_job_v2(null, null)")
        await connection.close()
        assert claimed["id"] is not None


async def test_a_failing_gate_holds_up_no_other_claim(
    bed: Procrastinate, keeper: GateKeeper, database: Database
) -> None:
    await bed.enqueue(jobs(7))
    await commit(database)
    await database.execute("drop function secateur.take_jobs")
    first, second = await asyncpg.connect(bed.url), await asyncpg.connect(bed.url)
    open_claim = first.transaction()
    await open_claim.start()
    await first.fetchrow("select * from procrastinate_fetch_job_v2(null, null)")
    async with asyncio.timeout(10):
        while await second.fetchval("select id from procrastinate_fetch_job_v2(null, null)") is not None:
            pass
    await open_claim.rollback()
    await first.close()
    await second.close()


async def test_the_command_sweeps_at_once_behind_a_gate(
    bed: Procrastinate, keeper: GateKeeper, database: Database
) -> None:
    """Workers that meet what the gate keeps find nothing else, and wait."""
    await bed.enqueue(jobs(30))
    done = cli(bed.url, "cancel", "--engine", "procrastinate", "--app", "default", "--if", ACME, "--yes")
    assert done.returncode == 0, done.stderr
    assert await database.fetchval("select count(*) from procrastinate_jobs where status = 'cancelled'") == 10
