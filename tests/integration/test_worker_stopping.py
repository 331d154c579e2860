"""How runs and workers are stopped: cancelled runs, timeouts, deploys, signals."""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from workers import commanded, error_of, eventually, in_status, working

import secateur
from secateur import ActiveRun, App, Queue, RunCancelled, SyncRun
from secateur.runs import RunStatus

INTERRUPTED = "interrupted: the worker stopped before the run ended"
SOON = timedelta(milliseconds=50)


@pytest.fixture
async def queue(embedded_url: str) -> AsyncIterator[Queue]:
    async with secateur.connect(embedded_url) as queue:
        yield queue


async def interruptions(queue: Queue, run_id: UUID) -> int:
    number: int = await queue.database.fetchval("select interruptions from secateur.runs where id = $1", run_id)
    return number


class TestCancelledRuns:
    async def test_one_that_comes_to_no_step_is_interrupted(self, queue: Queue, embedded_url: str) -> None:
        app = App("billing")
        happened: list[str] = []

        @app.function(id="invoices", concurrency=1)
        async def invoices(run: ActiveRun) -> None:
            if run.event["hang"]:
                try:
                    await asyncio.Event().wait()
                finally:
                    happened.append("cleaned up")

        async with working(embedded_url, app, grace=SOON):
            hanging = await queue.enqueue("billing", "invoices", {"hang": True})
            await in_status(queue, hanging, RunStatus.RUNNING)
            behind = await queue.enqueue("billing", "invoices", {"hang": False})
            cancellation = await queue.cancel_run(hanging)
            await in_status(queue, hanging, RunStatus.CANCELLED)
            await in_status(queue, behind, RunStatus.COMPLETED)

            async def complete() -> bool:
                return (await queue.cancellations.get(cancellation.id)).state == "complete"

            await eventually(complete, "the cancellation to be complete")
        assert happened == ["cleaned up"]
        counts = await queue.cancellations.get(cancellation.id)
        assert (counts.cancelled, counts.stopped) == (1, 1)

    async def test_one_that_swallows_it_does_not_count_as_completed(self, queue: Queue, embedded_url: str) -> None:
        app = App("billing")

        @app.function(id="invoices")
        async def invoices(run: ActiveRun) -> None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                return

        async with working(embedded_url, app, grace=SOON):
            run_id = await queue.enqueue("billing", "invoices", {})
            await in_status(queue, run_id, RunStatus.RUNNING)
            await queue.cancel_run(run_id)
            await in_status(queue, run_id, RunStatus.CANCELLED)

    async def test_not_where_the_function_forbids_it(self, queue: Queue, embedded_url: str) -> None:
        app = App("billing")
        stopping, go_on = asyncio.Event(), asyncio.Event()

        @app.function(id="invoices", interruptible=False)
        async def invoices(run: ActiveRun) -> None:
            await go_on.wait()

        @app.function(id="reminders")
        async def reminders(run: ActiveRun) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                stopping.set()

        async with working(embedded_url, app, grace=SOON):
            kept = await queue.enqueue("billing", "invoices", {})
            other = await queue.enqueue("billing", "reminders", {})
            for run_id in (kept, other):
                await in_status(queue, run_id, RunStatus.RUNNING)
                await queue.cancel_run(run_id)
            await stopping.wait()  # its grace began later
            go_on.set()
            await in_status(queue, kept, RunStatus.COMPLETED)

    async def test_a_stopped_cancellation_interrupts_nothing(self, queue: Queue, embedded_url: str) -> None:
        app = App("billing")
        go_on = asyncio.Event()

        @app.function(id="invoices")
        async def invoices(run: ActiveRun) -> None:
            await go_on.wait()

        async with working(embedded_url, app) as worker:
            run_id = await queue.enqueue("billing", "invoices", {"data": {}})
            await in_status(queue, run_id, RunStatus.RUNNING)
            cancellation = await queue.cancel({"app_id": "billing"})
            [attempt] = worker._performance.held.values()

            async def told() -> bool:
                return attempt._grace is not None

            async def taken_back() -> bool:
                return attempt._grace is None and not attempt.claim.run.must_stop

            await eventually(told, "the grace to begin")
            await queue.stop(cancellation.id)
            await eventually(taken_back, "the grace to be taken back")
            go_on.set()
            await in_status(queue, run_id, RunStatus.COMPLETED)

    async def test_a_plain_function_stops_at_its_next_step(self, queue: Queue, embedded_url: str) -> None:
        app = App("billing")
        begun = threading.Event()
        happened: list[str] = []

        @app.function(id="invoices")
        def invoices(run: SyncRun) -> None:
            run.step("first", begun.set)
            while not run.must_stop:
                threading.Event().wait(0.01)
            try:
                run.step("second", happened.append, "second")
            except RunCancelled:
                happened.append("had to stop")
                raise

        async with working(embedded_url, app, grace=SOON):
            run_id = await queue.enqueue("billing", "invoices", {"data": {}})
            await eventually(lambda: asyncio.to_thread(begun.is_set))
            await queue.cancel_run(run_id)
            await in_status(queue, run_id, RunStatus.CANCELLED)
        assert happened == ["had to stop"]


