"""A function or app that is no more can be forgotten: it is hidden while it is empty, and nothing of it is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
from roles import refused
from workers import working

import secateur
from patience import PATIENCE, eventually
from secateur import App, Queue
from secateur.errors import Conflict, LockUnavailable, NotFound, ReadOnly
from secateur.runs import RunStatus

pytestmark = pytest.mark.one_postgres

EVENT = {"name": "vendor/sync", "data": {"n": 1}}


@pytest.fixture
async def queue(database_url: str) -> AsyncIterator[Queue]:
    """`old` was renamed to `new`; `gone` is an app that nobody has any more."""
    async with secateur.connect(database_url) as queue:
        for app_id, function_id in (("billing", "new"), ("billing", "old"), ("gone", "a"), ("gone", "b")):
            await queue.database.execute(
                "select secateur.register_function($1, $2, array['vendor/sync'], 1)", app_id, function_id
            )
        yield queue


async def seen(queue: Queue) -> list[str]:
    return [f"{each.app_id}/{each.function_id}" for each in await queue.depth()]


async def work(queue: Queue, app_id: str, functions: list[str] | None = None, end: str = "complete") -> int:
    """Claims what there is, and ends it; how many."""
    runs = await queue.database.fetch(
        "select * from secateur.claim($1, $2, 100, 'tester', '1 hour')", app_id, functions
    )
    for run in runs:
        if end == "fail":
            failed = "select secateur.fail($1, $2, $3, 'no')"
            await queue.database.fetchval(failed, app_id, run["id"], run["claim_token"])
        else:
            done = "select secateur.complete($1, $2, $3)"
            await queue.database.fetchval(done, app_id, run["id"], run["claim_token"])
    return len(runs)


async def sound(queue: Queue, app_id: str) -> bool:
    check = await queue.database.fetchrow("select * from secateur.check_depth($1)", app_id)
    assert check is not None
    return bool(check["checked"]) and check["drift"] == 0


async def test_a_function_leaves_the_depth_and_its_history_stays(queue: Queue) -> None:
    done = await queue.enqueue("billing", "old", EVENT)
    failed = await queue.enqueue("billing", "old", EVENT)
    await queue.database.fetch("select secateur.claim('billing', null, 1, 'tester', '1 hour')")
    running = "select id, claim_token from secateur.runs where status = 'running'"
    [run] = await queue.database.fetch(running)
    assert run["id"] == done
    await queue.database.fetchval("select secateur.complete('billing', $1, $2)", *run)
    assert await work(queue, "billing", end="fail") == 1
    cancelled = await queue.enqueue("billing", "old", EVENT)
    cancellation = await queue.cancel({"app_id": "billing", "function_id": "old"}, wait=True)

    assert await queue.forget("billing", "old", author="ann") == ["old"]
    assert await queue.forget("billing", "old", author="bob") == [], "it can be repeated"
    assert await seen(queue) == ["billing/new", "gone/a", "gone/b"]
    for id, status in ((done, RunStatus.COMPLETED), (failed, RunStatus.FAILED), (cancelled, RunStatus.CANCELLED)):
        assert (await queue.get(id)).status == status
    assert [str(each.id) for each in await queue.runs("billing", "old")] == [str(failed)]
    assert (await queue.show(cancellation.id)).cancelled == 1
    [entry, *_] = await queue.audit()
    assert (entry.action, entry.app_id, entry.function_id) == ("forget", "billing", "old")
    assert (entry.author, entry.source, entry.details) == ("ann", "python", {"functions": ["old"]})
    assert await sound(queue, "billing")


async def test_an_app_is_forgotten_with_all_its_functions(queue: Queue) -> None:
    await queue.forget("gone", "b")
    assert await queue.forget("gone") == ["a"], "only what was not forgotten before"
    assert await seen(queue) == ["billing/new", "billing/old"]
    [entry, *_] = await queue.audit()
    assert (entry.function_id, entry.details) == (None, {"functions": ["a"]})
    assert await queue.forget("gone") == []
    await queue.enqueue("gone", "a", EVENT)
    assert await seen(queue) == ["billing/new", "billing/old", "gone/a"], "only that one"


async def test_it_is_empty_and_not_unknown(queue: Queue) -> None:
    await queue.forget("gone")
    await queue.forget("billing", "old")
    gone = {"app_id": "gone"}
    for request in (gone, {**gone, "function_id": "a"}, {"app_id": "billing", "function_id": "old"}):
        assert (await queue.preview(request)).count.matched == 0


async def test_events_start_no_runs_of_it(queue: Queue) -> None:
    await queue.forget("billing", "old")
    await queue.forget("gone")
    started = await queue.send(EVENT)
    assert {(each.app_id, each.function_id) for each in started.runs} == {("billing", "new")}
    await queue.database.execute(
        "select secateur.register_function(app_id, function_id, array['function.cancelled'], 1) from secateur.functions"
        " where function_id in ('a', 'b')"
    )
    await queue.forget("gone", "a")
    await queue.cancel({"app_id": "billing"}, wait=True)
    told = await queue.database.fetch("select function_id from secateur.runs where app_id = 'gone'")
    assert [row["function_id"] for row in told] == ["b"]


@pytest.mark.parametrize(
    "back",
    [
        "select secateur.enqueue('billing', 'old', '{}')",
        "select secateur.enqueue('billing', 'old', '{}', scheduled_for => now() + interval '1 day')",
        "select secateur.enqueue('billing', 'old', '{}', idempotency_key => 'a')",
        "select secateur.enqueue_many('billing', 'old', array['{}'::jsonb])",
        "select secateur.register_function('billing', 'old', array['vendor/sync'], 1)",
        "select secateur.declare_cancel_on('billing', 'old', '[]')",
        "select secateur.claim('billing', array['old', 'new'], 1, 'tester', '1 hour')",
    ],
)
async def test_it_comes_back_in_the_same_transaction(queue: Queue, database_url: str, back: str) -> None:
    await queue.forget("billing", "old")
    connection = await asyncpg.connect(database_url)
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute(back)
    await transaction.rollback()
    assert "billing/old" not in await seen(queue)
    await connection.execute(back)
    await connection.close()
    assert "billing/old" in await seen(queue)
    await work(queue, "billing")
    await queue.cancel({"app_id": "billing"}, wait=True)
    assert "billing/old" in await seen(queue), "for good, not only while it has runs"
    assert ("billing", "old") in {(each.app_id, each.function_id) for each in (await queue.send(EVENT)).runs}


async def test_an_import_brings_it_back(queue: Queue) -> None:
    await queue.forget("billing", "old")
    await queue.enqueue_bulk("billing", "old", [EVENT] * 3)
    assert {each.function_id: each.queued for each in await queue.depth() if each.app_id == "billing"} == {
        "new": 0,
        "old": 3,
    }


async def test_a_worker_that_still_has_it_brings_it_back(queue: Queue, database_url: str) -> None:
    """Also an idle one, which looks at once, and would not for a while."""
    app = App("billing")

    @app.function(id="old")
    async def old(event: dict[str, Any]) -> None:
        pass

    async with working(database_url, app):
        run_id = await queue.enqueue("billing", "old", EVENT)
        assert (await queue.wait(run_id)).status == RunStatus.COMPLETED
        assert await queue.forget("billing", "old") == ["old"]

        async def back() -> bool:
            return "billing/old" in await seen(queue)

        await eventually(back, "the worker to bring its function back")


@pytest.mark.parametrize(
    ("status", "said"),
    [
        ("queued", "old has 2 queued runs"),
        ("scheduled", "old has 1 scheduled run"),
        ("running", "old has 1 running run"),
    ],
)
async def test_not_while_it_has_runs(queue: Queue, status: str, said: str) -> None:
    if status == "scheduled":
        await queue.database.execute(
            "select secateur.enqueue('billing', 'old', '{}', scheduled_for => now() + interval '1 day')"
        )
    else:
        await queue.enqueue_many("billing", "old", [EVENT] * (2 if status == "queued" else 1))
    if status == "running":
        await queue.database.execute("select secateur.claim('billing', null, 10, 'tester', '1 hour')")
    for scope in (("billing", "old"), ("billing", None)):
        with pytest.raises(Conflict, match=f"cannot be forgotten yet: {said}.*cancel them"):
            await queue.forget(*scope)
    assert "billing/old" in await seen(queue)
    assert await queue.forget("billing", "new") == ["new"], "which has none"
    assert {entry.action for entry in await queue.audit()} == {"install", "forget"}


async def test_of_a_large_backlog_a_thousand_runs_are_counted(queue: Queue) -> None:
    await queue.enqueue_many("billing", "old", [{}] * 1500)
    with pytest.raises(Conflict, match="old has more than 1000 queued runs"):
        await queue.forget("billing", "old")


@pytest.mark.parametrize("function_id", ["old", None])
async def test_not_while_a_cancellation_of_it_is_open(queue: Queue, function_id: str | None) -> None:
    run_id = await queue.enqueue("billing", "old", EVENT)
    hence = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    request = {"app_id": "billing", "standing": True, "started_before": hence}
    rule = (await queue.cancel(request if function_id is None else {**request, "function_id": function_id})).id
    await queue.database.fetch("select secateur.sweep_cancellation('billing', $1)", rule)
    assert (await queue.get(run_id)).status == RunStatus.CANCELLED
    with pytest.raises(Conflict, match=f"cancellation {rule} is active"):
        await queue.forget("billing", "old")
    assert await queue.forget("gone") == ["a", "b"], "which it does not concern"
    await queue.undo(rule)
    with pytest.raises(Conflict, match=f"the undo of {rule} still restores runs"):
        await queue.forget("billing", "old")
    await queue.cancellations.wait(rule)
    with pytest.raises(Conflict, match="old has 1 queued run"):
        await queue.forget("billing", "old")
    await work(queue, "billing")
    assert await queue.forget("billing", "old") == ["old"]


async def test_not_while_a_retry_of_it_is_under_way(queue: Queue) -> None:
    await queue.enqueue("billing", "old", EVENT)
    await work(queue, "billing", end="fail")
    retry = await queue.retry({"app_id": "billing", "function_id": "old"})
    with pytest.raises(Conflict, match=f"retry {retry.id} is under way"):
        await queue.forget("billing", "old")
    await queue.cancellations.wait(retry.id)
    await work(queue, "billing", end="fail")
    await queue.forget("billing", "old")
    assert "billing/old" not in await seen(queue)
    await queue.retry({"app_id": "billing", "function_id": "old"}, wait=True)
    assert "billing/old" in await seen(queue), "its failed runs were queued again"
    assert await work(queue, "billing") == 1


async def test_a_run_of_an_open_transaction_is_counted_and_claimed(queue: Queue, database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute("select secateur.enqueue('billing', 'old', '{}')")
    async with asyncio.timeout(PATIENCE):
        assert await queue.forget("billing", "old") == ["old"], "it cannot know"
    assert "billing/old" not in await seen(queue)
    await transaction.commit()
    await connection.close()
    assert [each.queued for each in await queue.depth() if each.function_id == "old"] == [1]
    with pytest.raises(Conflict, match="old has 1 queued run"):
        await queue.forget("billing", "old")
    assert await sound(queue, "billing")
    assert await work(queue, "billing") == 1
    assert await sound(queue, "billing")
    await queue.enqueue("billing", "old", EVENT)
    assert await work(queue, "billing") == 1
    assert "billing/old" in await seen(queue)


async def test_an_open_transaction_that_brings_it_back_is_in_nobodys_way(queue: Queue, database_url: str) -> None:
    await queue.enqueue("billing", "old", EVENT)
    await work(queue, "billing")
    await queue.forget("billing", "old")
    connection = await asyncpg.connect(database_url)
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute("select secateur.enqueue('billing', 'old', '{}')")
    async with asyncio.timeout(PATIENCE):
        assert await queue.forget("billing", "old") == []
        await queue.pause("billing", "old")
        await queue.resume("billing", "old")
        await queue.enqueue("billing", "old", EVENT)
        assert await work(queue, "billing", ["old", "new"]) == 1
        await queue.database.execute("select secateur.register_function('billing', 'old', '{}', 7, 3)")
    await transaction.commit()
    await connection.close()
    assert await work(queue, "billing") == 1
    assert "billing/old" in await seen(queue)


async def test_it_waits_for_the_apps_lock_and_then_changes_nothing(queue: Queue, database_url: str) -> None:
    await queue.enqueue("billing", "new", EVENT)
    connection = await asyncpg.connect(database_url)
    transaction = connection.transaction()
    await transaction.start()
    await connection.fetch("select secateur.claim('billing', null, 1, 'tester', '1 hour')")
    with pytest.raises(LockUnavailable, match="has locked app 'billing'; nothing was changed"):
        await queue.forget("billing", "old")
    await transaction.rollback()
    await connection.close()
    assert "billing/old" in await seen(queue)


async def test_only_what_exists_can_be_forgotten(queue: Queue, database_url: str) -> None:
    for scope in (("nothing",), ("billing", "nothing"), ("gone", "old")):
        with pytest.raises(NotFound, match=r"there is no app|has no function"):
            await queue.forget(*scope)
    async with secateur.connect(database_url, read_only=True) as reader:
        with pytest.raises(ReadOnly):
            await reader.forget("gone")


async def test_who_may(owner: asyncpg.Connection, logins: dict[str, asyncpg.Connection]) -> None:
    await owner.execute("select secateur.register_function('billing', 'old', '{}', 4)")
    forget = "select secateur.forget('billing', 'old', 'ann', 'cli')"
    for role in ("secateur_worker", "secateur_viewer"):
        await refused(logins[role], forget)
        await refused(logins[role], "delete from secateur.forgotten_functions")
    assert await logins["secateur_operator"].fetchval(forget) == ["old"]
    await refused(logins["secateur_operator"], "delete from secateur.forgotten_functions")
    await logins["secateur_worker"].execute("select secateur.enqueue('billing', 'old', '{}')")
    assert await logins["secateur_viewer"].fetchval("select count(*) from secateur.forgotten_functions") == 0
