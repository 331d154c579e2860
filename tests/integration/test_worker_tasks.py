"""Runs whose functions do not wait share a task: none may notice another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextvars import ContextVar
from typing import Any

import pytest
from workers import working

from patience import eventually
from secateur import ActiveRun, App, Queue, connect
from secateur.runs import RunStatus


@pytest.fixture
async def queue(embedded_url: str) -> AsyncIterator[Queue]:
    async with connect(embedded_url) as queue:
        yield queue


COUNT = "select count(*) from secateur.runs where status = $1"

Trace: ContextVar[Any] = ContextVar("trace", default=None)


class Odd:
    """Cannot be compared, as arrays cannot."""

    def __eq__(self, other: object) -> bool:
        raise TypeError("which of them?")

    __hash__ = None  # type: ignore[assignment]


async def ended(queue: Queue, number: int, status: RunStatus = RunStatus.COMPLETED) -> None:
    async def reached() -> bool:
        return bool(await queue.database.fetchval(COUNT, status.value) == number)

    await eventually(reached, f"{number} runs to be {status.value}")


async def test_those_that_do_not_wait_share_tasks_and_the_others_have_their_own(
    queue: Queue, embedded_url: str
) -> None:
    app, tasks, waiting = App("billing"), dict[str, list[object]](quick=[], slow=[]), asyncio.Event()

    @app.function(id="quick")
    async def quick(run: ActiveRun) -> None:
        tasks["quick"].append(asyncio.current_task())

    @app.function(id="slow")
    async def slow(run: ActiveRun) -> None:
        tasks["slow"].append(asyncio.current_task())
        if len(tasks["slow"]) == 20:
            waiting.set()
        await waiting.wait()  # each waits for the last, so all must have begun

    await queue.enqueue_many("billing", "quick", [{}] * 100)
    await queue.enqueue_many("billing", "slow", [{}] * 20)
    async with working(embedded_url, app, concurrency=120):
        await ended(queue, 120)
    assert len(set(tasks["slow"])) == 20
    assert len(set(tasks["quick"])) < 60


async def test_what_one_leaves_in_its_context_no_other_finds(queue: Queue, embedded_url: str) -> None:
    app, found = App("billing"), list[object]()

    @app.function(id="leaving")
    async def leaving(run: ActiveRun) -> None:
        found.append(Trace.get())
        Trace.set(Odd())

    await queue.enqueue_many("billing", "leaving", [{}] * 30)
    async with working(embedded_url, app, concurrency=30):
        await ended(queue, 30)
    assert [one is None for one in found] == [True] * 30


async def test_one_that_cancels_its_task_or_fails_at_once_hurts_no_other(queue: Queue, embedded_url: str) -> None:
    app, later = App("billing"), list[object]()

    @app.function(id="odd", retries=0)
    async def odd(run: ActiveRun) -> None:
        task = asyncio.current_task()
        assert task is not None
        match run.event["n"] % 3:
            case 0:
                task.cancel()
            case 1:
                raise SystemExit("not the worker's")
        later.append(run.event["n"])

    await queue.enqueue_many("billing", "odd", [{"n": n} for n in range(30)])
    async with working(embedded_url, app, concurrency=30):
        await ended(queue, 20)
        await ended(queue, 10, RunStatus.FAILED)
    assert sorted(later) == [n for n in range(30) if n % 3 != 1]
