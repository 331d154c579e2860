"""Both ends of the window are exclusive, to the microsecond, wherever a window is looked at."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from secateur.engines.native.engine import NativeEngine
from secateur.ledger.cancellations import Cancellations
from secateur.looking.counter import MatchCounter
from secateur.postgres.database import Database
from secateur.requests import CancellationRequest

AFTER = datetime(2024, 1, 21, 10, 0, 0, 123456, tzinfo=UTC)
BEFORE = datetime(2024, 1, 21, 10, 0, 0, 123460, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)

REQUEST = CancellationRequest(
    app_id="billing", if_="event.data.vendor_id == 'acme'", started_after=AFTER, started_before=BEFORE
)


@pytest.fixture
async def started(database: Database) -> dict[datetime, UUID]:
    """A run at each microsecond from before the window to after it."""
    moments = [AFTER + n * MICROSECOND for n in range(-1, 6)]
    return {
        moment: await database.fetchval(
            "select secateur.enqueue('billing', 'sync', '{\"data\": {\"vendor_id\": \"acme\"}}', started_at => $1)",
            moment,
        )
        for moment in moments
    }


@pytest.fixture
async def inside(started: dict[datetime, UUID]) -> set[UUID]:
    return {id for moment, id in started.items() if AFTER < moment < BEFORE}


@pytest.fixture
async def service(database: Database) -> Cancellations:
    return Cancellations(NativeEngine(database))


async def claim(database: Database) -> set[UUID]:
    rows = await database.fetch("select id from secateur.claim('billing', null, 50, 'w', '1 hour')")
    return {row["id"] for row in rows}


async def cancelled(database: Database) -> set[UUID]:
    return {row["id"] for row in await database.fetch("select id from secateur.runs where status = 'cancelled'")}


async def test_count(service: Cancellations, inside: set[UUID]) -> None:
    preview = await MatchCounter(service.engine).preview(REQUEST)
    assert (preview.count.matched, preview.count.total) == (len(inside), 7) == (3, 7)


async def test_claim(
    database: Database, service: Cancellations, started: dict[datetime, UUID], inside: set[UUID]
) -> None:
    await service.commit(REQUEST, author="tester", source="python")
    assert await claim(database) == set(started.values()) - inside
    assert await cancelled(database) == inside


async def test_commit_asks_running_runs(database: Database, service: Cancellations, inside: set[UUID]) -> None:
    await claim(database)
    await service.commit(REQUEST, author="tester", source="python")
    asked = await database.fetch("select run_id from secateur.cancel_requests")
    assert {row["run_id"] for row in asked} == inside


async def test_sweep(database: Database, service: Cancellations, inside: set[UUID]) -> None:
    committed = await service.commit(REQUEST, author="tester", source="python")
    assert (await service.wait(committed.id)).cancelled == 3
    assert await cancelled(database) == inside
