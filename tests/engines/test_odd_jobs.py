"""No job, however odd, hides others or ends what reads it: also in queues whose tables refuse little."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import asyncpg
import pytest
from beds import Bed
from sameness import like_every_queue

from secateur.cel import compile as compile_filter
from secateur.cli.describing import run_lines
from secateur.engines.foreign.file import engine_files
from secateur.engines.foreign.installation import WRITES, Installation, quoted
from secateur.engines.foreign.source import ForeignSource
from secateur.engines.loading import open_engine
from secateur.errors import NotFound, RequestError, Unsupported
from secateur.ledger.forms import cancellation_form
from secateur.looking.forms import depth_form, run_json
from secateur.looking.listing import read_search
from secateur.open_queue import OpenQueue
from secateur.postgres.database import Database
from secateur.requests import CancellationRequest
from secateur.runs import Run, RunStatus, Scope

pytestmark = pytest.mark.timeout(300)

_TIMES = ("infinity", "-infinity", "0044-03-15 BC", "10000-01-01", "290000-01-01", "4700-01-01 BC")
_TEXTS = ("", " ", "x" * 5_000, "\x1b[2J\u202e", "null", "{", "[1, {}]", '{"a": "\\u0000"}', '{"a": "\\ud800"}', "NaN")
_DOCUMENTS = ("null", "[]", "5", '"text"', "{}", '{"number": 1e400}', "[" * 300 + "]" * 300, "1" * 5_000)
ODD = {
    "timestamptz": _TIMES,
    "timestamp": _TIMES,
    "text": _TEXTS,
    "varchar": _TEXTS,
    "jsonb": _DOCUMENTS,
    "json": (*_DOCUMENTS, '{"a": "\\u0000"}', '{"a": "\\ud800"}', '{"a": 1, "a": 2}'),
    "bytea": ("", "\\xff00", "\\x7b7d"),
    "int2": ("-32768", "32767"),
    "int4": ("-2147483648", "2147483647"),
    "int8": ("-9223372036854775808", "9223372036854775807"),
}
"""By the type of the column."""

COLUMNS = """
select attribute.attname as name, type.typname as type
  from pg_attribute as attribute join pg_type as type on type.oid = attribute.atttypid
 where attribute.attrelid = $1::regclass and attribute.attnum > 0 and not attribute.attisdropped
   and attribute.attgenerated = ''
   and not exists (select from pg_index as key
                    where key.indrelid = attribute.attrelid and key.indisprimary
                      and attribute.attnum = any (key.indkey))
 order by attribute.attnum
"""


@pytest.fixture
async def engine(bed: Bed, database: Database) -> ForeignSource:
    engine = await open_engine(database)
    assert isinstance(engine, ForeignSource)
    return engine


async def odd_jobs(bed: Bed, outside: asyncpg.Connection) -> list[str]:
    """A job for each odd value that a column of the engine's main table takes, and two usual ones."""
    table = f"{quoted(bed.schema)}.{quoted(bed.tables[0])}"
    wanted = [
        (row["name"], value)
        for row in await outside.fetch(COLUMNS, table)
        for value in (None, *ODD.get(row["type"], ()))
    ]
    runs = await bed.enqueue([{"number": number} for number in range(len(wanted) + 2)])
    places = await outside.fetch(f"select ctid::text from {table} order by ctid")
    written = 0
    for (column, value), (place,) in zip(wanted, places[: len(wanted)], strict=True):
        literal = "null" if value is None else f"$odd${value}$odd$"
        with suppress(asyncpg.PostgresError):
            await outside.execute(f"update {table} set {quoted(column)} = {literal} where ctid = '{place}'::tid")
            written += 1
    assert written > 10
    return runs


def show(run: Run) -> None:
    """As JSON and in words."""
    json.dumps(run_json(run), default=str)
    run_lines(run, ZoneInfo("Asia/Kolkata"))


async def look(queue: OpenQueue, runs: list[str]) -> set[str]:
    """At everything that shows a job. Returns the apps."""
    depths = await queue.reader.depth()
    for depth in depths:
        depth_form(depth)
    for run in runs:
        with suppress(NotFound):  # one whose task does not exist is never shown
            show(await queue.reader.run(run))
    apps = {each.app_id for each in depths}
    for app in apps:
        with suppress(RequestError):  # a name that nobody could ask for
            await look_at(queue, app)
    return apps


async def look_at(queue: OpenQueue, app: str) -> None:
    for status in RunStatus:
        for run in await queue.reader.runs(read_search(app, status=status, limit=500)):
            show(run)
    for condition in (
        "event.data.number >= 0",
        "run.started_at < timestamp('2100-01-01T00:00:00Z')",
        "run.started_at.getFullYear() > 0",
    ):
        wanted = CancellationRequest.parse({"app_id": app, "if": condition})
        await queue.reader.counter.preview(wanted)
        await queue.reader.counter.estimate(wanted)
        await queue.reader.histogram(wanted, 20)
    everything = CancellationRequest.parse({"app_id": app})
    exported = [run async for run in queue.reader.stream(everything)]
    assert len(exported) == (await queue.reader.counter.preview(everything)).count.matched
    for since in (None, datetime.now(UTC) - timedelta(hours=1)):
        with suppress(RequestError, Unsupported, NotFound):
            await queue.reader.suggest(Scope(app), since)
    await queue.reader.shape(Scope(app))
    with suppress(Unsupported):
        await queue.reader.blast_radius(Scope(app), compile_filter("event.data.number > 2"))


async def test_odd_jobs_are_shown(bed: Bed, engine: ForeignSource, outside: asyncpg.Connection) -> None:
    runs = await odd_jobs(bed, outside)
    assert await look(OpenQueue.over(engine), runs)


@like_every_queue
async def test_odd_jobs_are_cancelled_and_come_back(
    bed: Bed, installed: Installation, engine: ForeignSource, outside: asyncpg.Connection
) -> None:
    if not engine_files()[bed.engine].statements.keys() >= WRITES:
        pytest.skip(f"secateur cannot cancel in {bed.engine} yet")
    queue = OpenQueue.over(engine, batch=7)
    runs = await odd_jobs(bed, outside)
    table = f"{quoted(bed.schema)}.{quoted(bed.tables[0])}"
    before = sorted(row[0] for row in await outside.fetch(f"select each::text from {table} as each"))
    committed = []
    for app in {each.app_id for each in await engine.depth()}:
        with suppress(RequestError):
            wanted = CancellationRequest.parse({"app_id": app, "if": "!has(event.data.none)"})
            committed.append(await queue.cancellations.commit(wanted, author="tester", source="python"))
    cancelled = 0
    for each in committed:
        # Those that run have no worker, and never end.
        done = await queue.cancellations.wait(each.id, until_idle=True)
        cancellation_form(done)
        assert done.cancelled is not None
        cancelled += done.cancelled
    assert cancelled > 2
    for each in committed:
        await queue.cancellations.undo(each.id, author="tester")
        restored = await queue.cancellations.wait(each.id)
        assert restored.restored == restored.cancelled
    assert sorted(row[0] for row in await outside.fetch(f"select each::text from {table} as each")) == before
    await look(queue, runs)
