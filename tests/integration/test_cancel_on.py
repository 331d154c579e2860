"""What an event does besides starting runs: `cancel_on`, and what cancelled runs send themselves."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest

import secateur
from secateur import Queue


@pytest.fixture
async def queue(database_url: str) -> AsyncIterator[Queue]:
    async with secateur.connect(database_url) as queue:
        yield queue


async def listen(queue: Queue, app_id: str, function_id: str, *names: str) -> None:
    await queue.database.execute("select secateur.register_function($1, $2, $3, 4)", app_id, function_id, list(names))


async def announce(queue: Queue, *run_ids: UUID) -> None:
    await queue.database.execute("select secateur.announce_cancelled($1)", list(run_ids))


async def announced(queue: Queue, app_id: str) -> list[Any]:
    rows = await queue.database.fetch("select event from secateur.runs where app_id = $1 order by id", app_id)
    return [json.loads(row["event"]) for row in rows]


async def test_cancelled_runs_are_announced_to_every_function_that_asks(queue: Queue) -> None:
    await listen(queue, "audit", "log", "function.cancelled")
    await listen(queue, "audit", "page", "function.cancelled", "other")
    events = [{"name": "vendor/sync", "data": {"vendor_id": "acme_inc", "n": n}} for n in range(3)]
    ids = await queue.enqueue_many("billing", "vendor-syncs", events)
    committed = await queue.cancel({"app_id": "billing"}, wait=True)
    await announce(queue, *ids)
    found = await announced(queue, "audit")
    assert len(found) % 6 == 0
    assert {event["name"] for event in found} == {"function.cancelled"}
    assert found[0]["data"] == {
        "run_id": str(ids[0]),
        "app_id": "billing",
        "function_id": "vendor-syncs",
        "cause": "cancellation",
        "cancellation_id": str(committed.id),
        "event": events[0],
    }
