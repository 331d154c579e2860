"""`secateur worker MODULE:OBJECT`: what it runs, on which database, with which settings, and how it starts."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import textwrap
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from command_line import COMMAND, environment
from command_line import run as command
from workers import commanded, eventually, in_status

import secateur
from secateur import Queue, Worker
from secateur.cli.arguments import parse
from secateur.cli.commands.start import _worker
from secateur.cli.loading import load_worker
from secateur.errors import ReadOnly, UsageError
from secateur.postgres.embedded import EmbeddedPostgres
from secateur.runs import RunStatus
from secateur.schema import install

JOBS = """
import asyncio, os
from datetime import timedelta
from secateur import App, Worker

billing = App("billing")

@billing.function(id="invoices")
async def invoices(run):
    await run.step("wait", asyncio.sleep, run.event["seconds"])

class OwnWorker(Worker):
    pass

apps = [billing]
worker = OwnWorker(os.environ.get("OWN_URL"), apps=apps, concurrency=1, lease=timedelta(seconds=7),
                   grace=timedelta(seconds=1), name="mine", connections=3)
nonsense = 7
"""


class TestLoading:
    @pytest.fixture(autouse=True)
    def jobs(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "jobs_to_load.py").write_text(textwrap.dedent(JOBS))
        (tmp_path / "broken_jobs.py").write_text("import no_such_package_anywhere")
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "path", list(sys.path))
        monkeypatch.setattr(sys, "argv", ["secateur"])

    @pytest.mark.parametrize("name", ["billing", "apps", "worker"])
    def test_an_app_a_list_of_apps_or_a_worker(self, name: str) -> None:
        found = load_worker(f"jobs_to_load:{name}")
        assert [app.id for app in (found.apps if isinstance(found, Worker) else found)] == ["billing"]

    @pytest.mark.parametrize(
        ("spec", "why"),
        [
            ("jobs_to_load", "must have the form MODULE:OBJECT"),
            (":billing", "must have the form MODULE:OBJECT"),
            ("jobs_to_load:crm", "jobs_to_load has no crm"),
            ("jobs_to_load:nonsense", "must be an App, a Worker or a list of apps, not 7"),
            ("no_such_jobs:app", "there is no module no_such_jobs"),
            ("no_such_jobs.deep:app", "there is no module no_such_jobs"),
            ("/tmp/jobs.py:app", "there is no module"),
            ("..jobs:app", "not a module name"),
        ],
    )
    def test_says_what_is_wrong(self, spec: str, why: str) -> None:
        with pytest.raises(UsageError, match=why):
            load_worker(spec)

    def test_an_error_inside_the_module_comes_through(self) -> None:
        with pytest.raises(ModuleNotFoundError, match="no_such_package_anywhere"):
            load_worker("broken_jobs:app")


class TestSettings:
    """Which of them hold: a `Worker` brings its own, apps have those of the configuration, and flags come first."""

    @pytest.fixture(autouse=True)
    def jobs(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        (tmp_path / "jobs_with_settings.py").write_text(JOBS)
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "path", list(sys.path))
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
        monkeypatch.setenv("OWN_URL", "postgresql://own/billing")
        monkeypatch.setenv("DATABASE_URL", "postgresql://environment/billing")
        yield
        sys.modules.pop("jobs_with_settings", None)

    def made(self, name: str, *flags: str) -> Worker:
        arguments: argparse.Namespace = parse(["worker", f"jobs_with_settings:{name}", *flags])
        return _worker(arguments)

    def test_a_worker_is_run_as_it_is(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SECATEUR_WORKER_CONCURRENCY", "77")
        worker = self.made("worker")
        assert type(worker).__name__ == "OwnWorker"
        assert worker.url == "postgresql://own/billing"
        assert (worker.concurrency, worker.connections, worker.name) == (1, 3, "mine")
        assert (worker.lease, worker.grace) == (timedelta(seconds=7), timedelta(seconds=1))

    def test_flags_come_first(self) -> None:
        flags = ("--concurrency", "5", "--lease", "1m", "--grace", "0s", "--name", "theirs", "--connections", "9")
        for name in ("worker", "billing"):
            worker = self.made(name, *flags, "--database", "postgresql://flag/billing")
            assert worker.url == "postgresql://flag/billing"
            assert (worker.concurrency, worker.connections, worker.name) == (5, 9, "theirs")
            assert (worker.lease, worker.grace) == (timedelta(minutes=1), timedelta(0))

    def test_apps_have_those_of_the_configuration(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "secateur").mkdir()
        (tmp_path / "secateur" / "config.toml").write_text(
            "worker_concurrency = 3\nworker_lease_seconds = 60\nworker_grace_seconds = 2.5\nworker_connections = 4\n"
        )
        worker = self.made("billing")
        assert worker.url == "postgresql://environment/billing"
        assert (worker.concurrency, worker.connections) == (3, 4)
        assert (worker.lease, worker.grace) == (timedelta(minutes=1), timedelta(seconds=2.5))
        monkeypatch.setenv("SECATEUR_WORKER_CONCURRENCY", "8")
        assert self.made("apps").concurrency == 8

    def test_a_worker_without_a_url_takes_what_there_is(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("OWN_URL")
        assert self.made("worker").url == "postgresql://environment/billing"

    def test_wrong_flags(self) -> None:
        for flags, why in (
            (("--concurrency", "0"), "must be a whole number of 1 or more"),
            (("--concurrency", "1000000"), "a worker's concurrency must be from 1 to 10000"),
            (("--connections", "1"), "a worker's connections must be from 2"),
            (("--lease", "soon"), "must be a span such as"),
            (("--lease", "0s"), "a worker's lease must be"),
            (("--name", ""), "a worker's name"),
        ):
            with pytest.raises(UsageError, match=why):
                self.made("worker", *flags)

    def test_nothing_is_worked_on_read_only(self) -> None:
        with pytest.raises(ReadOnly):
            self.made("worker", "--read-only")


BREAK_HEARTBEATS = """
select pg_terminate_backend(pid) from pg_stat_activity where usename = $1 and query ~ 'secateur.heartbeat'
"""


async def test_runs_a_worker_with_its_own_settings(embedded_url: str, tmp_path: Path) -> None:
    async with secateur.connect(embedded_url) as queue:
        first, second = await queue.enqueue_many("billing", "invoices", [{"seconds": 600}, {"seconds": 0}])
        with commanded(tmp_path, JOBS, "jobs_of_the_command:worker", OWN_URL=embedded_url) as worker:
            ran = await in_status(queue, first, RunStatus.RUNNING)
            await worker.said("mine works on billing")
            assert ran.worker == "mine"
            assert ran.lease_expires_at is not None
            assert ran.lease_expires_at - await queue.engine.clock() <= timedelta(seconds=7)
            assert (await queue.engine.run(second)).status == RunStatus.QUEUED, "one at a time"


CANCELS_ALL = """
import asyncio
from secateur import App