class TestTimeouts:
    async def test_a_run_that_takes_too_long_has_failed(self, queue: Queue, embedded_url: str) -> None:
        app = App("billing")
        happened: list[str] = []

        @app.function(id="invoices", retries=1, timeout=timedelta(seconds=0.2))
        async def invoices(run: ActiveRun) -> None:
            if run.attempt == 1:
                try:
                    await asyncio.Event().wait()
                finally:
                    happened.append("cleaned up")
            await run.step("end", happened.append, "ended")

        async with working(embedded_url, app):
            run_id = await queue.enqueue("billing", "invoices", {})
            await in_status(queue, run_id, RunStatus.SCHEDULED)
            assert await error_of(queue, run_id) == "TimeoutError: it ran longer than its timeout of 0:00:00.200000"
            await queue.database.execute("update secateur.runs set scheduled_for = now() where id = $1", run_id)
            assert (await in_status(queue, run_id, RunStatus.COMPLETED)).attempt == 2
        assert happened == ["cleaned up", "ended"]

    async def test_also_if_it_makes_light_of_it(self, queue: Queue, embedded_url: str) -> None:
        app = App("billing")

        @app.function(id="invoices", retries=0, timeout=SOON)
        async def invoices(run: ActiveRun) -> None:
            try:
                await asyncio.Event().wait()
            except BaseException:
                return

        async with working(embedded_url, app):
            await in_status(queue, await queue.enqueue("billing", "invoices", {}), RunStatus.FAILED)

    async def test_no_step_begins_after_it(self, queue: Queue, embedded_url: str) -> None:
        app = App("billing")
        happened: list[str] = []

        @app.function(id="coroutine", retries=0, timeout=SOON)
        async def coroutine(run: ActiveRun) -> None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                await run.step("next", happened.append, "coroutine")

        @app.function(id="plain", retries=0, timeout=SOON)
        def plain(run: SyncRun) -> None:
            while not run.must_stop:
                threading.Event().wait(0.01)
            run.step("next", happened.append, "plain")

        async with working(embedded_url, app):
            for function in ("coroutine", "plain"):
                run_id = await queue.enqueue("billing", function, {})
                await in_status(queue, run_id, RunStatus.FAILED)
                assert "longer than its timeout" in await error_of(queue, run_id)
        assert happened == []


