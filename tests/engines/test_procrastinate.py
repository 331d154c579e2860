"""What only procrastinate has: starts in another table, a version that is nowhere, triggers led by the search path."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.resources import files

import asyncpg
import pytest
from beds.procrastinate import Procrastinate, ProcrastinateElsewhere
from pruning import Pruning, pres_of

from patience import eventually
from secateur.cel import compile as compile_filter
from secateur.engines.base import Selection
from secateur.engines.foreign.discovery import installation_of
from secateur.engines.foreign.file import engine_files
from secateur.engines.loading import open_engine
from secateur.engines.searching import RunSearch
from secateur.postgres.database import Database
from secateur.runs import Scope, Window

pytestmark = pytest.mark.timeout(300)

here = pytest.mark.parametrize("bed", [Procrastinate], indirect=True)
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


async def started_at(pruning: Pruning, run_id: str) -> datetime:
    source = pruning.installation.source.replace("{sampled}", "")
    moment: datetime = await pruning.connection.fetchval(
        f"select run.started_at from {source} as run where run.id = $1", run_id
    )
    return moment


@here
async def test_a_run_entered_when_it_was_deferred(pruning: Pruning) -> None:
    bed, connection = pruning.bed, pruning.connection
    [run] = await bed.enqueue([{"number": 1}])
    await connection.execute("update procrastinate_events set at = $1 where type = 'deferred'", LONG_AGO)
    await connection.execute("update procrastinate_jobs set scheduled_at = now() + interval '1 day'")
    assert await started_at(pruning, run) == LONG_AGO
    await connection.execute("delete from procrastinate_events where type = 'deferred'")
    scheduled = await connection.fetchval("select scheduled_at from procrastinate_jobs")
    assert await started_at(pruning, run) == scheduled
    await connection.execute("update procrastinate_jobs set scheduled_at = null")
    assert await started_at(pruning, run) == datetime.min  # as asyncpg by itself reads -infinity


@here
async def test_runs_without_a_start_are_counted_and_not_charted(pruning: Pruning, empty_database_url: str) -> None:
    bed, connection = pruning.bed, pruning.connection
    await bed.enqueue([{"number": number, "code": str(number)} for number in range(20)])
    await connection.execute("delete from procrastinate_events where job_id % 2 = 0")
    async with Database.connect(empty_database_url) as database:
        engine = await open_engine(database)
        for condition in ("event.data.number < 10", "int(event.data.code) < 10"):  # in the database, and streamed
            selection = Selection(Scope("default"), Window(), compile_filter(condition))
            assert (await engine.count(selection)).matched == 10
            chart = await engine.histogram(selection, 4)
            assert chart is not None
            assert sum(bar.total for bar in chart.bars) == 10
            assert sum(bar.matched for bar in chart.bars) == 5
            assert chart.first.year > 2000
        page = await engine.runs(RunSearch("default", limit=20))
        assert sum(str(run.started_at) == "-infinity" for run in page) == 10


@pytest.mark.parametrize("bed", [Procrastinate, ProcrastinateElsewhere], indirect=True)
async def test_a_deleted_job_comes_back_with_its_start(pruning: Pruning) -> None:
    [run] = await pruning.bed.enqueue([{"number": 1}], queue="idle")
    entered = await started_at(pruning, run)
    cancelled = await pruning.cancel([run])
    await pruning.delete_all()
    assert await pruning.restore(pres_of(cancelled)) == {run: None}
    assert await started_at(pruning, run) == entered


@here
async def test_an_aborted_job_waits_again_after_an_undo(pruning: Pruning) -> None:
    bed = pruning.bed
    [run] = await bed.enqueue([{"number": 1, "seconds": 1000}])
    async with bed.worker():

        async def busy() -> bool:
            return bool(await pruning.noted())

        await eventually(busy, "the job to start")
        asked = await pruning.cancel([run], stop=True)

        async def aborted() -> bool:
            return await bed.state(run) == "aborted"

        await eventually(aborted, "the job to be aborted")
    assert await pruning.restore(pres_of(asked)) == {run: None}
    assert (await pruning.statuses([run]))[run] == "queued"


def releases() -> Iterator[tuple[str, str]]:
    """Every migration of the package, in order: its release, and its SQL."""
    found = files("procrastinate.sql").joinpath("migrations").iterdir()
    for path in sorted((path for path in found if path.name.endswith(".sql")), key=lambda path: path.name):
        yield path.name[:8], path.read_text(encoding="utf-8")


OLD = {
    "02.00.03": ("2.1", False),
    "02.06.00": ("2.6", False),
    "02.14.01": ("2.6", False),
    "03.00.00": ("3.0", False),
    "03.01.00": ("3.1", True),
    "03.02.00": ("3.2", True),
    "03.03.00": ("3.2", True),
    "03.04.00": ("3.4+", True),
}
"""By a release: the version that is told, and whether it is written to."""


@pytest.mark.skipif(Procrastinate.missing is not None, reason=Procrastinate.missing or "")
async def test_every_release_since_2_1_is_read(empty_database_url: str) -> None:
    file = engine_files()["procrastinate"]
    seen = {}
    connection = await asyncpg.connect(empty_database_url)
    migrations = list(releases())
    for number, (release, sql) in enumerate(migrations):
        await connection.execute(sql)
        if number + 1 < len(migrations) and migrations[number + 1][0] == release:
            continue
        rows = await connection.fetch(file.statements["detect"])
        if release < "02.00.03":
            assert rows == []
            continue
        [row] = rows
        seen[release] = (row["version"], row["supported"])
        here = installation_of(file, row, 150000)
        await connection.execute(
            "insert into procrastinate_jobs (queue_name, task_name, args) values ('default', 'sync', $1)",
            json.dumps({"release": release}),
        )
        found = await connection.fetch(
            f"select * from {here.source.replace('{sampled}', '')} as run where {here.sql('unfinished')}"
        )
        assert json.loads(found[-1]["data"]) == {"release": release}
        for predicate in ("failed", "cancelled", "ended"):
            source = here.source.replace("{sampled}", "")
            assert not await connection.fetch(f"select from {source} as run where {here.sql(predicate)}")
        [depth] = await connection.fetch(here.sql("depth"))
        assert depth["queued"] == len(found)
        [rate] = await connection.fetch(here.sql("rates"))
        assert rate["arrived"] == len(found)
    await connection.close()
    assert {release: seen[release] for release in OLD if release in seen} == OLD


@here
@pytest.mark.parametrize(
    "change",
    [
        "create function procrastinate_fetch_job_v3() returns void language sql as ''",
        "alter type procrastinate_job_status add value 'postponed'",
    ],
)
async def test_an_unknown_version_is_watched_only(pruning: Pruning, change: str) -> None:
    await pruning.connection.execute(change)
    [found] = await pruning.connection.fetch(pruning.installation.file.statements["detect"])
    assert (found["version"], found["supported"]) == ("newer than 3.10", False)
