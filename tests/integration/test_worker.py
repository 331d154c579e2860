"""Workers on a real Postgres, in this process and as processes that are stopped and killed."""

from __future__ import annotations

import asyncio
import functools
import os
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import TypeAlias
from uuid import uuid4

import pytest
from workers import error_of, eventually, in_status, process, working

import secateur
from secateur import ActiveRun, App, CancelOn, Queue, RunCancelled
from secateur.errors import PermissionDenied
from secateur.postgres.embedded import EmbeddedPostgres
from secateur.runs import RunStatus
from secateur.schema import install

StartWorker: TypeAlias = Callable[..., subprocess.Popen[str]]


@pytest.fixture
async def queue(embedded_url: str) -> AsyncIterator[Queue]:
    async with secateur.connect(embedded_url) as queue:
        yield queue


async def test_performs_runs_step_by_step(queue: Queue, embedded_url: str) -> None:
    app = App("billing")
    seen: list[object] = []

    async def fetch(vendor: str, *, page: int) -> str:
        return f"{vendor} {page}"

    @app.function(id="vendor-syncs", triggers=["vendor/sync"])
    async def vendor_syncs(run: ActiveRun) -> None:
        fetched = await run.step("fetch", fetch, run.event["data"]["vendor_id"], page=2)
        seen.extend([fetched, await run.step("count", len, fetched), run.attempt, run.max_attempts])

    async with working(embedded_url, app):
        [started] = (await queue.send({"name": "vendor/sync", "data": {"vendor_id": "globex"}})).runs
        ended = await in_status(queue, started.id, RunStatus.COMPLETED)
    assert seen == ["globex 2", 8, 1, 4]
    assert ended.worker == f"{os.uname().nodename}:{os.getpid()}"
    assert await queue.database.fetchval("select step from secateur.runs") == "count"


async def test_works_on_many_at_a_time_within_its_limits(queue: Queue, embedded_url: str) -> None:
    app, other = App("billing"), App("crm")
    running = {"invoices": 0, "vendor-syncs": 0, "welcome-mail": 0}
    peak = dict.fromkeys([*running, "all"], 0)

    def declare(app: App, id: str, concurrency: int | None) -> None:
        @app.function(id=id, concurrency=concurrency)
        async def work(run: ActiveRun) -> None:
            running[id] += 1
            peak[id] = max(peak[id], running[id])
            peak["all"] = max(peak["all"], sum(running.values()))
            await asyncio.sleep(0.02)
            running[id] -= 1

    declare(app, "invoices", None)
    declare(app, "vendor-syncs", 2)
    declare(other, "welcome-mail", None)
    for app_id, function_id in (("billing", "invoices"), ("billing", "vendor-syncs"), ("crm", "welcome-mail")):
        await queue.enqueue_many(app_id, function_id, [{}] * 30)

    async def drained() -> bool:
        return await queue.database.fetchval("select bool_and(status = 'completed') from secateur.runs")

    async with working(embedded_url, app, other, concurrency=8):
        await eventually(drained)
    assert peak["vendor-syncs"] == 2
    assert peak["all"] == 8
    assert min(peak.values()) >= 2, "no queue starves another"


async def test_performs_thousands_of_short_runs(queue: Queue, embedded_url: str) -> None:
    app = App("billing")

    @app.function(id="invoices")
    async def invoices(run: ActiveRun) -> None:
        pass

    await queue.enqueue_many("billing", "invoices", [{"data": {"n": n}} for n in range(5000)])

    async def drained() -> bool:
        return not await queue.database.fetchval(
            "select exists (select from secateur.runs where status <> 'completed')"
        )

    async with working(embedded_url, app, concurrency=100):
        await eventually(drained)


async def test_retries_until_it_works(queue: Queue, embedded_url: str) -> None:
    app = App("billing")

    @app.function(id="invoices", retries=1)
    async def invoices(run: ActiveRun) -> None:
        if run.attempt == 1:
            raise OSError("the bank is closed")

    async with working(embedded_url, app):
        run_id = await queue.enqueue("billing", "invoices", {})
        waiting = await in_status(queue, run_id, RunStatus.SCHEDULED)
        assert await error_of(queue, run_id) == "OSError: the bank is closed"
        assert waiting.attempt == 1
        assert (await in_status(queue, run_id, RunStatus.COMPLETED)).attempt == 2


