"""Every statement on the hot paths finds its runs by the index that is meant for it, whatever the statistics say.

The statements inside the functions are watched by auto_explain. Four states are looked at: statistics taken now or
before the flood came, and plans for the values at hand or for any value.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from explaining import explained

from secateur.cel import compile as compile_filter
from secateur.engines.native.engine import NativeEngine
from secateur.postgres.database import Database
from servers import with_schema

ENQUEUE = """
select count(*) from secateur.enqueue_many(
  $1, $2,
  array(select jsonb_build_object('data', jsonb_build_object('vendor_id', 'v' || i % 50, 'pad', repeat('x', 100)))
          from generate_series(1, $3) as i),
  case when $4::interval is not null then array(select clock_timestamp() + $4 from generate_series(1, $3)) end,
  null,
  array(select clock_timestamp() - interval '1 hour' from generate_series(1, $3)))
"""
"""Of an hour ago, so that none of them counts as having arrived in the last seconds."""

_SCAN = re.compile(
    r"(Seq Scan|(?:Parallel )?Index(?: Only)? Scan(?: Backward)? using \w+|Bitmap Index Scan on \w+)(?: on (\w+))?"
)

_WHOLE_APP = re.compile(r"runs_pkey on runs\b.*\n +Index Cond: \(app_id = ")


@pytest.fixture(scope="module")
def flooded_url(postgres_server: Any) -> Any:
    """60,000 runs of history, and statistics of them; then a flood of 18,000, 6,000 scheduled, 1,000 running."""
    name = postgres_server.create_database(with_schema)
    yield postgres_server.postgres.database_url(name)
    postgres_server.drop_database(name)


@pytest.fixture
async def flooded(flooded_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(flooded_url, timeout=60)
    if not await connection.fetchval("select exists (select from secateur.runs)"):
        await connection.execute("alter table secateur.runs set (autovacuum_enabled = off)")
        await connection.fetchval(ENQUEUE, "old", "done", 60_000, None)
        await connection.execute(
            "update secateur.runs set status = 'completed', finished_at = now() - interval '1 day'"
        )
        await connection.execute("vacuum (analyze) secateur.runs")
        for function in ("sync", "mail", "bills"):
            await connection.fetchval(ENQUEUE, "shop", function, 6_000, None)
        await connection.fetchval(ENQUEUE, "shop", "sync", 6_000, timedelta(hours=1))
        await connection.fetch("select * from secateur.claim('shop', null, 1000, 'before', '1 hour')")
    yield connection
    connection.terminate()


def scans(plans: list[str]) -> set[str]:
    """How the runs were found: the names of the indexes, `Seq Scan`, or the key's first column alone."""
    found = {"all runs of the app" for plan in plans if _WHOLE_APP.search(plan)}
    for kind, table in (match for plan in plans for match in _SCAN.findall(plan)):
        if "Seq Scan" in kind and table == "runs":
            found.add("Seq Scan")
        elif (index := kind.split()[-1]).startswith("runs_"):
            found.add(index)
    return found


async def commit(connection: asyncpg.Connection) -> UUID:
    condition, parameters = compile_filter("event.data.vendor_id == 'v7'").condition.stored()
    return await connection.fetchval(
        "select id from secateur.commit_cancellation($1, 'shop', null, 'x', null, null, false, $2, $3::jsonb, 1, '{}',"
        " null, null, 'python', 'tester', null, null)",
        *(uuid4(), condition, json.dumps(parameters)),
    )


async def claim(connection: asyncpg.Connection) -> None:
    await connection.fetch("select * from secateur.claim('shop', null, 20, 'worker', '1 hour')")


async def claim_checked(connection: asyncpg.Connection) -> None:
    await commit(connection)
    await claim(connection)


async def recover_and_promote(connection: asyncpg.Connection) -> None:
    await connection.execute(
        "update secateur.runs set lease_expires_at = now() - interval '1 s'"
        " where id in (select id from secateur.runs where status = 'running' limit 200)"
    )
    await connection.execute(
        "update secateur.runs set scheduled_for = now() - interval '1 s'"
        " where id in (select id from secateur.runs where status = 'scheduled' limit 500)"
    )
    await connection.execute("select 'counted from here'")
    await claim(connection)


async def sweep(connection: asyncpg.Connection) -> None:
    id = await commit(connection)
    for _ in range(2):
        await connection.fetch("select * from secateur.sweep_cancellation('shop', $1, 10000)", id)


