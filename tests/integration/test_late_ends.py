"""A run whose lease ended is its last holder's to end until somebody begins it again; and functions that block."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import asyncpg
import pytest
from workers import commanded, error_of, eventually, in_status, working

import secateur
from secateur import ActiveRun, App, Queue, SyncRun
from secateur.engines.native.claims import Claims
from secateur.runs import RunStatus

END_LEASES = "update secateur.runs set lease_expires_at = clock_timestamp() - interval '1 s' where status = 'running'"
RECOVER = "select secateur.recover_expired('billing')"


@pytest.fixture
async def queue(embedded_url: str) -> AsyncIterator[Queue]:
    async with secateur.connect(embedded_url) as queue:
        yield queue


async def claim(queue: Queue) -> asyncpg.Record:
    [run] = await queue.database.fetch("select * from secateur.claim('billing', null, 1, 'tester', '1 hour')")
    return run


async def say(queue: Queue, function: str, run: asyncpg.Record, *more: object) -> object:
    places = "".join(f", ${n + 3}" for n in range(len(more)))
    call = f"select secateur.{function}('billing', $1, $2{places})"
    return await queue.database.fetchval(call, run["id"], run["claim_token"], *more)


async def drift(queue: Queue) -> object:
    await queue.database.fetch("select * from secateur.check_depth('billing')")
    return await queue.database.fetchval("select count(*) from secateur.depth_drifts")


class TestInTheDatabase:
    async def test_a_run_that_nobody_has_begun_again_is_completed(self, queue: Queue) -> None:
        run_id = await queue.enqueue("billing", "invoices", {})
        run = await claim(queue)
        await queue.database.execute(END_LEASES)
        await queue.database.execute(RECOVER)
        assert (await queue.engine.run(run_id)).status == RunStatus.QUEUED
        assert await say(queue, "finish_step", run, "fetch", "1") is True, "the step is done as well"
        assert await say(queue, "begin_step", run, "next") is False, "no step begins without a lease"
        assert await say(queue, "complete", run) is True
        assert await say(queue, "complete", run) is True, "repeatable"
        ended = await queue.engine.run(run_id)
        assert (ended.status, ended.attempt) == (RunStatus.COMPLETED, 1)
        assert not await queue.database.fetch("select * from secateur.claim('billing', null, 1, 'tester', '1 hour')")
        assert await drift(queue) == 0

    async def test_also_one_that_had_no_attempts_left(self, queue: Queue) -> None:
        await queue.database.execute("select secateur.register_function('billing', 'invoices', '{}', 1)")
        run_id = await queue.enqueue("billing", "invoices", {})
        run = await claim(queue)
        await queue.database.execute(END_LEASES)
        await queue.database.execute(RECOVER)
        assert (await queue.engine.run(run_id)).status == RunStatus.FAILED
        assert await say(queue, "complete", run) is True
        assert (await queue.engine.run(run_id)).status == RunStatus.COMPLETED
        assert await error_of(queue, run_id) is None
        assert await drift(queue) == 0

    async def test_not_one_that_has_failed_in_words(self, queue: Queue) -> None:
        await queue.database.execute("select secateur.register_function('billing', 'invoices', '{}', 1)")
        run_id = await queue.enqueue("billing", "invoices", {})
        run = await claim(queue)
        assert await say(queue, "fail", run, "no luck") == "failed"
        assert await say(queue, "complete", run) is False
        assert await error_of(queue, run_id) == "no luck"

    async def test_not_one_that_somebody_has_begun(self, queue: Queue) -> None:
        run_id = await queue.enqueue("billing", "invoices", {})
        first = await claim(queue)
        await queue.database.execute(END_LEASES)
        second = await claim(queue)
        assert second["id"] == run_id
        assert await say(queue, "finish_step", first, "fetch", "1") is False
        assert await say(queue, "complete", first) is False
        assert await say(queue, "complete", second) is True

    async def test_not_one_that_was_cancelled(self, queue: Queue) -> None:
        run_id = await queue.enqueue("billing", "invoices", {"data": {}})
        run = await claim(queue)
        await queue.database.execute(END_LEASES)
        await queue.database.execute(RECOVER)
        cancellation = await queue.cancel({"app_id": "billing"})
        await queue.database.fetch("select secateur.sweep_cancellation('billing', $1, 100)", cancellation.id)
        assert await say(queue, "complete", run) is False
        assert (await queue.engine.run(run_id)).status == RunStatus.CANCELLED

    async def test_its_slot_is_somebody_elses_by_then(self, queue: Queue) -> None:
        await queue.database.execute("select secateur.register_function('billing', 'invoices', '{}', 4, 1)")
        late_id = await queue.enqueue("billing", "invoices", {})
        late = await claim(queue)
        await queue.enqueue("billing", "invoices", {})
        await queue.database.execute(END_LEASES)
        await queue.database.execute(RECOVER)
        await queue.database.execute("update secateur.runs set priority = -1 where id = $1", late_id)
        other = await claim(queue)
        assert other["id"] != late_id
        assert await say(queue, "complete", late) is True
        assert await queue.database.fetchval("select run_id from secateur.slots") == other["id"]


async def _nothing(run: ActiveRun) -> None:
    pass


async def test_an_attempt_that_is_no_longer_held_does_not_begin(queue: Queue) -> None:
    """Asking for its finished steps took so long that somebody else has claimed and ended the run."""
    app = App("billing")
    app.function(id="invoices")(_nothing)
    run_id = await queue.enqueue("billing", "invoices", {})
    first = await claim(queue)
    assert await say(queue, "finish_step", first, "fetch", "1") is True
    await queue.database.execute(END_LEASES)

    claims = Claims(queue.database, "slow", timedelta(hours=1))
    [mine] = (await claims.claim("billing", dict(app.functions), 1)).claims
    assert (mine.run.attempt, mine.resumes) == (2, True)
    await queue.database.execute(END_LEASES)
    quick = await claim(queue)
    assert await say(queue, "complete", quick) is True
    assert await claims.recall(mine) is False
    assert (await queue.engine.run(run_id)).attempt == 3


class TestBlocking:
    async def test_a_plain_function_holds_nobody_up(self, queue: Queue, embedded_url: str) -> None:
        app = App("billing")
        go_on = threading.Event()
        threads: set[int] = set()

        @app.function(id="blocking", retries=0)
        def blocking(run: SyncRun) -> None:
            threads.add(threading.get_ident())
            run.step("wait", go_on.wait)

        @app.function(id="quick", retries=0)
        async def quick(run: ActiveRun) -> None:
            await run.step("nothing", asyncio.sleep, 0)

        async with working(embedded_url, app):
            slow = await queue.enqueue("billing", "blocking", {})
            await in_status(queue, slow, RunStatus.RUNNING)
            await in_status(queue, await queue.enqueue("billing", "quick", {}), RunStatus.COMPLETED)
            assert (await queue.engine.run(slow)).status == RunStatus.RUNNING
            go_on.set()
            await in_status(queue, slow, RunStatus.COMPLETED)
        assert threads
        assert threading.get_ident() not in threads

    async def test_a_coroutine_that_blocks_loses_no_lease_and_is_named(
        self, queue: Queue, embedded_url: str, tmp_path: Path
    ) -> None:
        """Two workers, and a function that holds up the event loop of its worker for several leases."""
        flags = ("jobs_of_the_command:billing", "--database", embedded_url, "--lease", "4s")
        with commanded(tmp_path, JOBS, *flags) as first:
            await first.said("works on")
            ids = [
                await queue.enqueue("billing", "beside", {"seconds": 0.5}),
                await queue.enqueue("billing", "blocking", {"seconds": 9}),
            ]
            for id in ids:
                await in_status(queue, id, RunStatus.RUNNING)
            with commanded(tmp_path, JOBS, *flags) as second:
                await second.said("works on")
                for id in ids:
                    assert (await in_status(queue, id, RunStatus.COMPLETED)).attempt == 1
                await first.said(f"billing / blocking {ids[1]} has been blocking the event loop for")
                await first.said("jobs_of_the_command.py")
                await first.said("the event loop responds again")
                assert not any("beside" in line and "blocking the event loop" in line for line in first.lines)

    async def test_a_task_that_blocks_is_named_after_its_run(
        self, queue: Queue, embedded_url: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        app = App("billing")

        async def block() -> None:
            time.sleep(1.8)  # noqa: ASYNC251 - that is what it is about

        @app.function(id="invoices")
        async def invoices(run: ActiveRun) -> None:
            await asyncio.create_task(block())

        caplog.set_level(logging.WARNING, "secateur.worker")
        async with working(embedded_url, app):
            run_id = await queue.enqueue("billing", "invoices", {})
            await in_status(queue, run_id, RunStatus.COMPLETED)

            async def said() -> bool:
                return f"billing / invoices {run_id} has been blocking the event loop" in caplog.text

            await eventually(said, "the run to be named")


JOBS = """
import asyncio, time
from secateur import App

billing = App("billing")

@billing.function(id="blocking", retries=0)
async def blocking(run):
    time.sleep(run.event["seconds"])

@billing.function(id="beside", retries=0)
async def beside(run):
    for _ in range(5):
        await asyncio.sleep(run.event["seconds"] / 5)
"""
