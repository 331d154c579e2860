"""What a backlog's payloads look like, sampled on every Postgres found."""

from __future__ import annotations

import asyncio

import pytest

import secateur
from patience import PATIENCE
from secateur.engines import sampled as source
from secateur.looking.facets import payload_shape
from secateur.runs import Scope

pytestmark = pytest.mark.one_postgres


async def test_the_whole_of_a_small_scope(database_url: str) -> None:
    async with secateur.connect(database_url) as queue:
        syncs = [{"data": {"vendor_id": "acme_inc" if n % 3 else "globex", "amount": n}} for n in range(90)]
        await queue.enqueue_many("billing", "vendor-syncs", syncs)
        await queue.enqueue_many("billing", "invoices", [{"data": {"total": 1}}] * 10)
        one = await payload_shape(queue.engine, Scope("billing", "vendor-syncs"))
        assert one.sampled == 90
        assert one.fields["data", "vendor_id"].values == (("acme_inc", 60), ("globex", 30))
        assert ("data", "total") not in one.fields
        both = await payload_shape(queue.engine, Scope("billing"))
        assert both.sampled == 100
        assert both.fields["data", "total"].count == 10
        assert (await payload_shape(queue.engine, Scope("billing", "unknown"))).sampled == 0


async def test_a_sample_of_a_large_one(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with secateur.connect(database_url) as queue:
        events = [{"data": {"n": n, "half": "first" if n < 10_000 else "second"}} for n in range(20_000)]
        await queue.enqueue_many("billing", "vendor-syncs", events)
        scope = Scope("billing", "vendor-syncs")
        drawn = await payload_shape(queue.engine, scope, 1_000)
        assert drawn.sampled == 1_000
        monkeypatch.setattr(source, "DRAWING_IS_QUICK", 1_000)
        pages = await payload_shape(queue.engine, scope, 1_000)
        assert 300 <= pages.sampled <= 1_000
        for shape in (drawn, pages):
            assert {value for value, _ in shape.fields["data", "half"].values} == {"first", "second"}


async def test_large_payloads_end_the_sample(embedded_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "SAMPLE_CHARACTERS", 100_000)
    async with secateur.connect(embedded_url) as queue:
        await queue.enqueue_many("billing", "vendor-syncs", [{"data": {"text": "x" * 10_000}}] * 100)
        assert 10 <= (await payload_shape(queue.engine, Scope("billing"))).sampled < 20


async def test_leaving_cancels_the_query(embedded_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with secateur.connect(embedded_url) as queue:
        await queue.enqueue("billing", "vendor-syncs", {"data": {}})
        engine = type(queue.engine)
        slow = {**engine.statements, "sample_events": "select pg_sleep(60)::text, $1::text, $2::text, $3::int"}
        monkeypatch.setattr(engine, "statements", slow)
        task = asyncio.ensure_future(payload_shape(queue.engine, Scope("billing")))
        running = "select count(*) from pg_stat_activity where query like 'select pg_sleep%' and state = 'active'"
        while not await queue.database.fetchval(running):
            assert not task.done(), task.exception()
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(PATIENCE):
            while await queue.database.fetchval(running):
                await asyncio.sleep(0.01)
