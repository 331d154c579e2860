"""How many runs of a function run at once: its limit holds over all workers, to the run."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from workers import eventually, process, working

import secateur
from secateur import ActiveRun, App, Queue

pytestmark = pytest.mark.one_postgres

JOBS = """
import asyncio, sys
from pathlib import Path
from secateur import App, Worker

url, name, directory = sys.argv[1:]
billing = App("billing")

async def together(run, runs):
    (Path(directory) / f"{run.function_id} {run.id}").touch()
    while len(list(Path(directory).glob(f"{run.function_id} *"))) < runs:
        await asyncio.sleep(0.01)

@billing.function(id="vendor-syncs", concurrency=3)
async def vendor_syncs(run):
    await run.step("sync", together, run, 3)

@billing.function(id="invoices")
async def invoices(run):
    await run.step("write", together, run, 4)

async def main():
    worker = Worker(url, apps=[billing], concurrency=2, name=name)
    task = asyncio.create_task(worker.run())
    await worker.started.wait()
    print("started", flush=True)
    await task

asyncio.run(main())
"""
"""The first runs of a function end only when so many have begun: more than the two that one worker runs at once."""

AT_ONCE = """
select max(others.running) from secateur.runs as run, lateral (
  select count(*) as running from secateur.runs as other
   where other.function_id = run.function_id
     and other.claimed_at <= run.claimed_at and other.finished_at > run.claimed_at
) as others where run.function_id = $1
"""
"""At the claim of each run: how many ran. Both times are the database's, of the transactions that hold the slot."""


@pytest.fixture
async def queue(database_url: str) -> AsyncIterator[Queue]:
    async with secateur.connect(database_url) as queue:
        yield queue


async def drained(queue: Queue) -> bool:
    return not await queue.database.fetchval("select exists (select from secateur.runs where finished_at is null)")


async def test_holds_over_two_worker_processes(queue: Queue, database_url: str, tmp_path: Path) -> None:
    with ExitStack() as workers:
        for name in ("one", "two"):
            directory = tmp_path / name
            directory.mkdir()
            workers.enter_context(process(directory, JOBS, database_url, name, str(tmp_path)))
        for function in ("vendor-syncs", "invoices"):
            await queue.enqueue_many("billing", function, [{}] * 60)
            await eventually(lambda: drained(queue))
    assert await queue.database.fetchval(AT_ONCE, "vendor-syncs") == 3
    assert await queue.database.fetchval(AT_ONCE, "invoices") == 4
    names = "select array_agg(distinct worker order by worker) from secateur.runs where function_id = 'vendor-syncs'"
    assert await queue.database.fetchval(names) == ["one", "two"]
    assert await queue.database.fetchval("select count(run_id) from secateur.slots") == 0


async def test_the_last_declaration_holds(queue: Queue, database_url: str) -> None:
    async def work(run: ActiveRun) -> None:
        pass

    for limit in (5, None, 2):
        app = App("billing")
        app.function(id="vendor-syncs", concurrency=limit)(work)
        async with working(database_url, app):
            assert await queue.database.fetchval("select concurrency from secateur.functions") == limit
            assert await queue.database.fetchval("select count(*) from secateur.slots") == (limit or 0)


async def test_short_runs_of_a_limited_function_follow_each_other_at_once(
    queue: Queue, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each end makes the worker look again: by itself it would do so after minutes."""
    monkeypatch.setattr("secateur.engines.native.wakeups.SHORTEST_POLL", 600.0)
    app = App("billing")

    @app.function(id="vendor-syncs", concurrency=1)
    async def work(run: ActiveRun) -> None:
        pass

    await queue.enqueue_many("billing", "vendor-syncs", [{}] * 100)
    async with working(database_url, app):
        await eventually(lambda: drained(queue))
