"""What engines keep that is no plain object of JSON: pickles, positional arguments, records, text of any kind."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import asyncpg
import pytest
from beds import Bed
from beds.dbos import Dbos, Pickled
from beds.django_tasks_db import DjangoTasks
from beds.good_job import GoodJob
from beds.solid_queue import SolidQueue
from readings import Reading

pytestmark = pytest.mark.timeout(300)

MARK = "_aj_symbol_keys"


async def installed(kind: type[Bed], url: str) -> Bed:
    if kind.missing is not None:
        pytest.skip(kind.missing)
    bed = kind(url)
    await bed.install()
    return bed


async def test_a_pickle_is_never_opened(empty_database_url: str, outside: asyncpg.Connection) -> None:
    bed = await installed(Pickled, empty_database_url)
    runs = await bed.enqueue([{"number": 1}, {"number": 2}])
    reading = Reading(bed, outside)
    assert [await reading.data(run) for run in runs] == [None, None]
    assert await reading.rows("run.data ->> 'number' = '1'") == []
    [depth] = await outside.fetch(reading.sql("depth"))
    assert (depth["function_id"], depth["queued"]) == ("sync", 2)


PORTABLE: tuple[tuple[str | None, str | None, Any], ...] = (
    ("portable_json", '{"namedArgs":{"a":1},"positionalArgs":[]}', {"a": 1}),
    ("portable_json", '{"namedArgs":{"a":1},"positionalArgs":[2,{"b":3}]}', {"a": 1, "args": [2, {"b": 3}]}),
    ("portable_json", '{"positionalArgs":[2]}', {"args": [2]}),
    ("portable_json", "{}", {}),
    ("portable_json", '{"namedArgs":{"a":"\\u0000"}}', None),
    ("portable_json", '{"namedArgs":{"a":NaN}}', None),
    ("js_superjson", '{"json":[{"a":1}],"meta":{}}', {"args": [{"a": 1}]}),
    ("of_my_own", '{"args":[1],"kwargs":{"a":1}}', {"a": 1, "args": [1]}),
    ("of_my_own", '{"kwargs":[1]}', {"kwargs": [1]}),
    ("of_my_own", "<args/>", None),
    (None, "[1, 2]", {"args": [1, 2]}),
    (None, "12", 12),
    (None, "gASVJAAAAAAAAAB9lCiMBGFyZ3OUKYwGa3dhcmdzlH2UjAZudW1iZXKUSwFzdS4=", None),
    ("py_pickle", '{"namedArgs":{"a":1}}', None),
    ("portable_json", None, None),
)


async def test_dbos_arguments_of_any_serializer(empty_database_url: str, outside: asyncpg.Connection) -> None:
    bed = await installed(Dbos, empty_database_url)
    runs = await bed.enqueue([{"number": number} for number in range(len(PORTABLE))])
    reading = Reading(bed, outside)
    for run, (serialization, text, _) in zip(runs, PORTABLE, strict=True):
        await outside.execute("update dbos.workflow_input set inputs = $2 where workflow_uuid = $1", run, text)
        await outside.execute(
            "update dbos.workflow_status set serialization = $2 where workflow_uuid = $1", run, serialization
        )
    for run, (serialization, text, data) in zip(runs, PORTABLE, strict=True):
        assert await reading.data(run) == data, (serialization, text)


async def test_dbos_times_beyond_any_timestamp(empty_database_url: str, outside: asyncpg.Connection) -> None:
    bed = await installed(Dbos, empty_database_url)
    [run] = await bed.enqueue([{"number": 1}])
    for odd in (2**63 - 1, -(2**63), -1):
        await outside.execute(
            """update dbos.workflow_status set created_at = $1, updated_at = $1, delay_until_epoch_ms = $1,
                      started_at_epoch_ms = $1, completed_at = $1, recovery_attempts = 1""",
            odd,
        )
        reading = Reading(bed, outside)
        row = await reading.row(run)
        assert row is not None
        assert 1970 <= row["started_at"].year <= 9999
        assert (row["scheduled_for"], row["claimed_at"]) == (None, None)
        assert len(await outside.fetch(reading.sql("depth"))) == 1


async def test_djangos_positional_arguments(empty_database_url: str, outside: asyncpg.Connection) -> None:
    bed = await installed(DjangoTasks, empty_database_url)
    [run] = await bed.enqueue([{"number": 1}])
    reading = Reading(bed, outside)
    for given, data in (
        ({"args": [], "kwargs": {"a": 1}}, {"a": 1}),
        ({"args": [1, {"b": 2}], "kwargs": {"a": 1}}, {"a": 1, "args": [1, {"b": 2}]}),
        ({"args": [1], "kwargs": {}}, {"args": [1]}),
        ({"kwargs": {"a": 1}}, {"a": 1}),
        ([1, 2], [1, 2]),
        (None, None),
    ):
        await outside.execute(
            "update django_tasks_database_dbtaskresult set args_kwargs = $1, worker_ids = $1", json.dumps(given)
        )
        assert await reading.data(run) == data


ARGUMENTS: tuple[tuple[Any, Any], ...] = (
    ([{"a": 1, "_aj_ruby2_keywords": ["a"]}], {"a": 1}),
    ([1, "x", {"a": 1, "_aj_ruby2_keywords": ["a"]}], {"a": 1, "args": [1, "x"]}),
    ([{"a": 1, MARK: ["a"]}], {"a": 1}),
    ([{"a": 1, "_aj_hash_with_indifferent_access": True}], {"a": 1}),
    ([{"_aj_globalid": "gid://shop/Customer/5"}], {"args": [{"_aj_globalid": "gid://shop/Customer/5"}]}),
    ([1, 2], {"args": [1, 2]}),
    ([], {}),
    ({"a": 1}, None),
    (None, None),
)


@pytest.mark.parametrize("kind", [SolidQueue, GoodJob], ids=lambda kind: kind.__name__)
async def test_arguments_of_active_job(kind: type[Bed], empty_database_url: str, outside: asyncpg.Connection) -> None:
    bed = await installed(kind, empty_database_url)
    [run] = await bed.enqueue([{"number": 1}])
    table, column = ("solid_queue_jobs", "arguments") if kind is SolidQueue else ("good_jobs", "serialized_params")
    reading = Reading(bed, outside)
    for arguments, data in ARGUMENTS:
        await outside.execute(f"update {table} set {column} = $1", json.dumps({"arguments": arguments}))
        row = await reading.row(run)
        assert row is not None
        assert (None if row["data"] is None else json.loads(row["data"])) == data, arguments


async def test_solid_queues_arguments_may_be_any_text(empty_database_url: str, outside: asyncpg.Connection) -> None:
    bed = await installed(SolidQueue, empty_database_url)
    [run, other] = await bed.enqueue([{"number": 1}, {"number": 2}])
    reading = Reading(bed, outside)
    for text in ("", "--- yaml", '{"arguments":[', "[]", "3", '{"arguments":[{"a":"\\u0000"}]}', None):
        await outside.execute("update solid_queue_jobs set arguments = $2 where id = $1", int(run), text)
        assert await reading.data(run) is None
        [found] = await reading.rows("run.data ->> 'number' = '2'")
        assert found["id"] == other


READ = {
    Dbos: {"workflow_status"},
    SolidQueue: {"solid_queue_jobs", "solid_queue_failed_executions"},
    GoodJob: {"good_jobs"},
}


@pytest.mark.parametrize("kind", READ, ids=lambda kind: kind.__name__)
async def test_a_count_reads_no_table_that_it_does_not_need(
    kind: type[Bed], empty_database_url: str, outside: asyncpg.Connection
) -> None:
    reading = Reading(await installed(kind, empty_database_url), outside)
    plan = json.loads(
        await outside.fetchval(f"explain (format json) {reading.query('count(*)', reading.sql('unfinished'))}")
    )
    assert set(relations(plan[0]["Plan"])) == READ[kind]


def relations(plan: dict[str, Any]) -> Iterator[str]:
    if "Relation Name" in plan:
        yield plan["Relation Name"]
    for part in plan.get("Plans", ()):
        yield from relations(part)
