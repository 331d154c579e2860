"""The runs of a selection over their start time: one bounded query, exact or from a sample."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from secateur.engines import sampled as source
from secateur.engines.native.engine import NativeEngine
from secateur.looking.reader import Reader
from secateur.postgres.database import Database
from secateur.requests import CancellationRequest
from secateur.runs import Bar

pytestmark = pytest.mark.one_postgres

ACME = "event.data.vendor_id == 'acme_inc'"


async def enqueue(database: Database, amount: int, event: dict[str, object], age: str) -> None:
    await database.execute(
        """
        select secateur.enqueue_many('billing', 'syncs', array_fill($1::jsonb, array[$2::int]),
                 started_at => array_fill(now() - $3::text::interval, array[$2::int]))
        """,
        json.dumps(event),
        amount,
        age,
    )


@pytest.fixture
async def filled(database: Database) -> Reader:
    """40 runs in four hours: acme's in the last hour, and some that cannot be evaluated in the first."""
    await enqueue(database, 10, {"data": {"vendor_id": "globex"}}, "4 hours")
    await enqueue(database, 5, {"data": {}}, "3 hours 50 minutes")
    await enqueue(database, 10, {"data": {"vendor_id": "globex"}}, "2 hours")
    await enqueue(database, 15, {"data": {"vendor_id": "acme_inc"}}, "1 minute")
    return Reader(NativeEngine(database))


def request(**fields: object) -> CancellationRequest:
    return CancellationRequest.parse({"app_id": "billing", "function_id": "syncs", **fields})


async def test_matches_and_others_are_told_by_their_start(filled: Reader) -> None:
    found = await filled.histogram(request(**{"if": ACME}), 4)
    assert found is not None
    assert found.exact
    assert found.bars == (Bar(15, 0, 5), Bar(0, 0, 0), Bar(10, 0, 0), Bar(15, 15, 0))
    assert timedelta(hours=3, minutes=58) < found.last - found.first < timedelta(hours=4)
    assert found.span(0, 3) == (found.first, found.last)


async def test_only_the_window_is_shown(filled: Reader) -> None:
    now = await filled.clock()
    found = await filled.histogram(request(started_after=now - timedelta(hours=3)), 2)
    assert found is not None
    assert found.bars == (Bar(10, 10, 0), Bar(15, 15, 0))


async def test_runs_of_one_moment_are_one_bar(database: Database) -> None:
    await enqueue(database, 3, {"data": {}}, "1 hour")
    found = await Reader(NativeEngine(database)).histogram(request(), 5)
    assert found is not None
    assert sum(bar.total for bar in found.bars) == 3


async def test_several_functions_are_one_histogram(filled: Reader, database: Database) -> None:
    """Its parts are those of all the runs, whatever the functions' own first and last starts are."""
    await database.execute(
        """
        select secateur.enqueue_many('billing', 'mails', array_fill($1::jsonb, array[7]),
                 started_at => array_fill(now() - interval '2 hours', array[7]))
        """,
        json.dumps({"data": {"vendor_id": "acme_inc"}}),
    )
    await database.execute("select secateur.register_function('billing', 'idle', '{}', 3)")
    body = {"app_id": "billing", "function_ids": ["syncs", "mails", "idle"], "if": ACME}
    found = await filled.histogram(CancellationRequest.parse(body), 4)
    assert found is not None
    assert found.bars == (Bar(15, 0, 5), Bar(0, 0, 0), Bar(17, 7, 0), Bar(15, 15, 0))
    assert found.exact
    nothing = {**body, "function_ids": ["idle", "mails"], "started_after": await filled.clock()}
    assert await filled.histogram(CancellationRequest.parse(nothing), 4) is None


async def test_nothing_is_no_histogram(database: Database) -> None:
    await enqueue(database, 3, {"data": {}}, "1 hour")
    now = await Reader(NativeEngine(database)).clock()
    assert await Reader(NativeEngine(database)).histogram(request(started_after=now - timedelta(minutes=1)), 5) is None


async def test_of_many_runs_a_sample_is_scaled_up(filled: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "EXACT_IS_QUICK", 10)
    found = await filled.histogram(request(**{"if": ACME}), 4)
    assert found is not None
    # So few pages are all looked at.
    assert sum(bar.total for bar in found.bars) == 40
    monkeypatch.setattr(source, "SAMPLE_RUNS", 20)
    estimated = await filled.histogram(request(**{"if": ACME}), 4)
    assert estimated is None or not estimated.exact
