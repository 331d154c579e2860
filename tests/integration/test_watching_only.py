"""A queue that can only be read, without secateur's schema: watched at every entrance, and refused in words."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from command_line import Here, write

from plain_table import TABLE, PlainTable
from secateur.api import create_api
from secateur.engines import loading
from secateur.open_queue import OpenQueue
from secateur.postgres.database import Database

pytestmark = pytest.mark.one_postgres

CONFIG = """
[contexts.jobs]
database = "{url}"
engine = "plain"
production = false
"""
FLOOD = {"app_id": "mail", "function_id": "send", "if": "event.data.customer == 'acme'"}


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "registered", lambda: {PlainTable.name: PlainTable})


@pytest.fixture
async def jobs(empty_database_url: str) -> AsyncIterator[Database]:
    async with Database.connect(empty_database_url) as database:
        await database.execute(TABLE)
        await database.execute(
            "insert into jobs (queue, kind, payload) select 'mail', 'send',"
            " jsonb_build_object('customer', case when n % 3 = 0 then 'acme' else 'globex' end)"
            " from generate_series(1, 30) as n"
        )
        yield database


@pytest.fixture
def config(tmp_path: Path, empty_database_url: str) -> str:
    return write(tmp_path, "secateur.toml", CONFIG.format(url=empty_database_url))


async def test_the_command_line_watches_it(here: Here, jobs: Database, config: str, tmp_path: Path) -> None:
    def jobs_here(*arguments: str) -> list[str]:
        return [*arguments, "--config", config, "--context", "jobs"]

    depth = await asyncio.to_thread(here, *jobs_here("depth", "--json"))
    assert [(each["app_id"], each["function_id"], each["queued"]) for each in json.loads(depth.out)] == [
        ("mail", "send", 30)
    ], depth.err
    request = write(tmp_path, "request.json", FLOOD)
    preview = await asyncio.to_thread(here, *jobs_here("preview", "--request", request, "--json"))
    assert (json.loads(preview.out)["matched"], json.loads(preview.out)["total"]) == (10, 30), preview.err
    run = await asyncio.to_thread(here, *jobs_here("show", "3", "--json"))
    assert json.loads(run.out)["event"] == {"name": "send", "data": {"customer": "acme"}}, run.err
    for refused, words in (
        (("cancel", "--request", request, "--yes"), "'plain', which cannot cancel runs"),
        (("cancel-run", "3", "--yes"), "'plain', which cannot cancel runs"),
        (("history",), "'plain', which cannot cancel runs"),
        (("pause", "mail", "--yes"), "'plain', which cannot pause a queue"),
        (("forget", "mail", "--yes"), "'plain', which cannot forget functions"),
        (("retention",), "'plain', which cannot set how long runs are kept"),
        (("show", "no-number"), "'no-number' is not an id"),
    ):
        done = await asyncio.to_thread(here, *jobs_here(*refused))
        assert (done.code, words in done.err) == (2, True), (refused, done.err)
    assert await jobs.fetchval("select count(*) from jobs where not done") == 30


async def test_rules_are_evaluated_there(here: Here, jobs: Database, empty_database_url: str, tmp_path: Path) -> None:
    """What fires is posted, and nothing is offered that this queue cannot do."""
    out = tmp_path / "message.json"
    rules = (
        "[watch]\nallowed_fields = ['event.data.customer']\n"
        f"[watch.targets.file]\nkind = 'command'\ncommand = ['cp', '/dev/stdin', '{out}']\n"
        "[watch.rules.acme]\nmetric = 'match_rate'\napp = 'mail'\nthreshold = 0.5\n"
        "if = \"event.data.customer == 'acme'\"\n"
        "[watch.rules.failing]\nmetric = 'failing_share'\nthreshold = 0.1\n"
    )
    config = write(tmp_path, "rules.toml", CONFIG.format(url=empty_database_url) + rules)
    done = await asyncio.to_thread(here, "watch", "--config", config, "--context", "jobs", "--once", "--json")
    assert (done.code, "remembered in this process only" in done.err) == (3, True), done.err
    blind = [each for each in map(json.loads, done.out.splitlines()) if each["what"] == "blind"]
    assert [(each["rule"], "never fires" in each["summary"]) for each in blind] == [("failing", True)]
    message = json.loads(out.read_text())
    assert (message["rule"]["name"], message["app"], message["function"]) == ("acme", "mail", None)
    assert (message["filter"]["matched_estimate"], message["cancel"], message["commands"]) == (10, None, [])
    dry = await asyncio.to_thread(here, "watch", "--config", config, "--context", "jobs", "--dry-run", "--read-only")
    assert (dry.code, "mail: " in dry.out) == (3, True), dry.err


async def test_a_database_without_the_table_says_so(here: Here, empty_database_url: str, config: str) -> None:
    done = await asyncio.to_thread(here, "depth", "--config", config, "--context", "jobs")
    assert (done.code, "has no table jobs" in done.err, "secateur install" in done.err) == (1, True, False), done.err


async def test_the_api_watches_it_and_refuses_in_words(jobs: Database) -> None:
    api = create_api(OpenQueue.over(PlainTable(jobs)), author="server")
    transport = httpx.ASGITransport(app=api, raise_app_exceptions=False)
    async with (
        api.router.lifespan_context(api),
        httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8484") as client,
    ):
        assert (await client.get("/healthz")).json()["data"]["status"] == "ok"
        assert (await client.get("/v1/queues")).json()["data"][0]["queued"] == 30
        assert (await client.post("/v1/cancellations/preview", json=FLOOD)).json()["data"]["matched"] == 10
        assert (await client.get("/v1/runs/3")).json()["data"]["id"] == "3"
        assert (await client.get("/v1/runs/no-number")).status_code == 400
        page = (await client.get("/v1/runs", params={"app_id": "mail", "status": "queued", "limit": 7})).json()["data"]
        more = {"app_id": "mail", "status": "queued", "limit": 100, "before": page[-1]["id"]}
        rest = (await client.get("/v1/runs", params=more)).json()["data"]
        assert [int(run["id"]) for run in page + rest] == [*range(30, 0, -1)]
        for method, path, body, words in (
            ("POST", "/v1/cancellations", FLOOD, "cannot cancel runs"),
            ("GET", "/v1/cancellations", None, "cannot cancel runs"),
            ("POST", "/v1/runs/3/cancel", None, "cannot cancel runs"),
            ("POST", "/v1/queues/mail/pause", None, "cannot pause a queue"),
            ("DELETE", "/v1/queues/mail", None, "cannot forget functions"),
            ("POST", "/v1/events", {"name": "vendor/sync"}, "cannot take events"),
        ):
            response = await client.request(method, path, json=body)
            assert (response.status_code, words in response.json()["error"]) == (409, True), (path, response.text)


async def test_the_ends_of_a_histogram_are_looked_for_once(jobs: Database) -> None:
    """Where nothing was analyzed, a queue looks like a row or two."""
    await jobs.execute(
        "insert into jobs (queue, kind, payload) select 'mail', 'send', '{}' from generate_series(1, 3000)"
    )
    source = PlainTable(jobs)
    among = next(iter(source.among.values()))
    sql = source.sql("histogram").replace("{among}", among).replace("{condition}", "true")
    (row,) = await jobs.fetch(f"explain (analyze, format json) {sql}", "mail", None, None, None, 10, 100.0)

    def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
        yield plan
        for below in plan.get("Plans", ()):
            yield from nodes(below)

    (explained,) = json.loads(row[0])
    loops = [node["Actual Loops"] for node in nodes(explained["Plan"]) if node["Node Type"] == "Aggregate"]
    assert set(loops) == {1}
