"""A paused app or function is not claimed from; everything else goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

import secateur
from patience import PATIENCE
from secateur import Queue
from secateur.errors import NotFound, ReadOnly
from secateur.runs import RunStatus

pytestmark = pytest.mark.one_postgres


@pytest.fixture
async def queue(database_url: str) -> AsyncIterator[Queue]:
    async with secateur.connect(database_url) as queue:
        for function in ("invoices", "mail"):
            await queue.enqueue_many("billing", function, [{}] * 3)
        await queue.enqueue("crm", "import", {})
        yield queue


async def claim(queue: Queue, app_id: str = "billing", most: int = 10) -> list[asyncpg.Record]:
    return await queue.database.fetch("select * from secateur.claim($1, null, $2, 'tester', '1 hour')", app_id, most)


async def claimed(queue: Queue, app_id: str = "billing") -> dict[str, int]:
    """How many runs of each function one claim gets, which are then given back."""
    runs = await claim(queue, app_id)
    await queue.database.fetchval(
        "select secateur.release($1, $2, $3)",
        *(app_id, [run["id"] for run in runs], [run["claim_token"] for run in runs]),
    )
    functions = [run["function_id"] for run in runs]
    return {function: functions.count(function) for function in set(functions)}


async def audited(queue: Queue) -> list[tuple[str, ...]]:
    rows = await queue.database.fetch(
        "select action, app_id, function_id, author, source from secateur.audit order by id"
    )
    return [tuple(row) for row in rows if row["action"] != "install"]


async def test_a_function(queue: Queue) -> None:
    await queue.pause("billing", "invoices", author="ann")
    await queue.pause("billing", "invoices", author="bob")
    assert await claimed(queue) == {"mail": 3}
    assert await claimed(queue, "crm") == {"import": 1}
    paused = await queue.database.fetchrow(
        "select paused_at, paused_by from secateur.functions where paused_at is not null"
    )
    assert paused is not None
    assert paused["paused_by"] == "ann"
    await queue.resume("billing", "invoices", author="bob")
    await queue.resume("billing", "invoices", author="bob")
    assert await claimed(queue) == {"invoices": 3, "mail": 3}
    assert await audited(queue) == [
        ("pause", "billing", "invoices", "ann", "python"),
        ("resume", "billing", "invoices", "bob", "python"),
    ]


async def test_an_app_as_a_whole_is_a_flag_of_its_own(queue: Queue) -> None:
    await queue.pause("billing", "mail")
    await queue.pause("billing")
    assert await claimed(queue) == {}
    assert await claimed(queue, "crm") == {"import": 1}
    await queue.resume("billing", "mail")
    assert await claimed(queue) == {}
    await queue.pause("billing", "mail")
    await queue.resume("billing")
    assert await claimed(queue) == {"invoices": 3}
    [_, app, *_] = await audited(queue)
    assert app[:3] == ("pause", "billing", None)


async def test_what_runs_goes_on_and_what_was_cancelled_is_cancelled(queue: Queue) -> None:
    first, second, *_ = await claim(queue, most=6)
    await queue.pause("billing")
    token = "select secateur.begin_step('billing', $1, $2, 'next')"
    assert await queue.database.fetchval(token, first["id"], first["claim_token"])
    done = "select secateur.complete('billing', $1, $2)"
    assert await queue.database.fetchval(done, first["id"], first["claim_token"])
    await queue.database.execute(
        "update secateur.runs set lease_expires_at = now() - interval '1 s' where id = $1", second["id"]
    )
    assert await claim(queue) == []
    assert (await queue.get(second["id"])).status == RunStatus.QUEUED, "its lease ended all the same"
    await queue.cancel({"app_id": "billing"})
    step = "select secateur.begin_step(app_id, id, claim_token, 'next') from secateur.runs where status = 'running'"
    assert not any(row[0] for row in await queue.database.fetch(step))
    cancelled = "select count(*) from secateur.runs where status = 'cancelled'"
    assert await queue.database.fetchval(cancelled) == 4


async def test_only_what_exists_can_be_paused(queue: Queue, database_url: str) -> None:
    for scope in (("nothing",), ("billing", "nothing"), ("crm", "invoices")):
        with pytest.raises(NotFound, match=r"there is no app|has no function"):
            await queue.pause(*scope)
        with pytest.raises(NotFound):
            await queue.resume(*scope)
    async with secateur.connect(database_url, read_only=True) as reader:
        with pytest.raises(ReadOnly):
            await reader.pause("billing")


async def test_waiting_for_a_run(queue: Queue) -> None:
    [run, *_] = await claim(queue)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await queue.wait(run["id"])
    await queue.database.fetchval("select secateur.complete('billing', $1, $2)", run["id"], run["claim_token"])
    async with asyncio.timeout(PATIENCE):
        assert (await queue.wait(run["id"])).status == RunStatus.COMPLETED