async def work(connection: asyncpg.Connection) -> None:
    await commit(connection)
    runs = [
        tuple(row)
        for row in await connection.fetch(
            "select id, claim_token from secateur.runs where status = 'running' order by id limit 9"
        )
    ]
    await connection.execute("select 'counted from here'")
    for run in runs[:3]:
        await connection.fetchval("select secateur.begin_step('shop', $1, $2, 'one')", *run)
        await connection.fetchval("select secateur.complete('shop', $1, $2)", *run)
        await connection.fetchval("select secateur.complete('shop', $1, $2)", *run)
    for run in runs[3:6]:
        await connection.fetchval("select secateur.fail('shop', $1, $2, 'one')", *run)
    ids, tokens = zip(*(tuple(run) for run in runs[6:]), strict=True)
    await connection.fetch("select * from secateur.heartbeat('shop', $1::uuid[], $2::uuid[], '1 hour')", ids, tokens)
    await connection.fetch("select secateur.release('shop', $1::uuid[], $2::uuid[])", ids, tokens)


async def keep_steps(connection: asyncpg.Connection) -> None:
    (run,) = await connection.fetch("select id, claim_token from secateur.runs where status = 'running' limit 1")
    await connection.execute("select 'counted from here'")
    await connection.fetchval("select secateur.finish_step('shop', $1, $2, 'one', '1')", *run)
    assert len(await connection.fetch("select * from secateur.finished_steps('shop', $1, $2)", *run)) == 1


async def cancel_single(connection: asyncpg.Connection) -> None:
    found = await connection.fetch(
        "(select id from secateur.runs where status = 'queued' limit 1)"
        " union all (select id from secateur.runs where status = 'running' limit 1)"
    )
    await connection.execute("select 'counted from here'")
    for (run,) in found:
        id = await connection.fetchval(
            "select id from secateur.cancel_run($1, 'shop', $2, null, null, 'python', 'tester')", uuid4(), run
        )
        await connection.fetch("select * from secateur.sweep_cancellation('shop', $1, 10000)", id)


async def undo(connection: asyncpg.Connection) -> None:
    """Of two that match the same runs, so that one takes what the other gives back."""
    first, second = await commit(connection), await commit(connection)
    for id in (first, second):
        await connection.fetch("select * from secateur.sweep_cancellation('shop', $1, 30000)", id)
    await connection.execute("select 'counted from here'")
    for id in (first, second):
        await connection.fetchval("select secateur.undo_cancellation('shop', $1, 'tester', 'python')", id)
        await connection.fetch("select * from secateur.restore_cancellation('shop', $1, 500)", id)
        assert len(await connection.fetch("select * from secateur.unrestored('shop', $1, 100)", first)) == 100 * (
            id == first
        )


EXPECTED: dict[Callable[[asyncpg.Connection], Any], set[str]] = {
    claim: {"runs_queued", "runs_scheduled", "runs_running", "runs_pkey"},
    claim_checked: {"runs_queued", "runs_scheduled", "runs_running", "runs_pkey"},
    recover_and_promote: {"runs_queued", "runs_scheduled", "runs_running", "runs_pkey"},
    sweep: {"runs_unfinished", "runs_running", "runs_pkey"},
    work: {"runs_pkey"},
    keep_steps: {"runs_pkey"},
    cancel_single: {"runs_pkey", "runs_running"},
    undo: {"runs_pkey", "runs_cancelled", "runs_handed_over"},
}


@pytest.mark.parametrize("fresh", [False, True], ids=["old statistics", "fresh statistics"])
@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
@pytest.mark.parametrize("operation", EXPECTED, ids=lambda operation: operation.__name__)
async def test_function(
    flooded: asyncpg.Connection, operation: Callable[[asyncpg.Connection], Any], mode: str, fresh: bool
) -> None:
    async with explained(flooded) as plans:
        if fresh:
            await flooded.execute("analyze secateur.runs")
        await flooded.execute(f"set local plan_cache_mode = {mode}")
        await operation(flooded)
    start = next((n for n, plan in enumerate(plans) if "counted from here" in plan), 0)
    assert scans(plans[start:]) <= EXPECTED[operation]
    assert "runs_pkey" in scans(plans[start:])


@pytest.mark.parametrize("fresh", [False, True], ids=["old statistics", "fresh statistics"])
async def test_depth_reads_one_run_of_each_function(flooded: asyncpg.Connection, fresh: bool) -> None:
    async with explained(flooded) as plans:
        if fresh:
            await flooded.execute("analyze secateur.runs")
        await flooded.execute("set local auto_explain.log_analyze = on")
        await flooded.fetch(NATIVE.sql("depth"))
    assert scans(plans) == {"runs_unfinished", "runs_promoted", "runs_scheduled", "runs_running"}
    read = re.findall(r"Index Scan using runs_(\w+) .*rows=([\d.]+) loops=(\d+)", plans[-1])
    assert {index for index, _, _ in read} >= {"unfinished", "running"}
    assert all(float(rows) <= 1 and int(loops) <= 4 for _, rows, loops in read)


