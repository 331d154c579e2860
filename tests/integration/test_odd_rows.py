"""No row, however odd, ends a process or hides others: nobody can put one in, and one that is there is shown."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import asyncpg
import pytest
from api_client import running_api
from command_line import Here
from workers import eventually, working

import secateur
from secateur import ActiveRun, App, Queue
from secateur.errors import DatabaseError, RequestError
from secateur.instants import EARLIEST, LATEST, OddTime
from secateur.schema import bundled, install

pytestmark = pytest.mark.one_postgres

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
            with pytest.raises(asyncpg.PostgresError, match=r"\[2\]: must be a time in the years 1 to 9999"):
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
        with pytest.raises(RequestError, match=f"{name}: item 2 must be a time in the years 1 to 9999"):
            await queue.enqueue_many("a", "f", [{}, {}], **{name: [None, moment]})
    with pytest.raises(RequestError, match="scheduled_for: must be a time in the years 1 to 9999"):
        await queue.enqueue_bulk("a", "f", [{}], scheduled_for=moment)
    for name in ("started_after", "started_before"):
        with pytest.raises(RequestError, match=f"{name}: must be a time in the years 1 to 9999"):
            await queue.preview({"app_id": "a", name: moment})
        with pytest.raises(RequestError, match=f"{name}: must be a time in the years 1 to 9999"):
            await queue.cancel({"app_id": "a", name: moment.isoformat()})


@pytest.fixture
async def odd_rule(queue: Queue) -> UUID:
    """A cancellation as an older program took it by SQL, between two that are not odd."""
    await queue.enqueue("billing", "plain", {})
    await queue.cancel({"app_id": "billing", "if": "event.data.n == 1"}, author="ada")
    odd = await queue.cancel({"app_id": "billing", "if": "event.data.n == 2"}, author="ada")
    await queue.cancel({"app_id": "billing", "if": "event.data.n == 3"}, author="ada")
    for constraint in ("cancellations_times", "cancellations_bounds", "cancellations_forms"):
        await queue.database.execute(f"alter table secateur.cancellations drop constraint {constraint}")
    await queue.database.execute(
        """
        update secateur.cancellations
           set request = '[1]', started_after = '-infinity', started_before = '4000-01-01 BC',
               "if" = repeat('z', 5000000),
               reason = repeat('x', 20000000), created_by = repeat('y', 1000000), expected = -5, expected_exact = true,
               compiler = 999, expected_by_function = '{"plain": "x"}', parameters = '[]'
         where id = $1
        """,
        odd.id,
    )
    return odd.id


async def test_an_odd_cancellation_is_shown_as_odd_and_hides_no_other(queue: Queue, odd_rule: UUID) -> None:
    history = await queue.history()
    assert [bool(each.odd) for each in history] == [False, True, False]
    odd = await queue.show(odd_rule)
    assert {"request", "started_after", "started_before", "reason", "created_by", "if_", "parameters"} <= set(odd.odd)
    assert (str(odd.started_after), str(odd.started_before)) == ("-infinity", "4000-01-01T00:00:00Z BC")
    assert len(odd.reason or "") == 2000
    assert len(odd.created_by) == 200
    assert [depth.function_id for depth in await queue.depth()] == ["plain"]
    assert len(await queue.audit()) >= 3


async def test_an_odd_cancellation_can_be_stopped_and_undone(queue: Queue, odd_rule: UUID) -> None:
    assert (await queue.stop(odd_rule)).state == "stopped"
    assert (await queue.undo(odd_rule)).state == "undone"


async def test_an_odd_cancellation_over_http_and_in_the_command_line(
    queue: Queue, odd_rule: UUID, here: Here, database_url: str
) -> None:
    async with running_api(queue.database) as client:
        answer = await client.get("/v1/cancellations")
        assert answer.status_code == 200
        assert [bool(each["odd"]) for each in answer.json()["data"]] == [False, True, False]
        assert (await client.get(f"/v1/cancellations/{odd_rule}")).json()["data"]["started_after"] == "-infinity"
    for command in (["history"], ["history", "--json"], ["show", str(odd_rule)], ["show", str(odd_rule), "--json"]):
        done = await asyncio.to_thread(here, *command, url=database_url)
        assert done.code == 0, done.err
        assert len(done.out) < 100_000
    shown = await asyncio.to_thread(here, "show", str(odd_rule), url=database_url)
    assert "odd" in shown.out
    listed = await asyncio.to_thread(here, "history", url=database_url)
    assert ["(odd)" in row for row in listed.out.splitlines()[1:]] == [False, True, False]
    assert (await asyncio.to_thread(here, "undo", str(odd_rule), "--yes", url=database_url)).code == 0


async def test_an_odd_run_over_http_and_in_the_command_line(
    queue: Queue, odd: dict[str, UUID], here: Here, database_url: str
) -> None:
    async with running_api(queue.database) as client:
        for run_id, shown in zip(odd.values(), SHOWN, strict=True):
            answer = await client.get(f"/v1/runs/{run_id}")
            assert answer.status_code == 200
            assert answer.json()["data"]["scheduled_for"] == shown
        request = {"app_id": "billing", "if": "event.data.missing == run.started_at"}
        answer = await client.post("/v1/cancellations/preview", json=request)
        assert (answer.status_code, answer.json()["data"]["errors"]) == (200, 5), answer.text
    done = await asyncio.to_thread(here, "cancel-run", str(odd["infinity"]), "--yes", url=database_url)
    assert "Traceback" not in done.err


async def test_an_upgrade_brings_odd_rows_into_the_calendar_and_says_so(empty_database_url: str) -> None:
    async with secateur.connect(empty_database_url) as queue:
        known = bundled()
        # By the numbered files. The later one writes the first one's check anew.
        older = [one for one in known if not one.are_tables and not one.name.startswith(("0011", "0055"))]
        await install(queue.database, older)
        for moment in ODD_TIMES:
            await queue.database.execute(
                "insert into secateur.runs (app_id, function_id, event, started_at, scheduled_for, status) "
                "select 'billing', 'odd', '{}', now(), $1::text::timestamptz, 'scheduled'",
                moment,
            )
        await install(queue.database)
        found = await queue.database.fetch("select scheduled_for from secateur.runs order by scheduled_for")
        assert [row[0] for row in found] == [EARLIEST] * 2 + [LATEST] * 3
        (entry,) = [each for each in await queue.audit() if "repaired" in each.details]
        assert entry.details["count"] == 5
        assert {each["scheduled_for"] for each in entry.details["before"]} >= {"infinity", "-infinity"}
