"""Read-only sessions, also with a role that may only select: everything can be seen and nothing written."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from urllib.parse import urlsplit, urlunsplit

import httpx
import pytest
from billing import ACME, CULPRIT, seed
from command_line import Here
from forgetful_pooler import forgetting_settings

import secateur
from secateur.api import create_api
from secateur.engines.native.engine import NativeEngine
from secateur.errors import PermissionDenied, ReadOnly, SettingsError
from secateur.open_queue import OpenQueue
from secateur.postgres.database import Database

pytestmark = pytest.mark.one_postgres

VIEWER = "secateur_test_viewer"
FLOOD = ("--app", "billing", "--function", "vendor-syncs", "--if", CULPRIT)
STATE = """
select (select json_agg(run order by run.id)::text from secateur.runs as run) as runs,
       (select json_agg(one order by one.serial)::text from secateur.cancellations as one) as cancellations,
       (select json_agg(app)::text from secateur.apps as app) as apps
"""
WRITES = (
    "select secateur.enqueue('billing', 'invoices', '{}')",
    "select secateur.claim('billing', null, 1, 'w', interval '1 minute')",
    "select secateur.stop_cancellation('billing', (select id from secateur.cancellations limit 1), 'me')",
    "select secateur.sweep_cancellation('billing', (select id from secateur.cancellations limit 1))",
    "delete from secateur.runs",
    "create table public.mine ()",
)


@pytest.fixture
def seeded(database_url: str) -> str:
    asyncio.run(seed(database_url))
    asyncio.run(_commit_one(database_url))
    return database_url


@pytest.fixture
def viewer_url(seeded: str) -> Iterator[str]:
    """The seeded queue, for a role that may only select."""
    asyncio.run(_execute(seeded, f"create role {VIEWER} login", f"grant usage on schema secateur to {VIEWER}"))
    asyncio.run(_execute(seeded, f"grant select on all tables in schema secateur to {VIEWER}"))
    yield urlunsplit(urlsplit(seeded)._replace(netloc=f"{VIEWER}@{seeded.rpartition('@')[2].partition('/')[0]}"))
    asyncio.run(_execute(seeded, f"drop owned by {VIEWER}", f"drop role {VIEWER}"))


async def _commit_one(url: str) -> None:
    async with secateur.connect(url) as queue:
        await queue.cancel({"app_id": "billing", "function_id": "invoices"})


async def _execute(url: str, *statements: str) -> None:
    async with Database.connect(url) as database:
        for statement in statements:
            await database.execute(statement)


def test_a_viewer_sees_everything_and_writes_nothing(here: Here, viewer_url: str) -> None:
    def cli(*arguments: str) -> tuple[int, str]:
        done = here("--read-only", *arguments, url=viewer_url)
        return done.code, done.out + done.err

    assert cli("depth")[0] == 0
    preview = here("preview", *FLOOD, "--json", "--read-only", url=viewer_url)
    assert (preview.code, preview.json["matched"]) == (0, ACME)
    (cancellation,) = here("history", "--json", "--read-only", url=viewer_url).json
    assert cli("show", cancellation["id"])[0] == 0
    assert cli("cancel", *FLOOD, "--dry-run")[0] == 0
    assert cli("eval", "1 + 1", "--in", "postgres") == (0, "2\n")
    for write in (
        ("cancel", *FLOOD, "--yes"),
        ("stop", cancellation["id"]),
        ("install",),
        ("worker", "anything:app"),
    ):
        code, told = cli(*write)
        assert code == 2, told
        assert told == "secateur: this session is read-only, because of --read-only or a setting: nothing was changed\n"


def test_a_viewer_who_asks_to_write_is_refused_by_the_database(here: Here, viewer_url: str) -> None:
    """Without the flag it is the role that lacks the right: a failure, not a mistake of usage."""
    done = here("cancel", *FLOOD, "--yes", url=viewer_url)
    assert done.code == 1
    assert "the role lacks a right" in done.err
    assert len(here("history", "--json", url=viewer_url).json) == 1


async def test_a_read_only_session_is_one_for_the_server_too(seeded: str) -> None:
    """Even a superuser's: whatever the program did, Postgres refuses."""
    async with Database.connect(seeded, read_only=True) as database:
        assert await database.fetchval("show default_transaction_read_only") == "on"
        for write in WRITES:
            with pytest.raises(ReadOnly):
                await database.execute(write)


async def test_a_session_that_cannot_be_read_only_is_not_opened(embedded_url: str) -> None:
    """Behind a pooler that drops what the session was to begin with, nothing in the server would refuse a write."""
    with forgetting_settings(embedded_url) as url:
        async with Database.connect(url) as database:
            assert await database.fetchval("show default_transaction_read_only") == "off"
        async with Database.connect(url, read_only=True) as database:
            with pytest.raises(SettingsError, match="the pooler drops"):
                await database.fetchval("select 1")


async def test_a_viewers_writes_are_refused_without_read_only_too(viewer_url: str) -> None:
    async with Database.connect(viewer_url) as database:
        for write in WRITES:
            if "create table" in write:
                continue  # before Postgres 15 everybody may, in the schema public
            with pytest.raises(PermissionDenied):
                await database.execute(write)


async def test_a_read_only_api_refuses_writes_and_does_not_sweep(viewer_url: str) -> None:
    async with Database.connect(viewer_url, read_only=True) as database:
        api = create_api(OpenQueue.over(NativeEngine(database), read_only=True), author="server")
        transport = httpx.ASGITransport(app=api)
        async with (
            api.router.lifespan_context(api),
            httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client,
        ):
            body = {"app_id": "billing", "function_id": "vendor-syncs", "if": CULPRIT}
            assert (await client.post("/v1/cancellations/preview", json=body)).json()["data"]["matched"] == ACME
            (cancellation,) = (await client.get("/v1/cancellations")).json()["data"]
            assert cancellation["state"] == "active"
            run_id = await database.fetchval("select id from secateur.runs where status = 'queued' limit 1")
            for read in (f"/v1/runs/{run_id}", f"/v1/cancellations/{cancellation['id']}", "/v1/audit", "/v1/queues"):
                assert (await client.get(read)).status_code == 200, read
            before = await database.fetch(STATE)
            for refused in (
                await client.post("/v1/cancellations", json=body),
                await client.delete(f"/v1/cancellations/{cancellation['id']}"),
                await client.post(f"/v1/cancellations/{cancellation['id']}/undo"),
                await client.post(f"/v1/runs/{run_id}/cancel"),
                await client.post(f"/v1/runs/{run_id}/restore"),
                await client.post("/v1/queues/billing/pause"),
                await client.post("/v1/queues/billing/invoices/resume"),
                await client.post("/v1/events", json={"name": "vendor/sync"}),
            ):
                assert refused.status_code == 403, refused.url
                assert refused.json()["status"] == 403
                assert "read-only" in refused.json()["error"]
            assert await database.fetch(STATE) == before
