"""Requests that are under way when their client leaves, their time is over, or the server stops. Over real sockets."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

import asyncpg
import httpx
import pytest
from api_client import FLOOD, Client, Serving, data_of, failure_of, request, serving

from patience import PATIENCE, eventually
from secateur.api.limits import DEFAULT
from secateur.engines.base import DepthCheck, Pruned
from secateur.engines.native.engine import NativeEngine
from secateur.ledger.ledger import Ledger
from secateur.ledger.steps import OpenCancellation
from secateur.postgres.database import Database

SOME_ID = "01a21c1c-e5a9-7030-8000-000000000000"
PREVIEW = "/v1/cancellations/preview"

WORKING = """
select count(*) from pg_stat_activity
 where datname = current_database() and state = 'active' and wait_event_type = 'Lock' and application_name = 'asked'
"""


@pytest.fixture
async def asked(flooded: Database, idle_url: str) -> AsyncIterator[Database]:
    """The queue as the server sees it: by sessions that can be told from the test's."""
    async with Database.connect(idle_url, application_name="asked") as database:
        yield database


@asynccontextmanager
async def locked(url: str) -> AsyncIterator[asyncpg.Connection]:
    """Nobody reads or writes the tables meanwhile; yields a session that looks who waits."""
    async with Database.connect(url) as database, database.transaction() as holder:
        tables = await holder.fetch("select tablename from pg_tables where schemaname = 'secateur'")
        names = ", ".join(f"secateur.{table['tablename']}" for table in tables)
        await holder.execute(f"lock table {names} in access exclusive mode")
        watcher = await asyncpg.connect(url)
        try:
            yield watcher
        finally:
            await watcher.close()


async def until_working(watcher: asyncpg.Connection, statements: int) -> None:
    """Until so many of the server's statements wait for the lock."""

    async def as_many() -> bool:
        return bool(await watcher.fetchval(WORKING) == statements)

    await eventually(as_many, f"{statements} statements of the server")


def patient() -> httpx.AsyncClient:
    return httpx.AsyncClient(timeout=PATIENCE)


class NothingOpen(Ledger):
    async def open_cancellations(self) -> list[OpenCancellation]:
        return []


class Undisturbed(NativeEngine):
    """Without what a server does in the background, so that every statement is a request's."""

    @property
    def ledger(self) -> Ledger:
        return NothingOpen(self._database)

    async def compact_depth(self, every: timedelta, batch: int) -> int:
        return 0

    async def check_depth(self, every: timedelta) -> DepthCheck | None:
        return None

    async def prune(self, batch: int) -> Pruned:
        return Pruned(0, False)


ROUTES = [
    ("POST", "/v1/cancellations", FLOOD),
    ("POST", PREVIEW, FLOOD),
    ("GET", "/v1/cancellations", None),
    ("GET", f"/v1/cancellations/{SOME_ID}", None),
    ("DELETE", f"/v1/cancellations/{SOME_ID}", None),
    ("POST", f"/v1/cancellations/{SOME_ID}/undo", None),
    ("GET", f"/v1/cancellations/{SOME_ID}/unrestored", None),
    ("GET", f"/v1/runs/{SOME_ID}", None),
    ("POST", f"/v1/runs/{SOME_ID}/cancel", None),
    ("POST", f"/v1/runs/{SOME_ID}/restore", None),
    ("POST", "/v1/events", {"name": "vendor/sync"}),
    ("GET", "/v1/queues", None),
    ("DELETE", "/v1/queues/billing", None),
    ("DELETE", "/v1/queues/billing/invoices", None),
    ("POST", "/v1/queues/billing/pause", None),
    ("POST", "/v1/queues/billing/invoices/resume", None),
    ("GET", "/v1/audit", None),
]
"""Every operation that asks the tables for something."""


