"""A step that has finished is not taken again, whatever happens to the worker after it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from workers import error_of, in_status, process, working

import secateur
from patience import PATIENCE
from secateur import ActiveRun, App, Queue
from secateur.engines.native.steps import LARGEST_RESULT, StepNames, kept_json, read_kept
from secateur.errors import RequestError, UsageError
from secateur.runs import RunStatus

pytestmark = pytest.mark.one_postgres


@pytest.fixture
async def queue(database_url: str) -> AsyncIterator[Queue]:
    async with secateur.connect(database_url) as queue:
        yield queue


async def claim(queue: Queue) -> asyncpg.Record:
    [run] = await queue.database.fetch("select * from secateur.claim('billing', null, 1, 'tester', '1 hour')")
    return run


async def finish(queue: Queue, run: asyncpg.Record, step: str, result: str) -> bool:
    return await queue.database.fetchval(
        "select secateur.finish_step('billing', $1, $2, $3, $4)", run["id"], run["claim_token"], step, result
    )


async def finished(queue: Queue, run: asyncpg.Record) -> list[tuple[str, str]]:
    rows = await queue.database.fetch(
        "select * from secateur.finished_steps('billing', $1, $2)", run["id"], run["claim_token"]
    )
    return [tuple(row) for row in rows]


# The SQL functions.


async def test_only_the_holder_keeps_and_reads_results(queue: Queue) -> None:
    run_id = await queue.enqueue("billing", "invoices", {})
    first = await claim(queue)
    assert await finish(queue, first, "fetch", '{"n": 1}')
    assert await finish(queue, first, "fetch", '{"n": 1}'), "repeating it does no harm"
    assert await finish(queue, first, "count", "2")
    await queue.database.execute("update secateur.runs set lease_expires_at = now() - interval '1 s'")
    second = await claim(queue)
    assert (second["id"], second["attempt"]) == (run_id, 2)
    assert not await finish(queue, first, "late", "3")
    assert await finished(queue, first) == []
    assert await finished(queue, second) == [("fetch", '{"n": 1}'), ("count", "2")]
    assert await finish(queue, second, "count", "4"), "taken again by a worker that did not ask"
    assert await finished(queue, second) == [("fetch", '{"n": 1}'), ("count", "4")]
    done = "select secateur.complete('billing', $1, $2)"
    assert await queue.database.fetchval(done, second["id"], second["claim_token"])
    assert not await finish(queue, second, "late", "5")


async def test_a_step_that_has_finished_is_kept_though_the_run_is_to_stop(queue: Queue) -> None:
    await queue.enqueue("billing", "invoices", {"data": {}})
    run = await claim(queue)
    begin = "select secateur.begin_step('billing', $1, $2, $3)"
    assert await queue.database.fetchval(begin, run["id"], run["claim_token"], "fetch")
    await queue.cancel({"app_id": "billing"})
    assert await finish(queue, run, "fetch", "1")
    assert not await queue.database.fetchval(begin, run["id"], run["claim_token"], "next")
    assert not await finish(queue, run, "next", "2")


async def test_what_is_no_step_is_refused_in_words(queue: Queue) -> None:
    await queue.enqueue("billing", "invoices", {})
    run = await claim(queue)
    for step, result in (("", "1"), ("x" * 501, "1"), ("fetch", None)):
        with pytest.raises(
            RequestError, match="each must have a name of 1 to 500 characters and a result that is JSON"
        ):
            await finish(queue, run, step, result)  # type: ignore[arg-type]
    assert await finish(queue, run, "\N{EVERGREEN TREE}" * 500, "null")


# From Python.


async def test_a_retried_run_goes_on_after_its_last_finished_step(queue: Queue, database_url: str) -> None:
    app = App("billing")
    taken: list[str] = []
    seen: list[list[Any]] = []

    def fetch(page: int) -> dict[str, object]:
        taken.append(f"fetch {page}")
        return {"page": page, "rows": (1, 2.0, 1e20), "text": "naïve \U0001f333 \\u0000"}

    def store() -> None:
        taken.append("store")
        if len(taken) < 4:
            raise OSError("the disk is full")

    @app.function(id="invoices", retries=1)
    async def invoices(run: ActiveRun) -> None:
        seen.append([await run.step("fetch", fetch, page) for page in range(2)])
        assert await run.step("store", store) is None
        seen[-1].append(run.attempt)

    async with working(database_url, app):
        run_id = await queue.enqueue("billing", "invoices", {})
        await in_status(queue, run_id, RunStatus.COMPLETED)
    assert taken == ["fetch 0", "fetch 1", "store", "store"]
    rows = [{"page": n, "rows": [1, 2.0, 10**20], "text": "naïve \U0001f333 \\u0000"} for n in range(2)]
    assert seen == [rows, [*rows, 2]], "the same in both attempts"
    assert [[type(number) for number in one["rows"]] for one in seen[0]] == [[int, float, int]] * 2
    kept = await queue.database.fetch("select step from secateur.steps order by step")
    assert [row["step"] for row in kept] == ["fetch", "fetch #2", "store"]


@pytest.mark.parametrize(
    ("result", "why"),
    [
        ({1, 2}, "Object of type set is not JSON serializable"),
        (float("nan"), "nan|Out of range"),
        ("\ud800", "surrogates not allowed"),
        (["a\0b"], "it contains U"),
    ],
    ids=["set", "nan", "surrogate", "nul"],
)
async def test_a_result_that_is_not_json_names_its_step(
    queue: Queue, database_url: str, result: object, why: str
) -> None:
    app = App("billing")

    @app.function(id="invoices", retries=0)
    async def invoices(run: ActiveRun) -> None:
        await run.step("fetch", lambda: result)

    async with working(database_url, app):
        run_id = await queue.enqueue("billing", "invoices", {})
        await in_status(queue, run_id, RunStatus.FAILED)
    begins = f"UsageError: the result of step 'fetch' of billing / invoices {run_id} cannot be stored as JSON: "
    error = await error_of(queue, run_id)
    assert error.startswith(begins)
    with pytest.raises(UsageError, match=why):
        kept_json(result, "it")


JOBS = """
import asyncio, os, sys, uuid
from datetime import timedelta
from secateur import App, Worker

