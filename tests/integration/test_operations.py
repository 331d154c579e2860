"""What the documentation says of an owner's doings: keeping finished runs longer, restoring a dump."""

from __future__ import annotations

import re
from pathlib import Path

import asyncpg
import pytest
from roles import refused

from secateur import connect

pytestmark = pytest.mark.one_postgres

OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"


@pytest.fixture
def recipe() -> str:
    (found,) = [
        block
        for block in re.findall(r"```sql\n(.*?)```", OPERATIONS.read_text(), re.DOTALL)
        if "secateur_archive" in block
    ]
    return found


async def finish(owner: asyncpg.Connection, runs: int, ago: str) -> None:
    """Completes so many new runs, as if that had been so long ago."""
    await owner.execute(
        "select secateur.enqueue_many('billing', 'sync', array_fill('{}'::jsonb, array[$1::int]))", runs
    )
    await owner.execute("""
        select secateur.complete(app_id, id, claim_token) from secateur.claim('billing', null, 1000, 'w', '1 minute')
    """)
    await owner.execute(
        "update secateur.runs set finished_at = now() - $1::text::interval"
        " where finished_at > now() - interval '1 minute'",
        ago,
    )


async def test_pruned_runs_are_kept_by_month(
    recipe: str, owner: asyncpg.Connection, logins: dict[str, asyncpg.Connection]
) -> None:
    await owner.execute(recipe)
    worker = logins["secateur_worker"]

    async def archived() -> int:
        count: int = await owner.fetchval("select count(*) from secateur_archive.runs")
        return count

    await finish(owner, 5, "8 days")
    transaction = worker.transaction()
    await transaction.start()
    assert await worker.fetchval("select runs from secateur.prune('billing')") == 5
    await transaction.rollback()
    assert await archived() == 0
    before = await owner.fetch("select id, finished_at from secateur.runs order by id")
    assert await worker.fetchval("select runs from secateur.prune('billing')") == 5
    assert await owner.fetch("select id, finished_at from secateur_archive.runs order by id") == before
    assert await owner.fetchval("select count(*) from secateur_archive.runs_other") == 0
    await finish(owner, 2, "400 days")
    assert await worker.fetchval("select runs from secateur.prune('billing')") == 2
    assert await owner.fetchval("select count(*) from secateur_archive.runs_other") == 2
    assert await archived() == 7
    for connection in logins.values():
        await refused(connection, "select from secateur_archive.runs")


async def test_months_are_made_and_dropped(recipe: str, owner: asyncpg.Connection) -> None:
    await owner.execute("set timezone = 'America/New_York'")
    await owner.execute(recipe)
    months = (
        "select count(*) from pg_class"
        " where relnamespace = 'secateur_archive'::regnamespace and relkind = 'r' and relname ~ '^runs_2'"
    )
    made = await owner.fetchval(months)
    assert made == 4
    await owner.execute("""
        create table secateur_archive.runs_2020_01 partition of secateur_archive.runs
          for values from ('2020-01-01 00:00+00') to ('2020-02-01 00:00+00')
    """)
    await owner.execute("select secateur_archive.keep_months(12)")
    assert await owner.fetchval(months) == made
    assert await owner.fetchval("select to_regclass('secateur_archive.runs_2020_01')") is None


async def test_a_horizon_of_another_server_is_taken_anew(database_url: str) -> None:
    async with connect(database_url) as queue:
        await queue.enqueue_many("billing", "sync", [{"n": n} for n in range(5)])
        committed = await queue.cancel({"app_id": "billing"})
        await queue.engine.ledger.sweep("billing", committed.id, 3)
        # As a dump of a server that had seen many more transactions leaves it, in the middle of a pass.
        await queue.database.execute("update secateur.sweeps set horizon = '4000000000', pass_xmin = '3999999999'")
        steps = [await queue.engine.ledger.sweep("billing", committed.id, 100) for _ in range(3)]
        assert [step.state for step in steps] == ["active", "complete", "complete"]
        assert (await queue.show(committed.id)).cancelled == 5
        horizon = await queue.database.fetchval("select horizon::text from secateur.sweeps")
        assert int(horizon) < 4_000_000_000


async def test_a_horizon_of_this_server_is_kept(database_url: str) -> None:
    async with connect(database_url) as queue, connect(database_url) as other:
        await queue.enqueue_many("billing", "sync", [{"n": n} for n in range(5)])
        async with other.database.transaction() as open_transaction:
            await open_transaction.fetchval("select pg_current_xact_id()")
            committed = await queue.cancel({"app_id": "billing"})
            horizon = "select horizon::text from secateur.sweeps"
            before = await queue.database.fetchval(horizon)
            steps = [await queue.engine.ledger.sweep("billing", committed.id, 100) for _ in range(3)]
            assert {step.state for step in steps} == {"active"}
            assert await queue.database.fetchval(horizon) == before
        assert (await queue.cancellations.wait(committed.id)).state == "complete"
