"""No row, however odd, ends a process or hides others: nobody can put one in, and one that is there is shown."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import asyncpg
import pytest
from workers import eventually, working

import secateur
from secateur import ActiveRun, App, Queue
from secateur.errors import DatabaseError, RequestError
from secateur.instants import EARLIEST, LATEST, OddTime

ODD_TIMES = (
    "infinity",
    "-infinity",
    "10000-01-01 00:00:00+00",
    "294276-12-31 00:00:00+00",
    "0044-03-15 00:00:00+00 BC",
)
"""In Postgres' words."""

SHOWN = ("infinity", "-infinity", "10000-01-01T00:00:00Z", "294276-12-31T00:00:00Z", "0044-03-15T00:00:00Z BC")


@pytest.fixture
async def queue(database_url: str) -> AsyncIterator[Queue]:
    async with secateur.connect(database_url) as queue:
        yield queue


@pytest.fixture
async def odd(queue: Queue) -> dict[str, UUID]:
    """A backlog with a run of each odd time as its schedule and as its start, as an older program took them."""
    await queue.database.execute("alter table secateur.runs drop constraint runs_times")
    ids = {}
    for number, moment in enumerate(ODD_TIMES):
        run_id = await queue.enqueue("billing", "odd", {"data": {"id": number}})
        await queue.database.execute(
            "update secateur.runs set scheduled_for = moment, started_at = moment "
            "from (values ($2::text::timestamptz)) as odd (moment) where id = $1",
            run_id,
            moment,
        )
        if number in (0, 2, 3):
            await queue.database.execute("update secateur.runs set status = 'scheduled' where id = $1", run_id)
        ids[moment] = run_id
    return ids


async def test_are_read_as_they_are(queue: Queue, odd: dict[str, UUID]) -> None:
    for run_id, shown in zip(odd.values(), SHOWN, strict=True):
        run = await queue.get(run_id)
        assert isinstance(run.started_at, OddTime)
        assert isinstance(run.scheduled_for, OddTime)
        assert str(run.scheduled_for) == shown


async def test_leave_workers_alone(queue: Queue, odd: dict[str, UUID], database_url: str) -> None:
    app = App("billing")
    ran = []

    @app.function(id="odd", retries=0)
    async def work(run: ActiveRun) -> None:
        ran.append(run.id)

    @app.function(id="plain", retries=0)
    async def plain(run: ActiveRun) -> None:
        ran.append(run.id)

    usual = await queue.enqueue("billing", "plain", {})
    async with working(database_url, app):
        due = {usual, odd["-infinity"], odd["0044-03-15 00:00:00+00 BC"]}

        async def all_ran() -> bool:
            return due <= set(ran)

        await eventually(all_ran)
        later = await queue.enqueue("billing", "plain", {})
        await queue.wait(later)
    assert set(ran) == due | {later}


@pytest.mark.parametrize("moment", ODD_TIMES)
async def test_are_refused_where_they_come_in(queue: Queue, moment: str) -> None:
    database = queue.database
    for call, field in (
        ("secateur.enqueue('a', 'f', '{}', scheduled_for => $1::text::timestamptz)", "scheduled_for"),
        ("secateur.enqueue('a', 'f', '{}', started_at => $1::text::timestamptz)", "started_at"),
        (
            "secateur.enqueue_many('a', 'f', array['{}'::jsonb], scheduled_for => array[$1::text::timestamptz])",
            "scheduled_for",
        ),
        (
            "secateur.enqueue_many('a', 'f', array['{}'::jsonb], started_at => array[$1::text::timestamptz])",
            "started_at",
        ),
        ("secateur.send_to('a', '{\"name\": \"x\"}', moment => $1::text::timestamptz)", "moment"),
    ):
        with pytest.raises(RequestError, match="in the years 1 to 9999") as refused:
            await database.fetch(f"select {call}", moment)
        assert [problem.field for problem in refused.value.problems] == [field]
    for column in ("scheduled_for", "started_at"):
        async with database.transaction() as connection:
            await connection.execute("select secateur.begin_bulk()")
            await connection.execute(
                f"insert into pg_temp.secateur_bulk (event, {column}) "
                "values ('{}', now()), ('{}', $1::text::timestamptz)",
                moment,
            )
            with pytest.raises(asyncpg.PostgresError, match="number 2 must be a time in the years 1 to 9999"):
                await connection.execute("select secateur.enqueue_bulk('a', 'f')")
    with pytest.raises(RequestError, match="in the years 1 to 9999"):
        async with database.transaction() as connection:
            await connection.execute("select secateur.begin_bulk()")
            await connection.fetch("select secateur.enqueue_bulk('a', 'f', $1::text::timestamptz)", moment)
    for column in ("scheduled_for", "started_at"):
        with pytest.raises(DatabaseError, match="runs_times"):
            await database.execute(
                f"insert into secateur.runs (app_id, function_id, event, {column}) "
                "values ('a', 'f', '{}', $1::text::timestamptz)",
                moment,
            )
    assert await database.fetchval("select count(*) from secateur.runs") == 0


async def test_the_first_and_the_last_time_are_taken(queue: Queue) -> None:
    for moment in (EARLIEST, LATEST, datetime(9999, 12, 31, tzinfo=UTC)):
        run = await queue.get(await queue.enqueue("billing", "plain", {}, scheduled_for=moment, started_at=moment))
        assert (run.scheduled_for, run.started_at) == (moment, moment)
        assert not isinstance(run.scheduled_for, OddTime)


@pytest.mark.parametrize(
    "moment",
    [
        datetime.max.replace(tzinfo=UTC),
        datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14))),
        datetime(9999, 12, 31, 23, 59, 59, tzinfo=timezone(-timedelta(hours=1))),
    ],
    ids=str,
)
async def test_python_refuses_them_too(queue: Queue, moment: datetime) -> None:
    for name in ("scheduled_for", "started_at"):
        with pytest.raises(RequestError, match=f"{name}: must be a time in the years 1 to 9999"):
            await queue.enqueue("a", "f", {}, **{name: moment})
        with pytest.raises(RequestError, match=f"{name}: number 2 must be a time in the years 1 to 9999"):
            await queue.enqueue_many("a", "f", [{}, {}], **{name: [None, moment]})
    with pytest.raises(RequestError, match="scheduled_for: must be a time in the years 1 to 9999"):
        await queue.enqueue_bulk("a", "f", [{}], scheduled_for=moment)
    for name in ("started_after", "started_before"):
        with pytest.raises(RequestError, match=f"{name}: must be a time in the years 1 to 9999"):
            await queue.preview({"app_id": "a", name: moment})
        with pytest.raises(RequestError, match=f"{name}: must be a time in the years 1 to 9999"):
            await queue.cancel({"app_id": "a", name: moment.isoformat()})