async def test_a_cancelled_run_stops_at_its_next_step(queue: Queue, embedded_url: str) -> None:
    app = App("billing")
    first_step, go_on = asyncio.Event(), asyncio.Event()
    happened: list[str] = []

    async def wait() -> None:
        first_step.set()
        await go_on.wait()

    @app.function(id="vendor-syncs")
    async def vendor_syncs(run: ActiveRun) -> None:
        await run.step("first", wait)
        happened.append(f"must stop: {run.must_stop}")
        try:
            await run.step("second", happened.append, "second step")
        except Exception:
            happened.append("mistaken for a failure")
        finally:
            happened.append("cleaned up")

    # The next regular heartbeat would come after minutes.
    async with working(embedded_url, app, lease=timedelta(minutes=10)) as worker:
        run_id = await queue.enqueue("billing", "vendor-syncs", {"data": {}})
        await first_step.wait()
        cancellation = await queue.cancel({"app_id": "billing"})
        claim = next(iter(worker._performance.held.values())).claim

        async def told() -> bool:
            return claim.run.must_stop

        await eventually(told)
        go_on.set()
        await in_status(queue, run_id, RunStatus.CANCELLED)

        async def complete() -> bool:
            return (await queue.cancellations.get(cancellation.id)).state == "complete"

        await eventually(complete)  # by the worker's sweep
    assert happened == ["must stop: True", "cleaned up"]
    assert (await queue.cancellations.get(cancellation.id)).cancelled == 1


async def test_a_worker_sweeps_what_others_cancel(queue: Queue, embedded_url: str) -> None:
    app = App("crm")
    app.function(id="welcome-mail")(_nothing)
    await queue.enqueue_many("billing", "vendor-syncs", [{}] * 50)
    cancellation = await queue.cancel({"app_id": "billing"})

    async def complete() -> bool:
        return (await queue.cancellations.get(cancellation.id)).state == "complete"

    async with working(embedded_url, app):
        await eventually(complete)
    assert (await queue.cancellations.get(cancellation.id)).cancelled == 50


async def test_heartbeats_keep_a_long_run(queue: Queue, embedded_url: str) -> None:
    app = App("billing")
    go_on = asyncio.Event()

    @app.function(id="invoices", retries=0)
    async def invoices(run: ActiveRun) -> None:
        await go_on.wait()

    async def outlived_its_first_lease() -> bool:
        return await queue.database.fetchval(
            "select clock_timestamp() > claimed_at + interval '3 s' from secateur.runs"
        )

    async with working(embedded_url, app, lease=timedelta(seconds=3)):
        run_id = await queue.enqueue("billing", "invoices", {})
        await eventually(outlived_its_first_lease)
        go_on.set()
        assert (await in_status(queue, run_id, RunStatus.COMPLETED)).attempt == 1


async def test_a_run_that_came_back_stops_only_in_its_first_attempt(queue: Queue, embedded_url: str) -> None:
    app = App("billing")
    attempts: dict[int, ActiveRun] = {}
    go_on = asyncio.Event()
    ended: list[str] = []

    @app.function(id="invoices")
    async def invoices(run: ActiveRun) -> None:
        attempts[run.attempt] = run
        await go_on.wait()
        try:
            await run.step("end", ended.append, f"attempt {run.attempt}")
        except RunCancelled:
            ended.append(f"attempt {run.attempt} had to stop")

    async def begun() -> bool:
        return 1 in attempts

    async def told() -> bool:
        return len(attempts) == 2 and attempts[1].must_stop

    async with working(embedded_url, app, lease=timedelta(seconds=1)):
        run_id = await queue.enqueue("billing", "invoices", {})
        await eventually(begun)
        await queue.database.execute("update secateur.runs set lease_expires_at = clock_timestamp() - interval '1 s'")
        await eventually(told)
        assert not attempts[2].must_stop
        go_on.set()
        await in_status(queue, run_id, RunStatus.COMPLETED)
    assert sorted(ended) == ["attempt 1 had to stop", "attempt 2"]