class TestDeploys:
    async def test_a_stopping_worker_lets_its_runs_end_and_gives_back_the_others(
        self, queue: Queue, embedded_url: str
    ) -> None:
        app = App("billing")
        taken: list[str] = []
        first_worker = True

        @app.function(id="invoices", retries=0)
        async def invoices(run: ActiveRun) -> None:
            await run.step("fetch", taken.append, "fetch")
            if run.event["long"] and first_worker:
                await asyncio.Event().wait()
            await run.step("store", asyncio.sleep, 0.1)

        short = await queue.enqueue("billing", "invoices", {"long": False})
        long = await queue.enqueue("billing", "invoices", {"long": True})
        async with working(embedded_url, app, grace=timedelta(seconds=1)):
            await in_status(queue, long, RunStatus.RUNNING)

            async def both_have_begun() -> bool:
                return len(taken) == 2

            await eventually(both_have_begun)
        assert (await queue.engine.run(short)).status == RunStatus.COMPLETED
        given_back = await queue.engine.run(long)
        assert (given_back.status, given_back.attempt, given_back.worker) == (RunStatus.QUEUED, 0, None)
        assert await error_of(queue, long) == INTERRUPTED
        first_worker = False
        async with working(embedded_url, app):
            assert (await in_status(queue, long, RunStatus.COMPLETED)).attempt == 1
        assert taken == ["fetch", "fetch"], "what had finished is not taken again"
        assert await interruptions(queue, long) == 1

    async def test_but_not_for_ever(self, queue: Queue, embedded_url: str) -> None:
        app = App("billing")
        began = asyncio.Event()

        @app.function(id="invoices", retries=0)
        async def invoices(run: ActiveRun) -> None:
            began.set()
            await asyncio.Event().wait()

        run_id = await queue.enqueue("billing", "invoices", {})
        for number in range(11):
            assert (await queue.engine.run(run_id)).status == RunStatus.QUEUED
            assert await interruptions(queue, run_id) == number
            began.clear()
            async with working(embedded_url, app, grace=timedelta(0)):
                await began.wait()
        assert (await queue.engine.run(run_id)).status == RunStatus.FAILED
        assert await error_of(queue, run_id) == f"{INTERRUPTED}; it was interrupted 10 times before"

    async def test_what_was_cancelled_does_not_come_back(self, queue: Queue, embedded_url: str) -> None:
        app = App("billing")

        @app.function(id="invoices", interruptible=False)
        async def invoices(run: ActiveRun) -> None:
            await asyncio.Event().wait()

        async with working(embedded_url, app, grace=timedelta(0)):
            run_id = await queue.enqueue("billing", "invoices", {})
            await in_status(queue, run_id, RunStatus.RUNNING)
            await queue.cancel_run(run_id)
        assert (await queue.engine.run(run_id)).status == RunStatus.CANCELLED

    async def test_a_thread_is_waited_for(
        self, queue: Queue, embedded_url: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        app = App("billing")
        began, go_on = threading.Event(), threading.Event()

        @app.function(id="invoices", retries=0)
        def invoices(run: SyncRun) -> None:
            began.set()
            go_on.wait()

        caplog.set_level(logging.ERROR, "secateur.worker")

        async def complained() -> bool:
            return "cannot be interrupted; kill the process" in caplog.text

        async def release() -> None:
            try:
                await eventually(complained)
                status = (await queue.engine.run(run_id)).status
                assert status == RunStatus.RUNNING, "nobody else begins it meanwhile"
            finally:
                go_on.set()

        async with working(embedded_url, app, grace=timedelta(0), lease=timedelta(seconds=1)):
            run_id = await queue.enqueue("billing", "invoices", {})
            await asyncio.to_thread(began.wait)
            releasing = asyncio.create_task(release())
        await releasing
        assert (await queue.engine.run(run_id)).status == RunStatus.COMPLETED


JOBS = """
import asyncio, sys, time
from secateur import App

billing = App("billing")

@billing.function(id="invoices", retries=0)
async def invoices(run):
    print("it has begun", file=sys.stderr, flush=True)
    await run.step("wait", asyncio.sleep, run.event["seconds"])
    await run.step("end", print, "ended", flush=True)

@billing.function(id="blocking", retries=0)
def blocking(run):
    print("it has begun", file=sys.stderr, flush=True)
    run.step("wait", time.sleep, run.event["seconds"])

@billing.function(id="stubborn", retries=0)
async def stubborn(run):
    print("it has begun", file=sys.stderr, flush=True)
    while True:
        try:
            await asyncio.sleep(600)
        except BaseException:
            pass
"""


class TestSignals:
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
    async def test_one_lets_runs_end(self, queue: Queue, embedded_url: str, tmp_path: Path, number: int) -> None:
        with commanded(tmp_path, JOBS, "jobs_of_the_command:billing", "--database", embedded_url) as worker:
            run_id = await queue.enqueue("billing", "invoices", {"seconds": 0.5})
            await worker.said("it has begun")
            worker.process.send_signal(number)
            await worker.said("running runs have")
            left = await queue.enqueue("billing", "invoices", {"seconds": 0})
            assert await worker.exit_code() == 0
        assert (await queue.engine.run(run_id)).status == RunStatus.COMPLETED
        assert (await queue.engine.run(left)).status == RunStatus.QUEUED

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    @pytest.mark.parametrize("function", ["invoices", "blocking", "stubborn"])
    async def test_more_of_them_until_it_has_left(
        self, queue: Queue, embedded_url: str, tmp_path: Path, number: int, function: str
    ) -> None:
        with commanded(tmp_path, JOBS, "jobs_of_the_command:billing", "--database", embedded_url) as worker:
            run_id = await queue.enqueue("billing", function, {"seconds": 600})
            await worker.said("it has begun")
            worker.process.send_signal(number)
            await worker.said("running runs have")
            while worker.process.poll() is None:
                worker.process.send_signal(number)
                await asyncio.sleep(0.002)
            assert await worker.exit_code() == 0
            assert not any("Traceback" in line for line in worker.lines)
        given_back = await queue.engine.run(run_id)
        assert (given_back.status, given_back.attempt) == (RunStatus.QUEUED, 0)
        assert await error_of(queue, run_id) == INTERRUPTED

    async def test_while_it_waits_for_postgres(self, tmp_path: Path) -> None:
        nowhere = "postgresql://postgres@127.0.0.1:1/nowhere"
        with commanded(tmp_path, JOBS, "jobs_of_the_command:billing", "--database", nowhere) as worker:
            await worker.said("waiting for it")
            worker.process.send_signal(signal.SIGTERM)
            assert await worker.exit_code() == 0
