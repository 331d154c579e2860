"""A count that takes long: what is known meanwhile, ever better, and what is left where it fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime

import pytest

import secateur
from secateur.engines.native.client import Queue
from secateur.errors import DatabaseError, RequestError
from secateur.looking import timed_counting
from secateur.looking.timed_counting import Seen, count_along, count_within, pooled
from secateur.requests import CancellationRequest
from secateur.runs import Count

pytestmark = pytest.mark.one_postgres

REQUEST = CancellationRequest.parse({"app_id": "billing", "if": "event.data.n % 2 == 0"})
NOW = datetime(2026, 11, 27, tzinfo=UTC)


@pytest.fixture
async def queue(database_url: str) -> AsyncIterator[Queue]:
    async with secateur.connect(database_url) as connected:
        await connected.enqueue_bulk("billing", "syncs", ({"data": {"n": n}} for n in range(100)))
        yield connected


def estimate(matched: int, spread: int) -> Count:
    return Count(matched, 1000, False, 0, NOW, low=matched - spread, high=matched + spread)


def hold_up(monkeypatch: pytest.MonkeyPatch, queue: Queue, until: Callable[[int], bool]) -> None:
    """Exact counts wait until so many samples were drawn; each sample says another figure."""
    drawn = 0
    count = queue.reader.counter.count

    async def slow(*given: object, **named: object) -> Count:
        while not until(drawn):
            await asyncio.sleep(0.01)
        return await count(*given, **named)  # type: ignore[arg-type]

    async def guess(request: object) -> Count:
        nonlocal drawn
        drawn += 1
        return estimate(500 + drawn, 100)

    monkeypatch.setattr(timed_counting, "ESTIMATE_AFTER", 0.01)
    monkeypatch.setattr(queue.reader.counter, "count", slow)
    monkeypatch.setattr(queue.reader.counter, "guess", guess)


async def test_the_interval_narrows_until_the_exact_count_is_there(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold_up(monkeypatch, queue, lambda drawn: drawn >= 4)
    async with aclosing(count_along(queue.reader.counter, REQUEST, 60)) as found:
        seen = [each async for each in found]
    *estimates, exact, with_errors = seen
    widths = [
        each.count.high - each.count.low for each in estimates if each.count and each.count.high and each.count.low
    ]
    assert len(widths) >= 3
    assert widths == sorted(widths, reverse=True)
    assert widths[-1] < widths[0]
    assert all(each.under_way and each.why is None for each in [*estimates, exact])
    assert with_errors == replace(with_errors, why=None, under_way=False)
    assert with_errors.count is not None
    assert (with_errors.count.matched, with_errors.count.exact, with_errors.count.errors) == (50, True, 0)


async def test_what_is_given_up_leaves_the_estimate_and_the_reason(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold_up(monkeypatch, queue, lambda drawn: False)
    last = await count_within(queue.reader.counter, REQUEST, 0.5)
    assert last.count is not None
    assert not last.count.exact
    assert last.why == "the database did not answer within 0.5 s"
    assert not last.under_way


async def test_where_nothing_answers_there_is_the_reason_alone(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object, **__: object) -> Count:
        raise DatabaseError("no")

    for name in ("count", "guess", "estimate"):
        monkeypatch.setattr(queue.reader.counter, name, fail)
    assert await count_within(queue.reader.counter, REQUEST, 5) == Seen(None, "no")


async def test_an_unknown_app_is_an_error(queue: Queue) -> None:
    with pytest.raises(RequestError, match="there is no app"):
        await count_within(queue.reader.counter, CancellationRequest.parse({"app_id": "biling"}), 5)


def test_samples_are_pooled() -> None:
    one = pooled([estimate(500, 100)])
    four = pooled([estimate(matched, 100) for matched in (480, 520, 490, 510)])
    assert one == estimate(500, 100)
    assert (four.matched, four.low, four.high) == (500, 450, 550)
