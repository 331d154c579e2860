"""What only Graphile Worker has: payloads that jsonb does not admit, keys that move to another job, and lost locks."""

from __future__ import annotations

import json
from typing import Any

import pytest
from beds.graphile_worker import GraphileWorker
from pruning import Pruning, pres_of

from patience import eventually
from secateur.engines.foreign.gating import GateKeeper, GateState
from secateur.engines.foreign.installing import install_queue
from secateur.engines.loading import find_installation, open_engine
from secateur.open_queue import OpenQueue
from secateur.postgres.database import Database
from secateur.requests import CancellationRequest

pytestmark = [pytest.mark.timeout(300), pytest.mark.parametrize("bed", [GraphileWorker], indirect=True)]

PAIR = "\\ud83d\\ude00"
READABLE = (
    '{"a": 1}',
    '{"a": "' + PAIR + '"}',
    '{"a": "\\\\u0000 and \\\\ud800"}',
    '{"a": "\\\\' + PAIR + '"}',
    '{"a": "3e12345, 4e99999", "3E99999": ": 5e99999"}',
    '{"a": "\\", 6e99999"}',
    '{"a": 1e131, "b": [-1.5E-12, 0e0]}',
    '{"a": "' + "7" * 20_000 + '"}',
    "[" * 200 + "]" * 200,
    '"text"',
    "17",
    "null",
)
UNREADABLE = (
    '{"a": "\\u0000"}',
    '{"\\u0000": 1}',
    '{"a": "\\\\\\u0000"}',
    '{"a": "\\ud800"}',
    '{"a": "\\uDC00"}',
    '{"a": "\\ude00\\ud83d"}',
    '{"a": "\\ud83d\\\\\\ude00"}',
    '{"a": "' + PAIR + '\\ud83d"}',
    '{"a": 1e200000}',
    "[1, -1.5E-20000]",
    "1e999999999",
    '{"a": ' + "9" * 140_000 + "}",
    '{"a": 0.' + "9" * 20_000 + "}",
)


async def add(pruning: Pruning, payloads: tuple[str, ...]) -> list[str]:
    """As somebody does in SQL, who may give whatever json admits."""
    add = "select id::text from graphile_worker.add_job('sync', $1::json)"
    return [await pruning.connection.fetchval(add, payload) for payload in payloads]


async def data_of(pruning: Pruning) -> dict[str, Any]:
    source = pruning.installation.source.replace("{sampled}", "")
    rows = await pruning.connection.fetch(f"select run.id, run.data, run.event from {source} as run")
    for row in rows:
        assert json.loads(row["event"]) == {"name": "sync", "data": row["data"] and json.loads(row["data"])}
    return {row["id"]: row["data"] and json.loads(row["data"]) for row in rows}


async def test_a_payload_is_read_wherever_it_can_be(pruning: Pruning) -> None:
    ids = await add(pruning, READABLE)
    found = await data_of(pruning)
    assert [json.loads(json.dumps(found[id]), parse_int=float) for id in ids] == [
        json.loads(payload, parse_int=float) for payload in READABLE
    ]


async def test_a_payload_that_cannot_be_read_hides_no_other(pruning: Pruning) -> None:
    ids = await add(pruning, (*UNREADABLE, READABLE[0]))
    assert await data_of(pruning) == {**dict.fromkeys(ids[:-1]), ids[-1]: {"a": 1}}


async def test_it_is_cancelled_and_comes_back_all_the_same(pruning: Pruning) -> None:
    ids = await add(pruning, (*UNREADABLE, *READABLE))
    before = await pruning.rows()
    cancelled = await pruning.cancel(ids)
    assert cancelled.keys() == set(ids)
    await pruning.connection.execute("delete from graphile_worker._private_jobs where id % 2 = 0")
    assert await pruning.restore(pres_of(cancelled)) == dict.fromkeys(ids)
    assert await pruning.rows() == before


async def test_a_named_queue_is_an_app(pruning: Pruning) -> None:
    await pruning.bed.enqueue([{"number": 1}])
    await pruning.bed.enqueue([{"number": 2}], queue="invoices")
    found = {(row["app_id"], row["function_id"], row["queued"]) for row in await pruning.fetch("depth")}
    assert found == {("-", "sync", 1), ("invoices", "sync", 1)}


async def test_a_key_that_was_removed_does_not_come_back(pruning: Pruning) -> None:
    [id] = await pruning.bed.enqueue([{"number": 1}], key="k")
    cancelled = await pruning.cancel([id])
    await pruning.connection.execute("select graphile_worker.remove_job('k')")
    assert await pruning.restore(pres_of(cancelled)) == {id: "it was removed by its key"}


async def test_an_old_lock_is_lost(pruning: Pruning) -> None:
    ids = await pruning.bed.enqueue([{"number": 1}, {"number": 2}])
    await pruning.connection.execute(
        "update graphile_worker._private_jobs"
        " set locked_by = 'gone', locked_at = now() - id * interval '3 hours', attempts = 1"
    )
    [depth] = await pruning.fetch("depth")
    assert (depth["running"], depth["lost"], depth["queued"]) == (2, 1, 0)
    assert await pruning.cancel(ids) == {}


async def test_what_failed_by_itself_is_not_ours_to_put_back(pruning: Pruning) -> None:
    """Nor what was cancelled, and has been run again since."""
    ids = await pruning.bed.enqueue([{"number": 1}, {"number": 2}])
    cancelled = await pruning.cancel(ids)
    await pruning.connection.execute(
        "update graphile_worker._private_jobs set last_error = 'boom' where id = $1", int(ids[0])
    )
    assert await pruning.restore(pres_of(cancelled)) == {ids[0]: "it is no longer cancelled", ids[1]: None}
    await pruning.bed.cancel(ids[1])
    assert await pruning.cancel(ids) == {}
    assert await pruning.statuses(ids) == dict.fromkeys(ids, "failed")


async def test_a_named_queue_goes_on_when_the_gate_took_its_job(pruning: Pruning, empty_database_url: str) -> None:
    """The claim locks the queue as well, whose next job would else wait for four hours."""
    bed = pruning.bed
    jobs = [{"number": number, "vendor": "globex" if number % 3 else "acme"} for number in range(6)]
    async with Database.connect(empty_database_url) as database:
        installation = await find_installation(database, bed.engine)
        await install_queue(database, installation, author="tester")
        keeper = GateKeeper(database, installation)
        assert (await keeper.install("tester")).state is GateState.ON
        await bed.enqueue(jobs, queue="serial")
        queue = OpenQueue.over(await open_engine(database, name=bed.engine))
        wanted = CancellationRequest.parse({"app_id": "serial", "if": "event.data.vendor == 'acme'"})
        await queue.cancellations.commit(wanted, author="tester", source="python")
        async with bed.worker():

            async def others_ran() -> bool:
                return set(await pruning.noted("end")) == {1, 2, 4, 5}

            await eventually(others_ran, "the named queue's other jobs to run")
        assert set(await pruning.noted("start")) == {1, 2, 4, 5}
        assert await database.fetchval("select count(*) = 2 from secateur.preimages where taken_by = 'gate'")
        await database.execute("drop trigger aaa_secateur_gate on graphile_worker._private_job_queues")
        assert (await keeper.check()).problems == ("its trigger is not on the engine's table",)
        await keeper.remove("tester")
        assert (await keeper.check()).state is GateState.NONE
