"""What only River has: an index on the arguments, migrations that others may run, jobs that stop, unique keys."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from beds.river import River
from pruning import Pruning, pres_of

from patience import eventually
from secateur.cel import compile as compile_filter
from secateur.cel.sql.columns import COLUMNS_OF_PARTS
from secateur.engines.base import Selection
from secateur.engines.loading import open_engine
from secateur.postgres.database import Database
from secateur.runs import Scope, Window

pytestmark = [pytest.mark.timeout(300), pytest.mark.parametrize("bed", [River], indirect=True)]


async def test_its_own_index_serves_a_condition(pruning: Pruning) -> None:
    connection = pruning.connection
    await connection.execute(
        "insert into river_job (kind, args) select 'sync', jsonb_build_object('vendor', 'v' || n % 2000, 'n', n)"
        " from generate_series(1, 20000) as n"
    )
    await connection.execute("vacuum analyze river_job")
    form = compile_filter("event.data.vendor == 'v17' && event.data.n > 1000").over(COLUMNS_OF_PARTS).matching
    condition, parameters = form.bind(1, datetime.now(UTC))
    source, unfinished = pruning.installation.source.replace("{sampled}", ""), pruning.installation.sql("unfinished")
    sql = f"select count(*) from {source} as run where run.app_id = 'default' and {unfinished} and {condition}"
    assert await connection.fetchval(sql, *parameters) == 9
    await connection.execute("set plan_cache_mode = force_custom_plan")
    plan = "\n".join(row[0] for row in await connection.fetch(f"explain {sql}", *parameters))
    assert "river_job_args_index" in plan, plan


@pytest.mark.parametrize(
    "condition", ["event.data.n % 4 == 0", "event.data.even == true", "int(event.data.text) % 2 == 0"]
)
async def test_a_large_scope_is_estimated(pruning: Pruning, empty_database_url: str, condition: str) -> None:
    """By SQL, and on streamed rows: those outside of the window do not match."""
    await pruning.connection.execute(
        "insert into river_job (kind, args, created_at) select 'sync',"
        " jsonb_build_object('n', n, 'even', n % 2 = 0, 'text', n::text), now() - n * interval '1 s'"
        " from generate_series(1, 40000) as n"
    )
    await pruning.connection.execute("vacuum analyze river_job")
    share = 0.25 if "% 4" in condition else 0.5
    async with Database.connect(empty_database_url) as database:
        source = await open_engine(database)
        for since, part in ((None, 1.0), (timedelta(seconds=20_000), 0.5), (timedelta(seconds=1), 0.0)):
            window = Window() if since is None else Window(started_after=await source.clock() - since)
            estimate = await source.estimate(Selection(Scope("default"), window, compile_filter(condition)))
            assert estimate is not None
            assert (estimate.total, estimate.exact) == (40_000, False)
            assert estimate.matched == pytest.approx(40_000 * share * part, abs=3_000)


@pytest.mark.parametrize(
    ("change", "version", "supported"),
    [
        ("select", "migration 7", True),
        ("insert into river_migration (line, version) values ('main', 8)", "migration 8", False),
        ("insert into river_migration (line, version) values ('workflow', 9)", "migration 7", True),
        ("delete from river_migration where version > 5", "migration 5", False),
        ("delete from river_migration", "migration unknown", False),
        ("drop table river_migration", "migration 7", True),
        ("drop table river_migration, river_notification", "migration 6", True),
        (
            "drop table river_migration, river_notification; drop index river_job_unique_idx;"
            " alter table river_job drop column unique_states",
            "migration 5",
            False,
        ),
        ("alter table river_migration drop column line", "migration 7", True),
    ],
)
async def test_its_version_is_told_from_what_is_there(
    pruning: Pruning, change: str, version: str, supported: bool
) -> None:
    await pruning.connection.execute(change)
    [found] = await pruning.connection.fetch(pruning.installation.file.statements["detect"])
    assert (found["version"], found["supported"]) == (version, supported)


async def test_before_migration_4_it_is_not_found(pruning: Pruning) -> None:
    detect = pruning.installation.file.statements["detect"]
    await pruning.connection.execute("alter type river_job_state rename value 'pending' to 'other'")
    assert await pruning.connection.fetch(detect) == []


async def test_a_job_is_asked_to_stop_once(pruning: Pruning) -> None:
    bed = pruning.bed
    [id] = await bed.enqueue([{"number": 1, "seconds": 1000}])
    async with bed.worker():

        async def busy() -> bool:
            return bool(await pruning.noted())

        await eventually(busy, "the job to start")
        listening = await asyncpg.connect(bed.url)
        heard: list[str] = []
        await listening.add_listener("public.river_control", lambda *said: heard.append(said[3]))
        [asked] = (await pruning.cancel([id], stop=True)).values()
        again = await pruning.cancel([id], stop=True)
        assert again == {} or (await pruning.statuses([id]))[id] != "running"

        async def stopped() -> bool:
            return (await pruning.statuses([id]))[id] == "cancelled"

        await eventually(stopped, "the job to stop")
        assert len(heard) == 1
        await listening.close()
    outcomes = await pruning.restore([asked["pre"]])
    assert outcomes == {id: None}
    row = await pruning.connection.fetchrow("select state, attempt, finalized_at, metadata from river_job")
    assert tuple(row) == ("available", 1, None, "{}")


async def test_a_key_may_hold_in_the_cancelled_state_too(pruning: Pruning) -> None:
    """Then nobody can take it, and an undo gives it back to its own job."""
    [id] = await pruning.bed.enqueue([{"number": 1}], key="k")
    await pruning.connection.execute("update river_job set unique_states = B'11111111'")
    before = await pruning.rows()
    cancelled = await pruning.cancel([id])
    with pytest.raises(asyncpg.UniqueViolationError):
        await pruning.bed.enqueue([{"number": 2}], key="k")
    await pruning.connection.execute("delete from river_job where unique_key is null")
    assert await pruning.restore(pres_of(cancelled)) == {id: None}
    assert await pruning.rows() == before


async def test_metadata_that_changed_meanwhile_is_kept(pruning: Pruning) -> None:
    [id] = await pruning.bed.enqueue([{"number": 1}])
    cancelled = await pruning.cancel([id])
    assert "cancel_attempted_at" in await pruning.connection.fetchval("select metadata from river_job")
    await pruning.connection.execute("""update river_job set metadata = metadata || '{"note": 1}'""")
    assert await pruning.restore(pres_of(cancelled)) == {id: None}
    assert await pruning.connection.fetchval("select metadata from river_job") == '{"note": 1}'
