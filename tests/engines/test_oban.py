"""What only Oban has: two languages with one table, and migrations whose number is a comment."""

from __future__ import annotations

import json

import pytest
from beds.oban import Oban
from beds.oban_elixir import ObanElixir
from pruning import Pruning, pres_of

from patience import eventually

pytestmark = pytest.mark.timeout(300)

elixir = pytest.mark.parametrize("bed", [ObanElixir], indirect=True)
python = pytest.mark.parametrize("bed", [Oban], indirect=True)


async def detected(pruning: Pruning) -> tuple[str, bool]:
    [found] = await pruning.connection.fetch(pruning.installation.file.statements["detect"])
    return found["version"], found["supported"]


@elixir
@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("comment on table oban_jobs is '14'", ("migration 14", True)),
        ("comment on table oban_jobs is '15'", ("migration 15", False)),
        ("comment on table oban_jobs is '9'", ("migration 9", True)),
        ("comment on table oban_jobs is '∞'", ("unknown", False)),
        ("comment on table oban_jobs is null", ("unknown", False)),
        ("alter table oban_jobs add column uniq_key text", ("migration 14", False)),
        ("alter type oban_job_state add value 'delayed'", ("migration 14", False)),
    ],
)
async def test_a_migration_is_told_by_the_comment(pruning: Pruning, change: str, expected: tuple[str, bool]) -> None:
    await pruning.connection.execute(change)
    assert await detected(pruning) == expected


@python
async def test_python_has_no_number(pruning: Pruning) -> None:
    assert await detected(pruning) == ("Python", True)
    await pruning.connection.execute("comment on table oban_jobs is 'our jobs'")
    assert await detected(pruning) == ("Python", True)


@elixir
async def test_before_migration_14_nothing_is_suspended(pruning: Pruning) -> None:
    connection = pruning.connection
    [run] = await pruning.bed.enqueue([{"number": 1}])
    await connection.execute("alter type oban_job_state rename value 'suspended' to 'something'")
    here = pruning.installation
    assert (await pruning.statuses([run])) == {run: "queued"}
    source = here.source.replace("{sampled}", "")
    assert len(await connection.fetch(f"select from {source} as run where {here.sql('unfinished')}")) == 1
    assert len(await connection.fetch(here.sql("depth"))) == 1


@elixir
async def test_what_is_suspended_or_waits_for_a_retry_is_cancelled_and_comes_back(pruning: Pruning) -> None:
    runs = await pruning.bed.enqueue([{"number": 1}, {"number": 2}])
    await pruning.connection.execute("update oban_jobs set state = 'suspended' where id = $1", int(runs[0]))
    await pruning.connection.execute(
        "update oban_jobs set state = 'retryable', attempt = 1, scheduled_at = timezone('UTC', now()) + interval '1 h'"
        " where id = $1",
        int(runs[1]),
    )
    assert await pruning.statuses(runs) == dict.fromkeys(runs, "scheduled")
    before = await pruning.rows()
    cancelled = await pruning.cancel(runs)
    assert cancelled.keys() == set(runs)
    assert await pruning.restore(pres_of(cancelled)) == dict.fromkeys(runs)
    assert await pruning.rows() == before


@pytest.mark.parametrize("bed", [Oban, ObanElixir], indirect=True)
async def test_a_stopped_job_gets_one_more_attempt(pruning: Pruning) -> None:
    bed = pruning.bed
    [run] = await bed.enqueue([{"number": 1, "seconds": 1000}])
    async with bed.worker():

        async def busy() -> bool:
            return bool(await pruning.noted())

        await eventually(busy, "the job to start")
        asked = await pruning.cancel([run], stop=True)

        async def stopped() -> bool:
            return await bed.state(run) == "cancelled" and bool(await pruning.noted("stopped"))

        await eventually(stopped, "the job to be cancelled")
    assert await pruning.restore(pres_of(asked)) == {run: None}
    row = await pruning.connection.fetchrow("select state, attempt, max_attempts, meta from oban_jobs")
    assert (row["state"], row["attempt"], row["max_attempts"]) == ("available", 1, 2)
    assert "cancel_attempted_at" not in json.loads(row["meta"])


@elixir
async def test_what_ended_is_counted_only_where_that_is_bounded(pruning: Pruning) -> None:
    """A large table without an index on completed_at is not read for it."""
    connection = pruning.connection
    await pruning.bed.enqueue([{"number": 1}, {"number": 2}])
    await connection.execute(
        "update oban_jobs set state = 'completed', completed_at = timezone('UTC', now()) where id = 1"
    )
    rates = pruning.installation.sql("rates")
    [row] = await connection.fetch(rates)
    assert (row["arrived"], row["drained"]) == (2, 1)
    await connection.execute("update pg_class set reltuples = 5000000 where relname = 'oban_jobs'")
    [row] = await connection.fetch(rates)
    assert (row["arrived"], row["drained"]) == (2, None)
    await connection.execute("create index on oban_jobs (completed_at) where state = 'completed'")
    await connection.execute("update pg_class set reltuples = 5000000 where relname = 'oban_jobs'")
    [row] = await connection.fetch(rates)
    assert (row["arrived"], row["drained"]) == (2, 1)
