"""Sweeps that fail, and sweeps that nobody does: in the log, in the record, in `healthz`, on the command line."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from api_client import data_of, running_api
from command_line import run

import secateur
import secateur.troubles
from patience import eventually
from secateur import Queue
from secateur.engines.native.engine import NativeEngine
from secateur.engines.upkeep import Maintenance
from secateur.errors import Unreachable
from secateur.ledger.sweeping import sweep_of
from secateur.ledger.wording import sweep_in_words
from secateur.records import Cancellation
from secateur.troubles import Troubles

FULL = """
create function public.full_disk() returns trigger language plpgsql as $$
begin
  raise exception using errcode = '53100', message = 'could not extend file: No space left on device';
end
$$;
create trigger full_disk before update on {table} for each row when ({when}) execute function public.full_disk();
"""
"""What Postgres says of a disk that is full, of some rows of one table only."""

MENDED = "drop trigger full_disk on {table}; drop function public.full_disk()"


@pytest.fixture
async def queue(embedded_url: str) -> AsyncIterator[Queue]:
    async with secateur.connect(embedded_url) as queue:
        for app in ("billing", "mail"):
            await queue.enqueue_many(app, "sync", [{"name": "sync"}] * 5)
        yield queue


@asynccontextmanager
async def sweeping(queue: Queue) -> AsyncIterator[None]:
    task = asyncio.create_task(queue.cancellations.sweep_forever())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def once(queue: Queue, made: Cancellation, **wanted: object) -> Cancellation:
    """The cancellation as soon as its fields are what is wanted."""

    async def so() -> Cancellation | None:
        now = await queue.cancellations.get(made.id)
        return now if all(getattr(now, name) == value for name, value in wanted.items()) else None

    found = await eventually(so, f"{wanted}")
    assert found is not None
    return found


async def failing(queue: Queue, made: Cancellation) -> Cancellation:
    async def so() -> Cancellation | None:
        now = await queue.cancellations.get(made.id)
        return now if now.failures >= 3 else None

    found = await eventually(so, "a sweep that fails three times")
    assert found is not None
    return found


async def test_a_sweep_that_fails_says_so_and_holds_up_no_other(
    queue: Queue, embedded_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    await queue.database.execute(FULL.format(table="secateur.runs", when="new.app_id = 'billing'"))
    made = await queue.cancel({"app_id": "billing"})
    other = await queue.cancel({"app_id": "mail"})
    assert (made.failures, made.last_error, sweep_in_words(made)) == (0, None, None)
    async with running_api(queue.database) as client:
        await once(queue, other, state="complete")
        now = await failing(queue, made)
        assert now.last_error is not None
        assert "No space left on device" in now.last_error
        assert now.failing_since is not None
        assert now.last_error_at is not None
        assert now.failing_since <= now.last_error_at
        health = data_of(await client.get("/healthz"))
        assert health["status"] == "degraded"
        (problem,) = health["problems"]
        assert problem["what"] == sweep_of(made.id)
        assert "No space left on device" in problem["error"]
        sweep = data_of(await client.get(f"/v1/cancellations/{made.id}"))["sweep"]
        assert sweep["failures"] >= 3
        assert "No space left on device" in sweep["last_error"]
        shown = (await asyncio.to_thread(run, "show", str(made.id), url=embedded_url)).out
        assert "its sweep has failed" in shown
        assert "No space left on device" in shown
        assert "failing" in (await asyncio.to_thread(run, "history", url=embedded_url)).out

        await queue.database.execute(MENDED.format(table="secateur.runs"))
        done = await once(queue, made, state="complete")
        assert (done.cancelled, done.failures, done.failing_since, done.last_error) == (5, 0, None, None)
        assert sweep_in_words(done) is None

        async def healthy() -> bool:
            return bool(data_of(await client.get("/healthz")) == {"status": "ok", "problems": []})

        await eventually(healthy, "a server that is well again")
    said = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert [text.partition(", ")[0] for text in said] == [
        f"{sweep_of(made.id)} {how}" for how in ("failed", "works again")
    ]


async def test_a_failure_that_cannot_be_written_is_known_where_it_happens(queue: Queue) -> None:
    """A disk that is full for everything."""
    made = await queue.cancel({"app_id": "billing"})
    await queue.database.execute(FULL.format(table="secateur.sweeps", when="true"))
    async with running_api(queue.database) as client:

        async def degraded() -> dict[str, object] | None:
            health = data_of(await client.get("/healthz"))
            return health if health["status"] == "degraded" else None

        health = await eventually(degraded, "a server that knows of it")
        assert health is not None
        assert str(made.id) in str(health["problems"])
    assert (await queue.cancellations.get(made.id)).failures == 0


async def test_a_restore_that_fails_says_so(queue: Queue) -> None:
    made = await queue.cancel({"app_id": "billing"}, wait=True)
    await queue.database.execute(FULL.format(table="secateur.runs", when="new.status = 'queued'"))
    await queue.undo(made.id)
    async with sweeping(queue):
        now = await failing(queue, made)
        assert "its restore has failed" in (sweep_in_words(now) or "")
        trouble = queue.cancellations.trouble_of(made.id)
        assert trouble is not None
        assert "No space left on device" in trouble.error
        await queue.database.execute(MENDED.format(table="secateur.runs"))
        done = await once(queue, made, restoring=False)
    assert (done.restored, done.failures, done.last_error, done.unswept_for) == (5, 0, None, None)


async def test_one_that_nobody_sweeps_says_for_how_long(queue: Queue, embedded_url: str) -> None:
    made = await queue.cancel({"app_id": "billing"})
    assert made.unswept_for is not None
    assert made.unswept_for < 60
    await queue.database.execute("update secateur.cancellations set created_at = created_at - interval '5 minutes'")
    assert "no sweep for 5m" in (await asyncio.to_thread(run, "show", str(made.id), url=embedded_url)).out
    problems = (await NativeEngine(queue.database).ledger.activity()).problems
    assert [each.id for each in problems] == [made.id]
    assert "nobody has swept it" in problems[0].error
    done = await queue.cancellations.wait(made.id)
    assert done.unswept_for is None
    assert not (await NativeEngine(queue.database).ledger.activity()).problems


async def test_upkeep_that_fails_is_said_once_and_when_it_is_over(
    queue: Queue, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("secateur.engines.upkeep.PRUNE_SECONDS", 0.05)
    maintenance = Maintenance(queue.engine)
    await queue.database.execute("alter function secateur.compact_depth rename to compact_no_more")
    task = asyncio.create_task(maintenance.keep_up_forever())

    async def troubled() -> bool:
        return any(each.what == "summing up the depth" and each.failures > 4 for each in maintenance.troubles)

    async def untroubled() -> bool:
        return not list(maintenance.troubles)

    try:
        await eventually(troubled, "trouble")
        await queue.database.execute("alter function secateur.compact_no_more rename to compact_depth")
        await eventually(untroubled, "its end")
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    said = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert [text.partition(", ")[0] for text in said] == [
        "summing up the depth failed",
        "summing up the depth works again",
    ]


def test_a_single_failure_is_not_talked_about(caplog: pytest.LogCaptureFixture) -> None:
    troubles = Troubles(logging.getLogger("secateur.test"))
    troubles.failed("sweeping", "it restarts")
    assert list(troubles) == []
    troubles.went_well("sweeping")
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
    for _ in range(5):
        troubles.failed("sweeping", "it is away")
    (trouble,) = troubles
    assert (trouble.what, trouble.error, trouble.failures) == ("sweeping", "it is away", 5)
    troubles.keep_only(set())
    assert list(troubles) == []


def test_what_goes_on_failing_is_said_ever_less_often(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    troubles = Troubles(logging.getLogger("secateur.test"))
    caplog.set_level(logging.INFO)
    said_after: list[int] = []
    for second in range(1000):
        monkeypatch.setattr(secateur.troubles.time, "monotonic", lambda second=second: float(second))
        before = len(caplog.records)
        troubles.failed("sweeping", "it is away")
        said_after += [second] * (len(caplog.records) - before)
    troubles.went_well("sweeping")
    assert said_after == [1, 61, 181, 421, 901]
    assert caplog.records[-1].getMessage().startswith("sweeping works again, after 1000 failures")


def test_a_database_that_is_away_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    troubles = Troubles(logging.getLogger("secateur.test"))
    for _ in range(2):
        caplog.clear()
        for what in ("sweeping", "pruning") * 3:
            troubles.failed(what, Unreachable("cannot reach it"))
        troubles.failed("pruning", "the disk is full")
        assert [each.what for each in troubles] == ["sweeping", "pruning"]
        for what in ("sweeping", "pruning"):
            troubles.went_well(what)
        said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
        assert [text.partition(", ")[0] for text in said] == [
            *("sweeping failed", "pruning failed", "sweeping works again", "pruning works again")
        ]
        assert said[1].endswith("the disk is full")