@pytest.mark.parametrize(("method", "path", "body"), ROUTES)
async def test_a_client_that_leaves_cancels_its_statement(
    method: str,
    path: str,
    body: dict[str, str] | None,
    asked: Database,
    idle_url: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with locked(idle_url) as watcher, serving(asked, engine=Undisturbed(asked)) as server:
        client = await Client.connect(server)
        await client.send(request(method, path, body))
        await until_working(watcher, 1)
        client.leave()
        await until_working(watcher, 0)
    assert caplog.records == []


async def test_previews_wait_in_a_queue_that_has_an_end(asked: Database, idle_url: str) -> None:
    limits = replace(DEFAULT, counts=2, counts_waiting=1)
    async with (
        serving(asked, limits, engine=Undisturbed(asked)) as server,
        patient() as client,
    ):
        async with locked(idle_url) as watcher:
            counting = [asyncio.create_task(preview(client, server)) for _ in range(2)]
            await until_working(watcher, 2)
            first_of_two = [asyncio.create_task(preview(client, server)) for _ in range(2)]
            (refused,), (waiting,) = await asyncio.wait(first_of_two, return_when=asyncio.FIRST_COMPLETED)
            failure = failure_of(refused.result(), 503)
            assert "are already waiting" in failure.error
            assert refused.result().headers["retry-after"] == "1"
            assert await watcher.fetchval(WORKING) == 2
            healthy = await client.get(f"{server.address}/healthz")
            assert healthy.status_code == 200
        for each in (*counting, waiting):
            assert data_of(await each)["exact"]


async def test_a_preview_neither_waits_nor_counts_for_ever(asked: Database, idle_url: str) -> None:
    limits = replace(DEFAULT, counts=1, count_wait=0.3, count=1.5)
    async with (
        serving(asked, limits, engine=Undisturbed(asked)) as server,
        patient() as client,
    ):
        async with locked(idle_url) as watcher:
            counting = asyncio.create_task(preview(client, server))
            await until_working(watcher, 1)
            impatient = await preview(client, server)
            assert "other previews are still being counted" in failure_of(impatient, 503).error
            assert "took longer than 1.5 s" in failure_of(await counting, 504).error
            await until_working(watcher, 0)
        data_of(await preview(client, server))


async def test_a_preview_that_was_left_gives_its_turn_back(asked: Database, idle_url: str) -> None:
    limits = replace(DEFAULT, counts=1)
    async with (
        serving(asked, limits, engine=Undisturbed(asked)) as server,
        patient() as client,
    ):
        async with locked(idle_url) as watcher:
            for _ in range(4):
                leaving = await Client.connect(server)
                await leaving.send(request("POST", PREVIEW, FLOOD))
                await until_working(watcher, 1)
                leaving.leave()
                await until_working(watcher, 0)
        data_of(await preview(client, server))


async def test_a_request_that_takes_too_long_is_given_up(asked: Database, idle_url: str) -> None:
    limits = replace(DEFAULT, request=0.5)
    async with locked(idle_url) as watcher, serving(asked, limits, engine=Undisturbed(asked)) as server:
        async with patient() as client:
            listing = await client.get(f"{server.address}/v1/queues")
            assert "took too long" in failure_of(listing, 504).error
            headers = {"Idempotency-Key": "k-1"}
            committing = await client.post(f"{server.address}/v1/cancellations", json=FLOOD, headers=headers)
        assert "it is unknown whether the cancellation is in force" in failure_of(committing, 504).error
        assert committing.headers["idempotency-key"] == "k-1"
        await until_working(watcher, 0)


async def test_a_server_that_stops_answers_what_is_under_way(
    asked: Database, idle_url: str, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    limits = replace(DEFAULT, grace=0.2)
    async with locked(idle_url) as watcher, patient() as client:
        async with serving(asked, limits, engine=Undisturbed(asked)) as server:
            counting = asyncio.create_task(preview(client, server))
            committing = asyncio.create_task(client.post(f"{server.address}/v1/cancellations", json=FLOOD))
            sending = await Client.connect(server)
            await sending.send(request("POST", PREVIEW, FLOOD)[:-10])
            await until_working(watcher, 2)
            await server.stop()
        answer = await counting
        assert failure_of(answer, 503).error == "the server is stopping"
        assert (answer.headers["retry-after"], answer.headers["connection"]) == ("1", "close")
        committed = await committing
        assert "it is unknown whether the cancellation is in force" in failure_of(committed, 503).error
        assert committed.headers["idempotency-key"]
        assert (await sending.answers())[0][0] == 503
        await until_working(watcher, 0)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
    assert capfd.readouterr().err == "", "uvicorn writes there by itself"


async def preview(client: httpx.AsyncClient, server: Serving) -> httpx.Response:
    return await client.post(f"{server.address}{PREVIEW}", json=FLOOD, timeout=30)
