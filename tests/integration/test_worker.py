"""Workers on a real Postgres, in this process and as processes that are stopped and killed."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeAlias
from uuid import uuid4

import pytest
from workers import error_of, eventually, in_status, process, working

import secateur
from patience import PATIENCE
from secateur import ActiveRun, App, CancelOn, Queue, RunCancelled, Worker
from secateur.embedded import EmbeddedPostgres
from secateur.errors import NotInstalled, PermissionDenied, Unreachable, UsageError
from secateur.functions import Function
from secateur.migrations import install
from secateur.runs import RunStatus
from secateur.worker import load_apps

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


@pytest.mark.parametrize(
    ("raised", "text"),
    [
        (KeyError("amount"), "KeyError: 'amount'"),
        (ValueError("a\0b \ud800"), "ValueError: a\\x00b \\ud800"),
        (SystemExit(3), "SystemExit: 3"),
        (asyncio.CancelledError(), "CancelledError"),
        (RunCancelled("by hand"), "RunCancelled: by hand"),
        (BaseExceptionGroup("two", [RunCancelled(), OSError()]), "BaseExceptionGroup: two (2 sub-exceptions)"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
async def test_what_a_function_raises_is_its_runs_failure(
    queue: Queue, embedded_url: str, raised: BaseException, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "secateur.worker")  # half a character in a log has no way between test processes
    app = App("billing")

    @app.function(id="invoices", retries=0)
    async def invoices(run: ActiveRun) -> None:
        if run.event:
            raise raised

    async with working(embedded_url, app):
        failing = await queue.enqueue("billing", "invoices", {"fail": True})
        await in_status(queue, failing, RunStatus.FAILED)
        assert await error_of(queue, failing) == text
        await in_status(queue, await queue.enqueue("billing", "invoices", {}), RunStatus.COMPLETED)


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
        claim, _ = next(iter(worker._held.values()))

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

    async def told() -> bool:
        return len(attempts) == 2 and attempts[1].must_stop

    async with working(embedded_url, app, lease=timedelta(seconds=1)):
        run_id = await queue.enqueue("billing", "invoices", {})
        await in_status(queue, run_id, RunStatus.RUNNING)
        await queue.database.execute("update secateur.runs set lease_expires_at = clock_timestamp() - interval '1 s'")
        await eventually(told)
        assert not attempts[2].must_stop
        go_on.set()
        await in_status(queue, run_id, RunStatus.COMPLETED)
    assert sorted(ended) == ["attempt 1 had to stop", "attempt 2"]


async def test_a_stopping_worker_lets_its_runs_end_and_interrupts_them_in_the_end(
    queue: Queue, embedded_url: str
) -> None:
    app = App("billing")

    @app.function(id="invoices", retries=1)
    async def invoices(run: ActiveRun) -> None:
        await asyncio.sleep(run.event["seconds"])

    short = await queue.enqueue("billing", "invoices", {"seconds": 0.3})
    long = await queue.enqueue("billing", "invoices", {"seconds": 600})
    async with working(embedded_url, app, grace=timedelta(seconds=0.6)):
        await in_status(queue, short, RunStatus.RUNNING)
        await in_status(queue, long, RunStatus.RUNNING)
    assert (await queue.engine.run(short)).status == RunStatus.COMPLETED
    assert (await queue.engine.run(long)).status == RunStatus.SCHEDULED
    assert await error_of(queue, long) == "interrupted: the worker stopped before the run ended"


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


async def test_without_postgres_or_schema_it_says_so(empty_database_url: str) -> None:
    app = App("billing")
    app.function(id="invoices")(_nothing)
    with pytest.raises(Unreachable, match="refused"):
        await Worker("postgresql://postgres@127.0.0.1:1/nowhere", apps=[app]).run()
    with pytest.raises(NotInstalled, match="secateur install"):
        await Worker(empty_database_url, apps=[app]).run()


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
                    await in_status(queue, run_id, RunStatus.RUNNING)
                    await asyncio.to_thread(disturb)
                    await asyncio.to_thread(server.start)
                    assert (await in_status(queue, run_id, RunStatus.COMPLETED, 20)).attempt == 1
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


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_stops_it_gracefully(queue: Queue, start_worker: StartWorker, number: int) -> None:
    process = start_worker()
    run_id = await queue.enqueue("billing", "invoices", {"seconds": 0.5})
    await in_status(queue, run_id, RunStatus.RUNNING)
    process.send_signal(number)
    left = await queue.enqueue("billing", "invoices", {"seconds": 0})
    output, _ = await asyncio.to_thread(process.communicate, timeout=PATIENCE)
    assert (process.returncode, output) == (0, "ended\n")
    assert (await queue.engine.run(run_id)).status == RunStatus.COMPLETED
    assert (await queue.engine.run(left)).status == RunStatus.QUEUED


async def test_a_second_signal_does_not_wait(queue: Queue, start_worker: StartWorker) -> None:
    process = start_worker()
    run_id = await queue.enqueue("billing", "invoices", {"seconds": 600})
    await in_status(queue, run_id, RunStatus.RUNNING)
    process.send_signal(signal.SIGTERM)
    await asyncio.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    await asyncio.to_thread(process.wait, timeout=PATIENCE)
    assert process.returncode == 0
    assert (await queue.engine.run(run_id)).status == RunStatus.SCHEDULED


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


class TestDeclarations:
    """What could not work is refused when it is declared."""

    def test_a_function_is_left_as_it_is(self) -> None:
        app = App("billing")
        assert app.function(id="invoices", triggers=["a", "b"], retries=0, concurrency=5)(_nothing) is _nothing
        assert app.functions["invoices"] == Function("billing", "invoices", _nothing, ("a", "b"), 1, 5, ())

    def test_only_coroutine_functions(self) -> None:
        def synchronous(run: ActiveRun) -> None:
            pass

        with pytest.raises(UsageError, match=r"billing / invoices: .*synchronous is not a coroutine .*`async def`"):
            App("billing").function(id="invoices")(synchronous)  # type: ignore[type-var]

    @pytest.mark.parametrize(
        ("options", "why"),
        [
            ({"id": ""}, "no id"),
            ({"id": "known"}, "declared twice"),
            ({"id": "x", "retries": -1}, "retries"),
            ({"id": "x", "concurrency": 0}, "concurrency"),
            ({"id": "x", "triggers": "vendor/sync"}, r"as in triggers=\['vendor/sync'\]"),
        ],
    )
    def test_wrong_declarations(self, options: dict[str, Any], why: str) -> None:
        app = App("billing")
        app.function(id="known")(_nothing)
        with pytest.raises(UsageError, match=why):
            app.function(**options)(_nothing)

    def test_wrong_workers(self) -> None:
        app = App("billing")
        with pytest.raises(UsageError, match="has no functions"):
            Worker(None, apps=[app])
        app.function(id="invoices")(_nothing)
        for apps, options, why in (
            ([], {}, "at least one app"),
            ([app, app], {}, "given twice"),
            ([app], {"concurrency": 0}, "concurrency"),
            ([app], {"lease": timedelta(0)}, "lease"),
        ):
            with pytest.raises(UsageError, match=why):
                Worker(None, apps=apps, **options)  # type: ignore[arg-type]
        with pytest.raises(UsageError, match="an app needs an id"):
            App("")


class TestLoadingApps:
    @pytest.fixture(autouse=True)
    def jobs(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "jobs_to_load.py").write_text(textwrap.dedent(JOBS))
        (tmp_path / "broken_jobs.py").write_text("import no_such_package_anywhere")
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "path", list(sys.path))
        monkeypatch.setattr(sys, "argv", ["secateur"])

    @pytest.mark.parametrize("name", ["billing", "apps", "worker"])
    def test_an_app_a_list_of_apps_or_a_worker(self, name: str) -> None:
        assert [app.id for app in load_apps(f"jobs_to_load:{name}")] == ["billing"]

    @pytest.mark.parametrize(
        ("spec", "why"),
        [
            ("jobs_to_load", "not of the form MODULE:OBJECT"),
            (":billing", "not of the form MODULE:OBJECT"),
            ("jobs_to_load:crm", "jobs_to_load has no crm"),
            ("jobs_to_load:nonsense", "not an App, a Worker or a list of apps, but 7"),
            ("no_such_jobs:app", "there is no module no_such_jobs"),
            ("no_such_jobs.deep:app", "there is no module no_such_jobs"),
            ("/tmp/jobs.py:app", "there is no module"),
            ("..jobs:app", "not a module's name"),
        ],
    )
    def test_says_what_is_wrong(self, spec: str, why: str) -> None:
        with pytest.raises(UsageError, match=why):
            load_apps(spec)

    def test_an_error_inside_the_module_comes_through(self) -> None:
        with pytest.raises(ModuleNotFoundError, match="no_such_package_anywhere"):
            load_apps("broken_jobs:app")
