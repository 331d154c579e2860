"""What `secateur install --engine NAME` makes, and what it leaves out until somebody asks for it."""

from __future__ import annotations

import json

import asyncpg
import httpx
import pytest
from beds.oban import Oban
from beds.procrastinate import Procrastinate
from beds.river import River
from layers import queue_of
from test_entrances_of_others import cli

from secateur.api import create_api
from secateur.cli.commands.completion_names import names
from secateur.cli.completing import NameQuestion
from secateur.engines.loading import find_queues, open_engine
from secateur.open_queue import OpenQueue
from secateur.postgres.database import Database

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.one_postgres,
    pytest.mark.skipif(Procrastinate.missing is not None, reason=str(Procrastinate.missing)),
]

OF = ("--engine", "procrastinate")
OF_QUEUE = {"runs", "slots", "cancel_requests", "depth_totals", "due_functions", "slow_verdicts", "upkeep"}
"""Some tables of secateur's own queue."""


@pytest.fixture
def layers() -> tuple[object, ...]:
    return (queue_of(Procrastinate),)


async def tables(url: str) -> set[str]:
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch("select tablename from pg_tables where schemaname = 'secateur'")
        return {row["tablename"] for row in rows}
    finally:
        await connection.close()


async def queues(url: str) -> list[str]:
    async with Database.connect(url) as database:
        return [each.name for each in await find_queues(database)]


async def test_an_install_for_another_queue(empty_database_url: str) -> None:
    url = empty_database_url
    await Procrastinate(url).enqueue([{"number": 1}])
    said = cli(url, "install", "--check", *OF, code=1)
    assert said.count("--engine procrastinate") == 1
    assert json.loads(cli(url, "install", *OF, "--json"))["new"]
    assert await tables(url) >= {"cancellations", "audit", "preimages", "proposals", "api_tokens", "alert_episodes"}
    assert await tables(url) & OF_QUEUE == set()
    assert "is up to date for procrastinate" in cli(url, "install", "--check", *OF)
    cli(url, "cancel", "--app", "default", "--function", "sync", "--yes")
    assert [each.value for each in await names(url, NameQuestion("APP", "", {}))] == ["default"]
    assert [each.value for each in await names(url, NameQuestion("FUNCTION", "", {"app": "default"}))] == ["sync"]
    # secateur's own queue is missing, for whoever wants it.
    assert "queue.sql" in json.loads(cli(url, "install", "--check", "--json", code=1))["to_apply"]
    assert "queue.sql" in cli(url, "install", "--check", "--queue", *OF, code=1)
    assert await queues(url) == ["procrastinate"]
    assert "not its own queue" in cli(url, "depth", "--engine", "native", code=1)
    findings = json.loads(cli(url, "doctor", "--json", code=3))["findings"]
    told = {each["check"]: each["severity"] for each in findings if each["check"] in {"schema", "tables", "indexes"}}
    assert told == {"schema": "ok", "tables": "ok", "indexes": "ok"}


@pytest.mark.parametrize("wish", [("install",), ("install", "--queue", *OF)], ids=" ".join)
async def test_the_queue_is_added_later_and_stays(empty_database_url: str, wish: tuple[str, ...]) -> None:
    url = empty_database_url
    bed = Procrastinate(url)
    await bed.enqueue([{"number": number} for number in range(4)])
    cli(url, "install", *OF)
    cancelled = json.loads(cli(url, "cancel", "--app", "default", "--if", "event.data.number < 2", "--yes", "--json"))
    assert "queue.sql" in cli(url, *wish)
    assert await tables(url) > OF_QUEUE
    assert "up to date" in cli(url, *wish, "--check")
    assert "up to date" in cli(url, "install", *OF)
    assert await tables(url) > OF_QUEUE
    # Nothing has changed for the other queue, until the own one has a function.
    assert await queues(url) == ["procrastinate"]
    connection = await asyncpg.connect(url)
    await connection.execute("select secateur.enqueue('billing', 'sync', '{}')")
    await connection.close()
    assert await queues(url) == ["native", "procrastinate"]
    cli(url, "undo", cancelled["id"], "--yes", "--wait")
    listed = cli(url, "runs", "--app", "default", "--status", "queued", *OF, "--json")
    assert len(json.loads(listed.splitlines()[0])) == 4
    own = json.loads(cli(url, "cancel", "--app", "billing", "--yes", "--json", "--wait"))
    assert own["counts"]["cancelled"] == 1


async def test_a_ledger_for_two_queues(empty_database_url: str) -> None:
    if Oban.missing is not None:  # asked here, for it may have to be installed first: no test is to wait for that
        pytest.skip(Oban.missing)
    url = empty_database_url
    for bed in (Procrastinate(url), Oban(url)):
        if bed.engine != "procrastinate":
            await bed.install()
        await bed.enqueue([{"number": number} for number in range(4)])
        cli(url, "install", "--engine", bed.engine)
    assert await tables(url) & OF_QUEUE == set()
    for engine in ("procrastinate", "oban"):
        request = ("cancel", "--app", f"{engine}/default", "--if", "event.data.number < 2")
        assert json.loads(cli(url, *request, "--yes", "--json", "--wait"))["counts"]["cancelled"] == 2
    assert len(json.loads(cli(url, "history", "--json"))) == 2
    cli(url, "token", "create", "ci", "--scope", "viewer")
    said = cli(url, "audit", "--engine", "oban")
    # What concerns no app is told with each queue, as there is no own one; but not the installs for other ones.
    assert "create_token" in said
    assert "procrastinate" not in said


@pytest.mark.skipif(River.missing is not None, reason=str(River.missing))
async def test_a_version_that_is_not_known_is_never_written_to(empty_database_url: str) -> None:
    """Whoever would write is told why nobody does, at every entrance."""
    url = empty_database_url
    bed = River(url)
    await bed.install()
    await bed.enqueue([{"number": number} for number in range(4)])
    of = ("--engine", "river")
    cli(url, "install", *of)
    connection = await asyncpg.connect(url)
    await connection.execute("insert into river_migration (line, version) values ('main', 99)")
    before = await connection.fetch("select * from river_job order by id")
    why = "river can be watched and filtered, not written to: migration 99 is not known to secateur"
    for command in (
        ("cancel", "--app", "default", "--yes"),
        ("cancel-run", "1", "--yes"),
        ("propose", "--app", "default"),
    ):
        assert why in cli(url, *command, *of, code=2)
    assert why in cli(url, "install", *of, code=1)
    assert "migration 99 is not known to secateur" in cli(url, "gate", "install", *of, code=1)
    [told] = [each for each in json.loads(cli(url, "engines", "--json")) if each["name"] == "river"]
    assert {name for name, can in told["capabilities"].items() if can} == {"watch", "filter"}
    assert json.loads(cli(url, "preview", "--app", "default", *of, "--json"))["matched"] == 4
    async with Database.connect(url) as database:
        queue = OpenQueue.over(await open_engine(database, name="river"))
        transport = httpx.ASGITransport(create_api(queue, author="server"))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8484") as client:
            for path, body in (("cancellations", {"app_id": "default"}), ("runs/1/cancel", {})):
                answer = await client.post(f"/v1/{path}", json=body)
                assert (answer.status_code, why in answer.json()["error"]) == (409, True)
    assert await connection.fetch("select * from river_job order by id") == before
    await connection.close()