billing = App("billing")

@billing.function(id="cancelling", retries=0)
async def cancelling(run):
    for task in asyncio.all_tasks():
        if run.event["politely"]:
            try:
                task.cancel()
            except RuntimeError:
                pass
        else:
            task.cancel()
    await asyncio.sleep(60)

@billing.function(id="invoices")
async def invoices(run):
    await run.step("wait", asyncio.sleep, 0)
"""


async def test_a_function_that_cancels_every_task_of_the_process_fails_its_own_run(
    embedded_url: str, tmp_path: Path
) -> None:
    async with secateur.connect(embedded_url) as queue:
        with commanded(tmp_path, CANCELS_ALL, "jobs_of_the_command:billing", "--database", embedded_url) as worker:
            for politely in (True, False):
                bad = await queue.enqueue("billing", "cancelling", {"politely": politely})
                await in_status(queue, bad, RunStatus.FAILED)
                good = await in_status(queue, await queue.enqueue("billing", "invoices", {}), RunStatus.COMPLETED)
                assert good.attempt == 1
            worker.process.send_signal(signal.SIGTERM)
            assert await worker.exit_code() == 0


async def test_waits_for_postgres_at_the_start(tmp_path: Path) -> None:
    with EmbeddedPostgres() as server:
        async with secateur.connect(server.url) as queue:
            await install(queue.database)
            run_id = await queue.enqueue("billing", "invoices", {"seconds": 0})
        await asyncio.to_thread(server.kill)
        with commanded(tmp_path, JOBS, "jobs_of_the_command:billing", "--database", server.url) as worker:
            await worker.said("waiting for it")
            await asyncio.to_thread(server.start)
            await worker.said("answers")
            async with secateur.connect(server.url) as queue:
                await in_status(queue, run_id, RunStatus.COMPLETED)


async def test_serving_waits_for_postgres_too(tmp_path: Path) -> None:
    with EmbeddedPostgres() as server:
        async with secateur.connect(server.url) as queue:
            await install(queue.database)
        await asyncio.to_thread(server.kill)
        process = await asyncio.create_subprocess_exec(
            *(*COMMAND, "serve", "--port", "0", "--database", server.url),
            env=environment(),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            assert b"waiting for it" in await process.stderr.readline()
            await asyncio.to_thread(server.start)
            assert b"answers" in await process.stderr.readline()
            assert (await process.stdout.readline()).startswith(b"http://127.0.0.1:")
        finally:
            process.kill()
            await process.wait()


async def test_leaves_though_postgres_is_away(tmp_path: Path) -> None:
    with EmbeddedPostgres() as server:
        async with secateur.connect(server.url) as queue:
            await install(queue.database)
            run_id = await queue.enqueue("billing", "invoices", {"seconds": 600})
            with commanded(tmp_path, JOBS, "jobs_of_the_command:billing", "--database", server.url) as worker:
                begun = "select step = 'wait' from secateur.runs where id = $1"
                await eventually(lambda: queue.database.fetchval(begun, run_id), "the run to begin")
                await asyncio.to_thread(server.kill)
                worker.process.send_signal(signal.SIGTERM)
                await worker.said("is stopping;")
                worker.process.send_signal(signal.SIGTERM)
                assert await worker.exit_code() == 0
            await asyncio.to_thread(server.start)


async def test_does_not_wait_for_what_will_not_come(empty_database_url: str, embedded_url: str, tmp_path: Path) -> None:
    missing = embedded_url.replace("/test_", "/no_such_test_")
    stranger = embedded_url.replace("//postgres@", "//nobody_of_that_name@")
    for url, why in (
        (missing, "the database does not exist"),
        (stranger, "refused the login"),
        (empty_database_url, "run `secateur install --database"),
    ):
        with commanded(tmp_path, JOBS, "jobs_of_the_command:billing", "--database", url) as worker:
            assert await worker.exit_code() == 1
            assert why in worker.lines[-1]


def test_help_names_the_flags() -> None:
    text = command("worker", "--help").out
    for flag in ("--concurrency", "--lease", "--grace", "--name", "--connections"):
        assert flag in text


@asynccontextmanager
async def working(queue: Queue, url: str, app: secateur.App, limit: int, **settings: Any) -> AsyncIterator[Worker]:
    """A worker whose role may have only `limit` connections."""
    role = f"few_{uuid4().hex}"
    await queue.database.execute(f"create role {role} login connection limit {limit} in role secateur_worker")
    worker = Worker(url.replace("//postgres@", f"//{role}@"), apps=[app], **settings)
    running = asyncio.create_task(worker.run())
    try:
        yield worker
    finally:
        worker.stop()
        await running
        await queue.database.execute(f"drop role {role}")


def role_of(worker: Worker) -> str:
    return urlsplit(worker.url or "").username or ""


class TestFewConnections:
    async def test_a_worker_shares_what_it_gets(self, embedded_url: str) -> None:
        async with secateur.connect(embedded_url) as queue:
            app = secateur.App("billing")

            @app.function(id="invoices")
            async def invoices(run: secateur.ActiveRun) -> None:
                await run.step("wait", asyncio.sleep, 0.01)

            await queue.enqueue_many("billing", "invoices", [{}] * 300)

            async def drained() -> bool:
                return not await queue.database.fetchval(
                    "select exists (select from secateur.runs where status <> 'completed')"
                )

            async with working(queue, embedded_url, app, 5, concurrency=20) as worker:

                async def listening() -> bool:
                    return worker._ear is not None and worker._ear.hears

                await eventually(drained, "300 runs to be completed with five connections")
                await eventually(listening, "notifications to be heard")
                assert worker.database is not None
                assert worker.database.refusals <= 20, "it learns instead of knocking again and again"
                number = await queue.database.fetchval(
                    "select count(*) from pg_stat_activity where usename = $1", role_of(worker)
                )
                assert number <= 5

    async def test_heartbeats_get_theirs_back(self, embedded_url: str) -> None:
        """Their connection breaks, and before they have a new one the others have taken its place."""
        async with secateur.connect(embedded_url) as queue:
            app = secateur.App("billing")

            @app.function(id="invoices")
            async def invoices(run: secateur.ActiveRun) -> None:
                for number in range(10_000):
                    await run.step(f"step {number}", asyncio.sleep, 0.005)

            ids = await queue.enqueue_many("billing", "invoices", [{}] * 8)
            settings = {"concurrency": 8, "lease": timedelta(seconds=6), "grace": timedelta(0)}

            async def leases() -> datetime:
                at: datetime = await queue.database.fetchval("select min(lease_expires_at) from secateur.runs")
                return at

            async with working(queue, embedded_url, app, 4, **settings) as worker:
                for id in ids:
                    await in_status(queue, id, RunStatus.RUNNING)
                assert worker.database is not None
                for _ in range(2):
                    # All but the heartbeats take what there is.
                    await queue.database.execute(BREAK_HEARTBEATS, role_of(worker))
                    before = await leases()

                    async def extended(before: datetime = before) -> bool:
                        return await leases() > before

                    await eventually(extended, "a heartbeat")
                attempts = await queue.database.fetch("select distinct attempt from secateur.runs")
                assert [row[0] for row in attempts] == [1]

    async def test_two_are_enough(self, embedded_url: str) -> None:
        async with secateur.connect(embedded_url) as queue:
            app = secateur.App("billing")

            @app.function(id="invoices")
            async def invoices(run: secateur.ActiveRun) -> None:
                await run.step("wait", asyncio.sleep, 0.01)

            ids = await queue.enqueue_many("billing", "invoices", [{}] * 20)
            async with working(queue, embedded_url, app, 2, connections=2, concurrency=5):
                for id in ids:
                    await in_status(queue, id, RunStatus.COMPLETED)

    async def test_claims_do_not_wait_for_what_is_done_in_the_background(self, embedded_url: str) -> None:
        async with secateur.connect(embedded_url) as queue:
            app = secateur.App("billing")

            @app.function(id="invoices")
            async def invoices(run: secateur.ActiveRun) -> None:
                await run.step("wait", asyncio.sleep, 0.001)

            await queue.enqueue("billing", "others", {})
            undone = await queue.cancel({"app_id": "billing", "function_id": "others"})
            await queue.undo(undone.id)
            async with (
                secateur.connect(embedded_url) as other,
                other.database.transaction() as blocking,
                working(queue, embedded_url, app, 3, connections=3) as worker,
            ):
                # The restore, and it alone, waits for this as long as it lasts.
                await blocking.execute("lock table secateur.restores in access exclusive mode")
                waiting = """
                    select exists (select from pg_stat_activity
                                    where usename = $1 and wait_event_type = 'Lock'
                                      and query ~ 'restore_cancellation')"""
                await eventually(lambda: queue.database.fetchval(waiting, role_of(worker)), "the restore to wait")
                for id in await queue.enqueue_many("billing", "invoices", [{}] * 100):
                    await in_status(queue, id, RunStatus.COMPLETED)
                assert await queue.database.fetchval(waiting, role_of(worker)), "it still does"
