"""The figures of a count fit each other, however many runs arrive while they are taken."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any, TypeVar

import pytest

import secateur
from secateur import Queue
from secateur.engines.base import Selection
from secateur.engines.native.engine import NativeEngine
from secateur.engines.readings import Reading
from secateur.looking.counter import MatchCounter
from secateur.postgres.database import Database
from secateur.requests import CancellationRequest
from secateur.runs import Count

pytestmark = pytest.mark.one_postgres

Result = TypeVar("Result")

EVENTS = [{"name": "a", "data": {"n": 1}}, {"name": "a", "data": {"n": 2}}, {"name": "a", "data": {}}]
"""One matches, one does not, and on one the filter cannot be evaluated."""


class Between:
    """A connection before each of whose statements more runs have arrived."""

    def __init__(self, connection: Any, arrive: Callable[[], Awaitable[Any]]) -> None:
        self._connection, self._arrive = connection, arrive

    async def fetch(self, *arguments: Any) -> Any:
        await self._arrive()
        return await self._connection.fetch(*arguments)

    async def fetchrow(self, *arguments: Any) -> Any:
        await self._arrive()
        return await self._connection.fetchrow(*arguments)


class InAFlood(NativeEngine):
    """An engine that is read while runs keep arriving."""

    queue: Queue

    async def read(self, ask: Callable[[Reading], Awaitable[Result]], *, on_primary: bool = False) -> Result:
        async def arrive() -> None:
            await self.queue.enqueue_bulk("billing", "sync", EVENTS * 5)

        async def among(reading: Reading) -> Result:
            return await ask(replace(reading, connection=Between(reading.connection, arrive)))

        return await super().read(among, on_primary=on_primary)


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[InAFlood]:
    async with secateur.connect(database_url) as queue, Database.connect(database_url) as database:
        await queue.enqueue_bulk("billing", "sync", EVENTS * 10)
        engine = InAFlood(database)
        engine.queue = queue
        yield engine


async def test_the_figures_of_a_count(engine: InAFlood) -> None:
    request = CancellationRequest.parse({"app_id": "billing", "if": "event.data.n == 1"})
    (selection,) = [Selection(scope, request.window, request.compile()) for scope in request.scopes]
    count = await engine.count(selection)
    assert (count.total, count.matched) == (30, 10)
    count = await engine.count_with_errors(selection)
    assert (count.total, count.matched, count.errors) == (75, 25, 25)


async def test_the_figures_of_a_preview(engine: InAFlood) -> None:
    request = CancellationRequest.parse({"app_id": "billing", "if": "event.data.nothing == 1"})
    count: Count = (await MatchCounter(engine).preview(request)).count
    assert (count.matched, count.errors) == (0, count.total)


async def test_the_figures_of_an_estimate(engine: InAFlood, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("secateur.engines.sampled.EXACT_IS_QUICK", 10)
    monkeypatch.setattr("secateur.engines.sampled.FEWEST_SAMPLED", 1)
    request = CancellationRequest.parse({"app_id": "billing", "if": "event.data.nothing == 1"})
    count = await MatchCounter(engine).guess(request)
    assert count is not None
    assert count.errors == count.total