@pytest.mark.parametrize("fresh", [False, True], ids=["old statistics", "fresh statistics"])
async def test_moving_the_deltas_reads_one_run_of_each_function(flooded: asyncpg.Connection, fresh: bool) -> None:
    async with explained(flooded) as plans:
        if fresh:
            await flooded.execute("analyze secateur.runs")
        await flooded.execute("select 'counted from here'")
        await flooded.execute("select secateur.compact_depth('shop')")
    start = next(n for n, plan in enumerate(plans) if "counted from here" in plan)
    assert scans(plans[start:]) == {"runs_unfinished", "runs_promoted"}
    assert any("Tid Scan on depth_deltas" in plan for plan in plans[start:])


async def test_the_self_check_reads_no_row(flooded: asyncpg.Connection) -> None:
    async with explained(flooded) as plans:
        await flooded.execute("select secateur.check_depth('shop')")
    assert scans(plans) == {"runs_unfinished", "runs_failed", "runs_queued"}
    assert any("Index Only Scan using runs_unfinished" in plan for plan in plans)


@pytest.mark.parametrize("fresh", [False, True], ids=["old statistics", "fresh statistics"])
@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
async def test_pruning_finds_what_is_old(flooded: asyncpg.Connection, mode: str, fresh: bool) -> None:
    async with explained(flooded) as plans:
        id = await commit(flooded)
        for _ in range(4):
            await flooded.fetch("select * from secateur.sweep_cancellation('shop', $1, 10000)", id)
        await flooded.execute(
            "update secateur.cancellations set state = 'complete', completed_at = now() - interval '1 year'"
        )
        await flooded.execute("update secateur.retention set finished = '1 hour'")
        if fresh:
            await flooded.execute("analyze secateur.runs")
        await flooded.execute(f"set local plan_cache_mode = {mode}")
        await flooded.execute("select 'counted from here'")
        assert await flooded.fetchval("select prune.runs from secateur.prune('old', 300)") == 300
        assert await flooded.fetchval("select secateur.prune_cancelled('shop', now(), 300)") == 300
    start = next(n for n, plan in enumerate(plans) if "counted from here" in plan)
    assert scans(plans[start:]) == {"runs_drained", "runs_cancelled", "runs_cancelled_otherwise", "runs_pkey"}
    assert not any("Seq Scan on steps" in plan or "Seq Scan on cancel_requests" in plan for plan in plans[start:])


UNFINISHED = "run.status in ('queued', 'scheduled', 'running')"
NATIVE = NativeEngine.__new__(NativeEngine)
"""Its statements take no connection."""

COUNT = NATIVE.sql("count").replace("{among}", UNFINISHED)


async def test_a_count_reads_the_scope_only(flooded: asyncpg.Connection) -> None:
    # One function of the app: all of it is over a quarter of this table, which Postgres may rightly read as a whole.
    await flooded.execute("analyze secateur.runs")
    condition, more = compile_filter("event.data.vendor_id == 'v7'").condition.bind(5, None)
    async with explained(flooded) as plans:
        await flooded.execute("set local plan_cache_mode = force_custom_plan")
        await flooded.fetch(COUNT.replace("{condition}", condition), "shop", "sync", None, None, *more)
        await flooded.fetch(NATIVE.sql("total").replace("{among}", UNFINISHED), "shop", "sync")
    assert scans(plans) == {"runs_unfinished"}


async def test_a_refresh_of_the_console_is_one_statement(flooded_url: str, flooded: asyncpg.Connection) -> None:
    asked = []

    class Counting(Database):
        async def fetch(self, sql: str, *args: object, **options: Any) -> list[asyncpg.Record]:
            asked.append(sql)
            return await super().fetch(sql, *args, **options)

    async with Counting.connect(flooded_url) as database:
        depths = await NativeEngine(database).depth()
    assert len(asked) == 1
    assert {depth.function_id for depth in depths} == {"done", "sync", "mail", "bills"}


async def test_what_is_forbidden_to_the_planner_is_not_compiled(database: Database) -> None:
    """Before Postgres 18, a forbidden kind of plan is estimated at ten billion: a reason for JIT to compile it."""
    careless = await database.fetch(
        "select proname from pg_proc where pronamespace = 'secateur'::regnamespace"
        " and exists (select from unnest(proconfig) as one where one like 'enable_%=off')"
        " and not 'jit=off' = any (proconfig)"
    )
    assert [row["proname"] for row in careless] == []
