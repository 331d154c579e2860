"""Server-sent events over a real socket: depth, a cancellation's progress, and how a stream ends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from api_client import FLOOD, Serving, data_of, failure_of, serving
from billing import ACME

from patience import PATIENCE, eventually
from secateur.api.limits import Limits
from secateur.postgres.database import Database

STREAM = {"Accept": "text/event-stream"}


class Events:
    """What a stream sends, one by one."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self._lines = response.aiter_lines()

    async def next(self) -> tuple[str, Any, str | None] | None:
        """Name, data and id of the next event; None at the end."""
        fields: dict[str, str] = {}
        async with asyncio.timeout(PATIENCE):
            async for line in self._lines:
                if line:
                    name, _, value = line.partition(": ")
                    fields[name] = value
                elif "event" in fields:
                    return fields["event"], json.loads(fields["data"]), fields.get("id")
        return None


@asynccontextmanager
async def streamed(server: Serving, path: str, **headers: str) -> AsyncIterator[Events]:
    async with (
        httpx.AsyncClient(base_url=server.address, timeout=PATIENCE) as client,
        client.stream("GET", path, headers={**STREAM, **headers}) as response,
    ):
        assert response.status_code == 200, await response.aread()
        assert response.headers["content-type"].startswith("text/event-stream")
        yield Events(response)


async def test_the_depth_comes_when_it_changes(flooded: Database) -> None:
    async with serving(flooded) as server, streamed(server, "/v1/queues") as events:
        name, before, _ = await events.next() or pytest.fail("it ended")
        assert name == "depth"
        assert {each["function_id"] for each in before} == {"vendor-syncs", "invoices"}
        await flooded.execute("select secateur.enqueue('billing', 'late', '{}')")
        seen: set[str] = set()
        while "late" not in seen:
            _, now, _ = await events.next() or pytest.fail("it ended")
            seen = {each["function_id"] for each in now}


async def test_a_cancellations_progress_ends_with_it(flooded: Database) -> None:
    # Held open by a running run, until that has ended.
    (run,) = await flooded.fetch(
        "select id, claim_token from secateur.claim('billing', array['vendor-syncs'], 1, 'w', '10 minutes')"
    )
    async with serving(flooded) as server, httpx.AsyncClient(base_url=server.address, timeout=PATIENCE) as client:
        committed = data_of(await client.post("/v1/cancellations", json={**FLOOD, "if": "true"}), 201)
        path = f"/v1/cancellations/{committed['id']}"
        async with streamed(server, path) as events:
            name, first, last_id = await events.next() or pytest.fail("it ended")
            assert (name, first["id"], first["state"], last_id) == ("cancellation", committed["id"], "active", None)
            await flooded.fetch("select secateur.complete('billing', $1, $2)", *run)
            state = "active"
            while state == "active":
                _, now, last_id = await events.next() or pytest.fail("it ended before the cancellation")
                state = now["state"]
            assert (state, last_id, now["counts"]["finished_first"]) == ("complete", "end", 1)
            assert now["counts"]["cancelled"] > ACME - 10
            assert await events.next() is None
        again = await client.get(path, headers={**STREAM, "Last-Event-ID": "end"})
        assert (again.status_code, again.content) == (204, b"")


async def test_what_is_refused_has_a_status(flooded: Database) -> None:
    async with (
        serving(flooded, Limits(streams=1)) as server,
        httpx.AsyncClient(base_url=server.address, headers=STREAM, timeout=PATIENCE) as client,
    ):
        unknown = await client.get("/v1/cancellations/00000000-0000-0000-0000-000000000000")
        failure_of(unknown, 404)
        async with streamed(server, "/v1/queues") as events:
            await events.next()
            refused = await client.get("/v1/queues")
            failure_of(refused, 503)
            assert refused.headers["retry-after"] == "1"
        head = await client.head("/v1/queues")
        assert (head.status_code, head.headers["content-type"]) == (200, "application/json")

        async def free() -> bool:
            async with client.stream("GET", "/v1/queues") as answer:
                return answer.status_code == 200

        await eventually(free, "the place of a client that has left")


async def test_a_stream_outlives_the_limit_of_a_request_and_ends_at_its_own(flooded: Database) -> None:
    async with serving(flooded, Limits(request=5, stream=8)) as server, streamed(server, "/v1/queues") as events:
        count = 0
        while await events.next() is not None:
            count += 1
            await flooded.execute("select secateur.enqueue('billing', 'late', '{}')")
        assert count >= 2


async def test_a_server_that_stops_ends_its_streams_at_once(flooded: Database) -> None:
    async with serving(flooded, Limits(grace=600)) as server, streamed(server, "/v1/queues") as events:
        await events.next()
        async with asyncio.timeout(PATIENCE):
            await server.stop()
        while await events.next() is not None:
            pass
