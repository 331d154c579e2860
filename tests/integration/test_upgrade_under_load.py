"""A new program's schema is installed while workers of the program before it claim and perform runs.

The program before it is the last one without the newest migration, from the repository's history.
"""

from __future__ import annotations

import asyncio
import io
import os
import subprocess
import sys
import tarfile
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import secateur
from patience import PATIENCE, eventually
from secateur.postgres.database import Database
from secateur.schema import bundled, install

ROOT = Path(__file__).parents[2]
SCHEMA = "core/secateur/schema"

PROGRAM = """
import asyncio, sys
import asyncpg
from secateur import App, Worker
from secateur.postgres.database import Database
from secateur.schema import install

async def main(what, url, name):
    if what == "install":
        async with Database.connect(url) as database:
            await install(database)
        return
    async with asyncpg.create_pool(url, min_size=1, max_size=4) as pool:
        app = App("billing")

        @app.function(id="invoices", retries=0)
        async def invoices(run):
            async def charge():
                await pool.execute("insert into public.performed values ($1, $2)", run.event["number"], name)
            await run.step("charge", charge)

        worker = Worker(url, apps=[app], concurrency=8, name=name)
        print("ready", flush=True)
        await worker.run()

asyncio.run(main(*sys.argv[1:]))
"""
"""Of either version: what it uses has not changed."""

CANCELLED = 13
"""One run in so many is cancelled, during the upgrade."""


def before(migration: str, directory: Path) -> Path:
    """Where the program lies that has not got the migration yet."""

    def git(*arguments: str) -> bytes:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=True).stdout

    try:
        added = git("log", "--diff-filter=A", "--format=%H", "-1", "--", f"{SCHEMA}/{migration}").decode().strip()
        archive = git("archive", f"{added}^", "core/secateur")
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("the history of the repository is not here")
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(directory, filter="data")
    return directory / "core"


def newest() -> str:
    return max(migration.name for migration in bundled() if migration.once)


async def program(code: Path, *arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PROGRAM, *arguments),
        env={**os.environ, "PYTHONPATH": str(code)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


@asynccontextmanager
async def worker(code: Path, url: str, name: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Stopped at the end, if not before. It may have said that it had to ask again, and nothing else."""
    process = await program(code, "work", url, name)
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        assert await process.stdout.readline() == b"ready\n", (await process.stderr.read()).decode()
        yield process
        if process.returncode is None:
            process.terminate()
        async with asyncio.timeout(PATIENCE):
            _, complaint = await process.communicate()
        said = complaint.decode().splitlines()
        assert process.returncode == 0, said
        assert all("keeps trying: " in line or line.endswith("can claim runs again") for line in said), said
    finally:
        with suppress(ProcessLookupError):
            process.kill()
            await process.wait()


@pytest.mark.parametrize("postgres_server", ["embedded"], indirect=True)
@pytest.mark.parametrize(
    "migration", sorted({newest(), "0037_flushes.sql"})
)  # the last one that changed how they claim
async def test_workers_of_the_program_before_go_on(empty_database_url: str, tmp_path: Path, migration: str) -> None:
    url, old = empty_database_url, before(migration, tmp_path)
    installing = await program(old, "install", url, "")
    _, complaint = await installing.communicate()
    assert installing.returncode == 0, complaint.decode()
    async with Database.connect(url, max_size=6) as database:
        assert not await database.fetchval("select true from secateur.migrations where name = $1", migration)
        await database.execute("create table public.performed (number integer, worker text)")
        sent: list[int] = []
        enough = asyncio.Event()

        async def produce() -> None:
            while not enough.is_set():
                event = f'{{"number": {len(sent)}}}'
                await database.fetchval("select secateur.enqueue('billing', 'invoices', $1::jsonb)", event)
                sent.append(len(sent))

        async def performed(by: str) -> int:
            return int(await database.fetchval("select count(*) from public.performed where worker = $1", by))

        async def another(many: int, by: str) -> None:
            goal = await performed(by) + many
            await eventually(lambda: _reached(goal, by), f"{many} more runs by {by}")

        async def _reached(goal: int, by: str) -> bool:
            return await performed(by) >= goal

        async with asyncio.TaskGroup() as group, worker(old, url, "old") as first, worker(old, url, "older"):
            group.create_task(produce())
            await another(30, "old")
            await another(30, "older")
            await install(database)
            assert await database.fetchval("select true from secateur.migrations where name = $1", migration)
            async with secateur.connect(url) as queue:
                condition = f"event.number % {CANCELLED} == 0"
                until = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
                request = {"app_id": "billing", "if": condition, "standing": True, "started_before": until}
                cancellation = await queue.cancel(request)
                while cancellation.is_pending:
                    cancellation = await queue.show(cancellation.id)
                begun = await database.fetch(
                    "select event['number']::int as number from secateur.runs where step is not null"
                )
                await another(30, "old")
                await another(30, "older")
                first.terminate()
                async with worker(Path(secateur.__file__).parents[1], url, "new"):
                    await another(30, "new")
                    await another(10, "older")
                    enough.set()
                    await eventually(lambda: _idle(database), "the end of the queue")
                done = Counter([row["number"] for row in await database.fetch("select number from public.performed")])
                assert done.keys() | {n for n in sent if n % CANCELLED == 0} == set(sent), "nothing is lost"
                assert max(done.values()) == 1, "nothing is begun twice"
                assert {n for n in done if n % CANCELLED == 0} <= {row["number"] for row in begun}, "it is in force"
                drift = await database.fetch("select * from secateur.check_depth('billing') where drift <> 0")
                assert not drift


async def _idle(database: Database) -> bool:
    unfinished = "select exists (select from secateur.runs where status in ('queued', 'scheduled', 'running'))"
    return not await database.fetchval(unfinished)
