"""Every engine's file says of each job what the engine itself says of it: on its own schema, under its own worker."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import pytest
from beds import Bed
from readings import Reading

from patience import eventually

pytestmark = pytest.mark.timeout(300)

HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)
UNFINISHED = ("queued", "scheduled", "running")
ENDED = ("completed", "failed", "cancelled")

PAYLOADS: tuple[Any, ...] = (
    {"big": 2**63, "bigger": 10**40, "negative": -(2**70), "precise": 0.1},
    {"text": 'größer \u2028 "quoted" \\ 🌱', "ключ": ["é", ""]},
    {"deep": [[[{"a": {"b": [None, True, {}]}}]]], "empty": {}, "none": None},
    {"vendor": "acme", "args": {"data": 1}, "name": "x", "": 0},
)


@pytest.fixture
async def reading(bed: Bed, outside: asyncpg.Connection) -> Reading:
    reading = Reading(bed, outside)
    await reading.look_again()
    return reading


async def noted(outside: asyncpg.Connection) -> set[tuple[int, str]]:
    return {(row["number"], row["what"]) for row in await outside.fetch("select number, what from bed_ran")}


async def now(outside: asyncpg.Connection) -> datetime:
    moment: datetime = await outside.fetchval("select clock_timestamp()")
    return moment


async def test_an_installation_is_found_without_a_right(reading: Reading) -> None:
    """Its version may be hidden then."""
    bed, outside = reading.bed, reading.connection
    await outside.execute("drop role if exists somebody; create role somebody")
    for role in ("postgres", "somebody"):
        async with outside.transaction():
            await outside.execute(f"set local role {role}")
            [found] = await outside.fetch(reading.installation.file.statements["detect"])
        assert (found["schema"], found["prefix"]) == (bed.schema, bed.prefix)
        assert found["supported"] or role == "somebody"
        assert found["version"]


async def test_every_field_is_as_the_engine_says(reading: Reading) -> None:
    bed, outside = reading.bed, reading.connection
    began = await now(outside)
    [done] = await bed.enqueue([{"number": 1}], priority=2)
    [failing] = await bed.enqueue([{"number": 2, "fails": True}], task="mail")
    async with bed.worker():

        async def worked() -> bool:
            reached = {(1, "end"), (2, "start")} <= await noted(outside)
            return reached and not {str(await bed.state(run)).lower() for run in (done, failing)} & CLAIMED

        await eventually(worked, "the jobs to end")
        # Where a worker takes what is in any queue, what waits comes when it has its hands full.
        [long] = await bed.enqueue([{"number": 6, "seconds": 1000}])

        async def busy() -> bool:
            return (6, "start") in await noted(outside)

        await eventually(busy, "the worker to be busy")
        [waiting] = await bed.enqueue([{"number": 3}], queue="idle", priority=3)
        [later] = await bed.enqueue([{"number": 4}], queue="idle", delay=HOUR)
        [unwanted] = await bed.enqueue([{"number": 5}], queue="idle", task="mail", delay=HOUR)
        await bed.cancel(unwanted)
        ended = await now(outside)

        def about(moment: datetime | None, since: datetime, until: datetime) -> bool:
            return moment is not None and moment.tzinfo is not None and since - SECOND <= moment <= until + SECOND

        found = {row["id"]: row for row in await reading.rows()}
        expected = {waiting: "queued", later: "scheduled", long: "running"}
        expected |= {
            run: status
            for run, status in ((done, "completed"), (failing, "failed"), (unwanted, bed.cancelled_as))
            if await bed.state(run) is not None
        }
        assert {run: row["status"] for run, row in found.items()} == expected
        for run, row in found.items():
            assert str(row["state"]) == await bed.state(run)
            assert about(row["started_at"], began, ended), row
            assert row["function_id"] == row["name"] == bed.path + ("mail" if run in (failing, unwanted) else "sync")
            assert json.loads(row["event"]) == {"name": row["name"], "data": json.loads(row["data"])}
            assert row["priority"] in (None, {done: 2, waiting: 3}.get(run, bed.usual_priority))
            claimed = run in (done, failing, long)
            if run != unwanted or row["status"] == "cancelled":  # some engines call all of its attempts used up
                assert row["attempt"] in (None, int(claimed))
            assert (row["worker"] is None) or claimed
            if row["status"] in ENDED:
                kept = bed.keeps_ends or row["status"] == "completed"
                assert about(row["finished_at"], began, ended) if kept else row["finished_at"] is None
                assert row["claimed_at"] is None or (claimed and about(row["claimed_at"], began, ended))
            else:
                assert row["finished_at"] is None
                assert about(row["claimed_at"], began, ended) if claimed else row["claimed_at"] is None
        assert about(found[later]["scheduled_for"], began + HOUR, ended + HOUR)
        apps = {run: row["app_id"] for run, row in found.items()}
        assert apps[waiting] == apps[later]
        assert apps[waiting] == ("idle" if bed.has_queues else apps[long])
        if failing in found:
            assert found[failing]["error"] is None or "number 2 fails" in found[failing]["error"]


CLAIMED = {
    *("doing", "executing", "picked", "active", "running", "locked", "available", "created", "todo", "queued"),
    *("pending", "enqueued", "ready", "claimed"),
}
"""The states of a job that is at work or about to be, in the words of any engine."""


async def test_what_was_sent_is_the_data(reading: Reading) -> None:
    payloads = [{"number": number, "given": payload} for number, payload in enumerate(PAYLOADS)]
    runs = await reading.bed.enqueue(payloads)
    for run, payload in zip(runs, payloads, strict=True):
        assert exact(await reading.data(run), reading.bed) == exact(payload, reading.bed)


def exact(payload: Any, bed: Bed) -> Any:
    """As exact as the bed's client sends it."""
    return json.loads(json.dumps(payload), parse_int=float) if bed.has_doubles else payload


