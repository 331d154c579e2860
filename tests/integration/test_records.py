"""What is written comes back as it is recorded, from the statement that wrote it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

import secateur
from patience import eventually
from secateur import Queue
from secateur.postgres.database import Database

pytestmark = pytest.mark.one_postgres

FLOOD = {"app_id": "billing", "function_ids": ["a", "b", "c"], "if": "event.data.vendor == 'acme'"}


@pytest.fixture
async def queue(database_url: str) -> AsyncIterator[Queue]:
    async with secateur.connect(database_url) as queue:
        for function in ("a", "b", "c"):
            await queue.enqueue_many("billing", function, [{"data": {"vendor": "acme"}}] * 3)
        yield queue


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The statements that any database has been sent since."""
    statements: list[str] = []

    def noting(name: str) -> Any:
        original = getattr(Database, name)

        async def note(self: Database, sql: str, *arguments: object, **options: Any) -> Any:
            statements.append(sql)
            return await original(self, sql, *arguments, **options)

        return note

    for name in ("fetch", "fetchrow", "fetchval", "execute"):
        monkeypatch.setattr(Database, name, noting(name))
    return statements


async def test_a_commit_of_several_functions_is_one_statement(queue: Queue, sent: list[str]) -> None:
    """Its records have what it did itself: here, the running runs that it has asked to stop."""
    (claimed,) = await queue.database.fetch("select id from secateur.claim('billing', array['b'], 1, 'w', '1 hour')")
    sent.clear()
    committed = await queue.cancel_all(FLOOD)
    assert len(sent) == 1
    assert [(each.function_id, each.requested, each.stopping) for each in committed] == [
        *(("a", 0, 0), ("b", 1, 1), ("c", 0, 0))
    ]
    assert [each.guarantee for each in committed] == ["in_force"] * 3
    for each in committed:
        read = await queue.show(each.id)
        assert read.model_dump(exclude={"unswept_for"}) == each.model_dump(exclude={"unswept_for"})
    assert (await queue.get(claimed["id"])).status == "running"


async def test_stop_undo_and_a_single_run_answer_from_their_statement_too(queue: Queue, sent: list[str]) -> None:
    (first, second, _) = await queue.cancel_all(FLOOD)
    run_id = await queue.enqueue("billing", "a", {})
    sent.clear()
    stopped = await queue.stop(first.id, author="ada")
    undone = await queue.undo(second.id, author="bob")
    single = await queue.cancel_run(run_id)
    assert (stopped.state, stopped.stopped_by) == ("stopped", "ada")
    assert (undone.state, undone.undone_by, undone.restored_at) == ("undone", "bob", None)
    assert (single.kind, single.run_id, single.cancelled) == ("run", str(run_id), 1)
    assert len(sent) == 6, "each of them looks for the app first"


async def test_a_repeated_commit_has_what_has_become_of_it(queue: Queue) -> None:
    (first, *_) = await queue.cancel_all(FLOOD, idempotency_key="one")
    await queue.stop(first.id)
    again = await queue.cancel_all(FLOOD, idempotency_key="one")
    assert [(each.function_id, each.state) for each in again] == [("a", "stopped"), ("b", "active"), ("c", "active")]


async def test_a_pending_record_names_the_others_and_never_the_commit_itself(queue: Queue, database_url: str) -> None:
    blocker = await asyncpg.connect(database_url)
    transaction = blocker.transaction()
    await transaction.start()
    await blocker.fetch("select * from secateur.claim('billing', null, 1, 'w', '1 hour')")
    committed = await queue.cancel_all(FLOOD)
    assert [each.blocked_by for each in committed] == [[blocker.get_server_pid()]] * 3
    await transaction.rollback()
    await blocker.close()

    async def free() -> bool:
        return [(await queue.show(each.id)).blocked_by for each in committed] == [[]] * 3

    await eventually(free, "the lock to be seen as free")