async def test_needs_no_right_but_on_functions(queue: Queue, embedded_url: str) -> None:
    role = f"app_{uuid4().hex}"
    await queue.database.execute(f"create role {role} login in role secateur_worker")
    app = App("billing")
    seen: list[int] = []

    @app.function(id="invoices", triggers=["order/placed"], concurrency=2, cancel_on=[CancelOn("order/cancelled")])
    async def invoices(run: ActiveRun) -> None:
        await run.step("see", seen.append, run.event["n"])
        if run.event["n"] == 0 and run.attempt == 1:
            raise OSError("the bank is closed")

    async def drained() -> bool:
        return not await queue.database.fetchval("select exists (select from secateur.runs where finished_at is null)")

    try:
        url = embedded_url.replace("//postgres@", f"//{role}@")
        async with working(url, app) as worker, secateur.connect(url) as client:
            assert await client.database.fetchval("select session_user") == role
            await client.enqueue_bulk("billing", "invoices", ({"n": n} for n in range(20)))
            await client.send({"name": "order/placed", "n": 20}, idempotency_key="order 20")
            await eventually(drained)
            await client.send({"name": "order/cancelled"})
            with pytest.raises(PermissionDenied):
                await client.database.fetch("select * from secateur.steps")
            assert worker._ear is not None
            assert worker._ear.hears
    finally:
        await queue.database.execute(f"drop role {role}")
    assert sorted(seen) == list(range(21)), "what failed after its step took it once"


async def test_survives_a_restart_and_a_crash_of_postgres() -> None:
    app = App("billing")

    @app.function(id="invoices")
    async def invoices(run: ActiveRun) -> None:
        for step in range(10):
            await run.step(f"step {step}", asyncio.sleep, 0.1)

    with EmbeddedPostgres() as server:
        async with secateur.connect(server.url) as queue:
            await install(queue.database)
            async with working(server.url, app):
                for disturb in (server.restart, server.kill):
                    run_id = await queue.enqueue("billing", "invoices", {})
                    begun = functools.partial(
                        queue.database.fetchval, "select step is not null from secateur.runs where id = $1", run_id
                    )
                    await eventually(begun, "the run to begin")
                    await asyncio.to_thread(disturb)
                    await asyncio.to_thread(server.start)
                    assert (await in_status(queue, run_id, RunStatus.COMPLETED)).attempt == 1
                await in_status(queue, await queue.enqueue("billing", "invoices", {}), RunStatus.COMPLETED)


JOBS = """
import asyncio, sys
from datetime import timedelta
from secateur import App, Worker

billing = App("billing")

@billing.function(id="invoices")
async def invoices(run):
    await run.step("wait", asyncio.sleep, run.event["seconds"])
    await run.step("end", print, "ended", flush=True)

apps = [billing]
url = sys.argv[1] if len(sys.argv) > 1 else None
worker = Worker(url, apps=apps, lease=timedelta(seconds=1), grace=timedelta(seconds=5))
nonsense = 7

async def main():
    task = asyncio.create_task(worker.run())
    await worker.started.wait()
    print("started", flush=True)
    await task

if __name__ == "__main__":
    asyncio.run(main())
"""


@pytest.fixture
def start_worker(embedded_url: str, tmp_path: Path) -> Iterator[StartWorker]:
    """Starts a worker as a process; gives it when it claims."""
    with ExitStack() as started:
        yield lambda: started.enter_context(process(tmp_path, JOBS, embedded_url))


async def test_the_runs_of_a_killed_worker_are_retried_or_cancelled(queue: Queue, start_worker: StartWorker) -> None:
    process = start_worker()
    kept = await queue.enqueue("billing", "invoices", {"seconds": 0.4})
    unwanted = await queue.enqueue("billing", "invoices", {"seconds": 0.4, "unwanted": True})
    for run_id in (kept, unwanted):
        await in_status(queue, run_id, RunStatus.RUNNING)
    process.kill()
    process.wait()
    await queue.cancel({"app_id": "billing", "if": "has(event.unwanted)"})
    start_worker()
    assert (await in_status(queue, kept, RunStatus.COMPLETED)).attempt == 2
    assert (await in_status(queue, unwanted, RunStatus.CANCELLED)).attempt == 1


async def _nothing(run: ActiveRun) -> None:
    pass