async def test_a_null_character_stops_no_reading(reading: Reading) -> None:
    """An engine that keeps jsonb refuses it itself."""
    with suppress(Exception):
        await reading.bed.enqueue([{"number": 2, "text": "a\0b"}])
    await reading.bed.enqueue([{"number": 1}])
    assert {row["number"] for row in await reading.rows(columns="run.data ->> 'number' as number")} <= {"1", None}
    assert await reading.rows("run.data ->> 'number' = '1'")


async def test_a_run_is_found_by_its_key(reading: Reading) -> None:
    runs = await reading.bed.enqueue([{"number": number} for number in range(5)])
    by_key = {row["id"]: row["key"] for row in await reading.rows(columns="run.id, run.key")}
    assert set(by_key) == set(runs)
    for run, key in by_key.items():
        [found] = await reading.connection.fetch(reading.query("run.id", "run.key = $1"), key)
        assert found["id"] == run


async def test_the_statuses_are_also_predicates(reading: Reading) -> None:
    bed, outside = reading.bed, reading.connection
    await bed.enqueue([{"number": 1}, {"number": 2, "fails": True}])
    await bed.enqueue([{"number": 4}], queue="idle")
    [cancelled, _] = await bed.enqueue([{"number": 3}, {"number": 5}], queue="idle", delay=HOUR)
    await bed.cancel(cancelled)
    async with bed.worker():

        async def worked() -> bool:
            return {(1, "end"), (2, "start")} <= await noted(outside)

        await eventually(worked, "the jobs to run")
    statuses = {"unfinished": UNFINISHED, "failed": ("failed",), "cancelled": ("cancelled",), "ended": ENDED}
    every = await reading.rows(columns="run.id, run.status")
    for name, meant in statuses.items():
        found = {row["id"] for row in await reading.rows(reading.sql(name), "run.id")}
        assert found == {row["id"] for row in every if row["status"] in meant}, name


