"""What only pg-boss has: ids that two queues share, partitions, policies of queues, its counters and its indexes."""

from __future__ import annotations

from typing import Any

import asyncpg
import pytest
from beds.pgboss import PgBoss, PgBossTen
from pruning import Pruning

from secateur.engines.loading import open_engine
from secateur.postgres.database import Database

pytestmark = pytest.mark.timeout(300)
newest = pytest.mark.parametrize("bed", [PgBoss], indirect=True)

SAME = "0190a5d2-7c1e-7e7b-9f7a-3c5d1e2f4a6b"


async def plan_of(connection: asyncpg.Connection, sql: str, *parameters: object) -> str:
    return "\n".join(row[0] for row in await connection.fetch(f"explain {sql}", *parameters))


async def fill(connection: asyncpg.Connection) -> None:
    """Many that are over, in the common table and in a partition, and few that wait."""
    await connection.execute(
        "insert into pgboss.job (name, data, state, completed_on)"
        " select task, jsonb_build_object('number', n), 'completed', now()"
        "   from generate_series(1, 6000) as n, unnest(array['sync', 'mail']) as task;"
        "insert into pgboss.job (name, data)"
        " select 'sync', jsonb_build_object('number', n) from generate_series(1, 50) as n;"
        "analyze pgboss.job"
    )


@newest
async def test_an_id_that_two_queues_share_is_two_runs(pruning: Pruning, empty_database_url: str) -> None:
    bed = pruning.bed
    assert isinstance(bed, PgBoss)
    for task in ("sync", "mail"):
        await bed.api.call("send", name=task, data={"number": 1}, options={"id": SAME})
    ids = [f"{task}:{SAME}" for task in ("sync", "mail")]
    assert await pruning.statuses(ids) == dict.fromkeys(ids, "queued")
    assert (await pruning.cancel(ids[:1])).keys() == set(ids[:1])
    assert await pruning.statuses(ids) == {ids[0]: "cancelled", ids[1]: "queued"}
    async with Database.connect(empty_database_url) as database:
        source = await open_engine(database)
        assert [(await source.run(id)).id for id in ids] == ids
        assert (await source.run(SAME)).id in ids


@newest
async def test_its_own_indexes_serve(pruning: Pruning) -> None:
    connection = pruning.connection
    await fill(connection)
    source = pruning.installation.source.replace("{sampled}", "")
    one = pruning.installation.sql("one")
    for id in (f"sync:{SAME}", SAME):
        plan = await plan_of(connection, f"select run.id from {source} as run where {one}", id)
        assert "Seq Scan on job" not in plan, plan
    these = pruning.installation.sql("these")
    plan = await plan_of(connection, f"select run.id from {source} as run where {these}", [f"sync:{SAME}"])
    assert "Seq Scan on job" not in plan, plan
    unfinished = pruning.installation.sql("unfinished")
    where = f"run.app_id = 'pgboss' and run.function_id = 'sync' and {unfinished} and run.data @> '{{\"number\": 1}}'"
    plan = await plan_of(connection, f"select count(*) from {source} as run where {where}")
    assert "job_common_i14" in plan, plan
    assert "Seq Scan" not in plan, plan
    plan = await plan_of(connection, pruning.installation.sql("depth"))
    assert "_i14" in plan, plan


@newest
async def test_what_is_blocked_is_scheduled(pruning: Pruning) -> None:
    ids = await pruning.bed.enqueue([{"number": 1}, {"number": 2}])
    await pruning.connection.execute("update pgboss.job set blocked = true where id = $1", ids[0].partition(":")[2])
    assert await pruning.statuses(ids) == {ids[0]: "scheduled", ids[1]: "queued"}
    [sync] = [row for row in await pruning.fetch("depth") if row["function_id"] == "sync"]
    assert (sync["queued"], sync["scheduled"]) == (1, 1)


@newest
@pytest.mark.parametrize("policy", ["short", "stately", "exclusive", "throttled"])
async def test_a_key_that_is_taken_is_not_taken_back(pruning: Pruning, policy: str) -> None:
    """Of the queue's policy, or of throttling."""
    bed = pruning.bed
    assert isinstance(bed, PgBoss)
    throttled = policy == "throttled"
    await bed.api.call("createQueue", name="narrow", **({} if throttled else {"policy": policy}))
    options = {"singletonKey": "k"} | ({"singletonSeconds": 3600} if throttled else {})

    async def send(number: int) -> str:
        id = await bed.api.call("send", name="narrow", data={"number": number}, options=options)
        return f"narrow:{id}"

    pres: list[Any] = []
    first = await send(1)
    assert await send(1) == "narrow:None"
    pres += [row["pre"] for row in (await pruning.cancel([first])).values()]
    second = await send(2)
    assert await pruning.restore(pres) == {first: f"its key is held by job {second.partition(':')[2]}"}
    assert await pruning.statuses([first, second]) == {first: "cancelled", second: "queued"}
    pres += [row["pre"] for row in (await pruning.cancel([second])).values()]
    assert await pruning.restore(pres) == {first: None, second: "its key is held by a job that came back before it"}
    assert await pruning.restore(pres[1:]) == {second: f"its key is held by job {first.partition(':')[2]}"}


@newest
async def test_what_its_own_api_did_meanwhile_stays(pruning: Pruning) -> None:
    bed = pruning.bed
    assert isinstance(bed, PgBoss)
    await bed.api.call("createQueue", name="brief")
    ids = await bed.enqueue([{"number": 1}, {"number": 2}])
    brief = await bed.enqueue([{"number": 3}], task="brief")
    pres = [row["pre"] for row in (await pruning.cancel([*ids, *brief])).values()]
    await pruning.connection.execute(
        "update pgboss.job set state = 'created', completed_on = null where id = $1", ids[0].partition(":")[2]
    )
    await pruning.connection.execute("select pgboss.delete_queue('brief')")
    assert await pruning.restore(pres) == {
        ids[0]: "it is no longer cancelled: it is created",
        ids[1]: None,
        brief[0]: "it was deleted, and so was its queue",
    }


@newest
async def test_its_counter_of_finished_jobs_loses_what_comes_back(pruning: Pruning) -> None:
    ids = await pruning.bed.enqueue([{"number": number} for number in range(5)])
    pres = [row["pre"] for row in (await pruning.cancel(ids)).values()]
    await pruning.connection.execute(
        "update pgboss.queue set retained_count = 9, retained_on = now() where name = 'sync'"
    )
    await pruning.restore(pres[:3])
    count = "select retained_count from pgboss.queue where name = 'sync'"
    assert await pruning.connection.fetchval(count) == 6
    await pruning.connection.execute("update pgboss.queue set retained_on = now() - interval '1 hour'")
    await pruning.restore(pres[3:])
    assert await pruning.connection.fetchval(count) == 6


@pytest.mark.parametrize("bed", [PgBossTen], indirect=True)
async def test_every_queue_of_version_ten_has_a_partition(pruning: Pruning) -> None:
    """And columns that came later are not missed."""
    ids = [*await pruning.bed.enqueue([{"number": 1}]), *await pruning.bed.enqueue([{"number": 2}], task="mail")]
    before = await pruning.rows()
    cancelled = await pruning.cancel(ids)
    assert cancelled.keys() == set(ids)
    assert await pruning.restore([row["pre"] for row in cancelled.values()]) == dict.fromkeys(ids)
    assert await pruning.rows() == before