billing = App("billing")

@billing.function(id="invoices")
async def invoices(run):
    charged = await run.step("charge", lambda: str(uuid.uuid4()))
    print("charged", charged, run.attempt, flush=True)
    await run.step("mail", asyncio.sleep, run.event["seconds"] if run.attempt == 1 else 0)

async def main():
    worker = Worker(sys.argv[1], apps=[billing], lease=timedelta(seconds=1))
    task = asyncio.create_task(worker.run())
    await worker.started.wait()
    print("started", flush=True)
    await task

asyncio.run(main())
"""


async def test_results_survive_a_killed_worker(queue: Queue, database_url: str, tmp_path: Path) -> None:
    run_id = await queue.enqueue("billing", "invoices", {"seconds": 600})

    async def said(worker: Any) -> list[str]:
        line: str = await asyncio.to_thread(worker.stdout.readline)
        return line.split()

    with process(tmp_path, JOBS, database_url) as worker:
        _, charged, attempt = await said(worker)
        assert attempt == "1"
        worker.kill()
        worker.wait()
    with process(tmp_path, JOBS, database_url) as worker:
        assert await said(worker) == ["charged", charged, "2"], "charged once, and known"
        await in_status(queue, run_id, RunStatus.COMPLETED)


async def test_undo_lets_a_stopped_run_go_on_after_its_last_step(queue: Queue, database_url: str) -> None:
    app = App("billing")
    taken: list[str] = []
    go_on = asyncio.Event()

    @app.function(id="invoices")
    async def invoices(run: ActiveRun) -> None:
        await run.step("first", taken.append, "first")
        await go_on.wait()
        await run.step("second", taken.append, "second")

    async with working(database_url, app):
        run_id = await queue.enqueue("billing", "invoices", {"data": {}})
        async with asyncio.timeout(PATIENCE):
            while not taken:
                await asyncio.sleep(0.01)
        cancellation = await queue.cancel({"app_id": "billing"})
        go_on.set()
        await in_status(queue, run_id, RunStatus.CANCELLED)
        await queue.undo(cancellation.id, requeue_stopped=True, wait=True)
        await in_status(queue, run_id, RunStatus.COMPLETED)
    assert taken == ["first", "second"]


# Without a queue.


async def test_a_function_can_be_tested_by_calling_it() -> None:
    run = ActiveRun(id=UUID(int=1), app_id="billing", function_id="invoices", event={})
    assert await run.step("fetch", tuple, (1, 2)) == [1, 2], "as it would come back from the queue"


def test_names_are_told_apart_by_their_order() -> None:
    names = StepNames()
    assert [names.distinct(name) for name in ("a", "a", "b", "a #3", "a", "a")] == [
        *("a", "a #2", "b", "a #3", "a #4", "a #5")
    ]
    for wrong in ("", "x" * 501, "a\0b", "\ud800", 5):
        with pytest.raises(UsageError, match="a step's name must be a string of 1 to 500 characters"):
            names.distinct(wrong)  # type: ignore[arg-type]


def test_large_results_belong_elsewhere() -> None:
    assert read_kept(kept_json("x" * (LARGEST_RESULT - 2), "it")) == "x" * (LARGEST_RESULT - 2)
    with pytest.raises(UsageError, match="too large to be stored: 16,000,001 characters"):
        kept_json("x" * (LARGEST_RESULT - 1), "it")