async def test_the_depth_is_what_the_runs_add_up_to(reading: Reading) -> None:
    bed, outside = reading.bed, reading.connection
    for queue in ("idle", "slow"):
        await bed.enqueue([{"number": 0, "seconds": 1000}] * 3, queue=queue)
        await bed.enqueue([{"number": 1, "seconds": 1000}] * 2, queue=queue, task="mail", delay=HOUR)
        await bed.enqueue([{"number": 2, "fails": True}], queue=queue, task="mail", priority=9)
    async with bed.worker(queue="slow"):

        async def busy() -> bool:
            return (0, "start") in await noted(outside)

        await eventually(busy, "the worker to be at work")
        async with outside.transaction(isolation="repeatable_read"):
            rows = await reading.rows()
            depth = await outside.fetch(reading.sql("depth"))
        counted = Counter((row["app_id"], row["function_id"], row["status"]) for row in rows)
        for row in depth:
            of = (row["app_id"], row["function_id"])
            for status in UNFINISHED:
                assert row[status] == counted.pop((*of, status), 0), (of, status)
            failed = counted.pop((*of, "failed"), 0)
            assert row["failed"] in (None, failed)
            claimable = [one for one in rows if (one["app_id"], one["function_id"]) == of and one["status"] == "queued"]
            starts = [max(one["started_at"], one["scheduled_for"] or one["started_at"]) for one in claimable]
            assert row["oldest_claimable_at"] == (min(starts) if starts else None)
            assert (row["oldest_started_at"] is None) == (not starts)
        assert not {key for key in counted if key[2] in UNFINISHED}


async def test_rates_count_what_came_and_what_was_done(reading: Reading) -> None:
    bed, outside = reading.bed, reading.connection
    try:
        rates = reading.sql("rates")
    except KeyError:
        pytest.skip(f"{bed.engine} keeps nothing to count by")
    await bed.enqueue([{"number": number} for number in range(20)])
    await bed.enqueue([{"number": 100}] * 3, queue="idle", task="mail", delay=HOUR)

    async def arrived() -> dict[str, tuple[int, int]]:
        rows = await outside.fetch(rates)
        return {row["function_id"].removeprefix(bed.path): (row["arrived"], row["drained"]) for row in rows}

    assert {name: came for name, (came, _) in (await arrived()).items()} == {"sync": 20, "mail": 3}
    async with bed.worker(concurrency=5):

        async def drained() -> bool:
            return (await arrived()).get("sync", (0, 0))[1] == 20

        await eventually(drained, "20 jobs to be counted as done")
    assert (await arrived())["mail"] == (3, 0)


async def test_the_claim_order_is_the_order_in_which_the_worker_starts(reading: Reading) -> None:
    bed, outside = reading.bed, reading.connection
    for number, priority in enumerate((0, 2, 1, 0, 2, 1, 3)):
        await bed.enqueue([{"number": number}], priority=priority)
    await reading.look_again()
    rows = await outside.fetch(
        reading.query("run.data ->> 'number' as number") + f" order by {reading.sql('claim_order')}"
    )
    planned = [int(row["number"]) for row in rows]
    async with bed.worker():

        async def worked() -> bool:
            return {(number, "end") for number in planned} <= await noted(outside)

        await eventually(worked, "the jobs to end")
    started = await outside.fetch("select number from bed_ran where what = 'start' order by at")
    assert [row["number"] for row in started] == planned


def scans(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", ()):
        yield from scans(part)


async def test_a_count_reads_the_engines_own_table(reading: Reading) -> None:
    """The sub-select is pulled up: nothing stands between the condition and the table, but what parses a payload."""
    where = (
        f"run.app_id = 'default' and run.function_id = 'sync' and {reading.sql('unfinished')} and run.data is not null"
    )
    plan = await reading.connection.fetchval(f"explain (format json) {reading.query('count(*)', where)}")
    nodes = list(scans(json.loads(plan)[0]["Plan"]))
    between = [node for node in nodes if node["Node Type"] in ("Subquery Scan", "CTE Scan", "WindowAgg")]
    # Of several tables, the sub-selects of a union are planned each by itself, and read as they are.
    between = [node for node in between if not node.get("Alias", "").startswith("*SELECT*")]
    assert not [node for node in between if any("Relation Name" in part for part in scans(node))]
