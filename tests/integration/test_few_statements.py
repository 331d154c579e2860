"""What a claim calls where there is nothing but runs that wait: a statement more costs as much as some runs."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest

APP = "billing"

PLAIN = {"share_app", "take_lock", "survey", "due_floor", "lock_queued", "grant_runs"}
"""What every claim calls: it takes the lock, looks what is to be done, locks runs and gives them out."""
ENDING = {"complete_runs"}

CALLS = "select funcname, calls from pg_stat_xact_user_functions where schemaname = 'secateur'"
TURN = "select * from secateur.complete_and_claim($1, $2::uuid[], $3::uuid[], '{calm,mail}', 5, 'w', '1 hour')"


@pytest.fixture
async def connection(embedded_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(embedded_url, server_settings={"track_functions": "all"})
    for function in ("calm", "mail"):
        await connection.execute(
            "select secateur.enqueue_many($1, $2, array_fill('{}'::jsonb, array[40]))", APP, function
        )
    yield connection
    await connection.close()


async def turn(connection: asyncpg.Connection, ids: list[object], tokens: list[object]) -> set[str]:
    """Claims five runs in a transaction that is taken back; returns which functions were called by the claim."""
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute("select setseed(0.5)")  # no floor is raised by chance, or has been raised before
    await connection.execute("update secateur.levels set floor = default")
    before = {row["funcname"]: row["calls"] for row in await connection.fetch(CALLS)}
    rows = await connection.fetch(TURN, APP, ids, tokens)
    assert len([row for row in rows if row["id"]]) == 5
    after = {row["funcname"]: row["calls"] for row in await connection.fetch(CALLS)}
    await transaction.rollback()
    return {name for name, calls in after.items() if calls > before.get(name, 0)} - {"complete_and_claim", "effort_on"}


async def test_a_claim_of_what_waits_calls_nothing_else(connection: asyncpg.Connection) -> None:
    assert await turn(connection, [], []) <= PLAIN


async def test_what_ended_is_completed_in_the_same_call(connection: asyncpg.Connection) -> None:
    held = await connection.fetch("select id, claim_token from secateur.claim($1, null, 3, 'w', '1 hour')", APP)
    ids, tokens = [row["id"] for row in held], [row["claim_token"] for row in held]
    assert await turn(connection, ids, tokens) <= PLAIN | ENDING
    await connection.fetch(TURN, APP, ids, tokens)
    done = "select count(*) from secateur.runs where id = any ($1) and status = 'completed'"
    assert await connection.fetchval(done, ids) == 3


async def test_a_run_that_is_no_longer_the_callers_is_told_apart(connection: asyncpg.Connection) -> None:
    """Whoever holds it goes on, and what else has ended is completed."""
    held = await connection.fetch("select id, claim_token from secateur.claim($1, null, 3, 'w', '1 hour')", APP)
    ids, tokens = [row["id"] for row in held], [row["claim_token"] for row in held]
    tokens[1] = "00000000-0000-0000-0000-00000000002a"
    first, *claimed = await connection.fetch(TURN, APP, ids, tokens)
    assert (first["id"], str(first["claim_token"]), len(claimed)) == (None, tokens[1], 5)
    states = await connection.fetch("select status from secateur.runs where id = any ($1) order by id", ids)
    assert sorted(row["status"] for row in states) == ["completed", "completed", "running"]
    # Nobody can tell a claim's tokens from another's, and no two are the same.
    everything = [row["claim_token"] for row in (*held, *claimed)]
    assert len(set(everything)) == 8


async def test_what_has_to_be_done_first_is_done(connection: asyncpg.Connection) -> None:
    """A lease that ended, a run that fell due, a cancellation: each is seen by the one look."""
    await connection.fetch("select secateur.claim($1, '{calm}', 1, 'w', '1 hour')", APP)
    await connection.execute(
        "update secateur.runs set lease_expires_at = now() - interval '1 s' where status = 'running'"
    )
    assert "recover_expired" in await turn(connection, [], [])
    await connection.execute("select secateur.recover_expired($1)", APP)
    await connection.execute(
        "select secateur.enqueue_many($1, 'mail', array['{}'::jsonb], array[clock_timestamp() + interval '1 hour'])",
        APP,
    )
    await connection.execute("update secateur.runs set scheduled_for = now() where status = 'scheduled'")
    called = await turn(connection, [], [])
    assert "promote_due" in called
    assert "recover_expired" not in called


async def test_the_last_runs_are_claimed_and_the_app_falls_idle_in_one_call(connection: asyncpg.Connection) -> None:
    """So a worker that keeps up makes one call for a run. One that brings more looks again: there will be others."""
    idle = "select idle from secateur.idle where app_id = $1"
    claim = "select * from secateur.claim_batch($1, null, 200, 'w', '1 hour')"
    assert len(await connection.fetch(claim, APP)) == 80
    assert not await connection.fetchval(idle, APP)
    for number, says_so in ((3, False), (2, True), (1, True)):
        await connection.execute("update secateur.idle set idle = false")
        await connection.execute(
            "select secateur.enqueue_many($1, 'calm', array_fill('{}'::jsonb, array[$2::integer]))", APP, number
        )
        rows = await connection.fetch(claim, APP)
        assert len([row for row in rows if row["id"]]) == number
        assert len(rows) == number + says_so
        assert await connection.fetchval(idle, APP) is says_so
        if says_so:
            assert (rows[-1]["more"], rows[-1]["due_in"]) == (False, None)


async def test_the_checks_of_a_run_are_as_short_as_they_are_strict(connection: asyncpg.Connection) -> None:
    """Each update of runs reads them anew, so their length costs every claim and every completion."""
    [run] = await connection.fetch("select id from secateur.claim($1, null, 1, 'w', '1 hour')", APP)
    refused = {
        "status = 'bogus'": "runs_states",
        "claim_token = null": "runs_states",
        "lease_expires_at = null": "runs_states",
        "status = 'completed'": "runs_states",
        "finished_at = now()": "runs_states",
        "status = 'bogus', finished_at = now()": "runs_states",
        "status = 'queued', finished_at = now()": "runs_states",
        "started_at = '-infinity'": "runs_times",
        "scheduled_for = 'infinity'": "runs_times",
        "scheduled_for = '10000-01-01Z'": "runs_times",
        "scheduled_for = '0001-12-31 BC'": "runs_times",
    }
    for change, constraint in refused.items():
        with pytest.raises(asyncpg.CheckViolationError) as error:
            await connection.execute(f"update secateur.runs set {change} where id = $1", run["id"])
        assert error.value.constraint_name == constraint, change
    for change in ("status = 'failed', finished_at = now()", "status = 'scheduled', finished_at = null"):
        await connection.execute(f"update secateur.runs set {change} where id = $1", run["id"])
    written = "select sum(length(conbin::text)) from pg_constraint where conrelid = 'secateur.runs'::regclass"
    assert await connection.fetchval(written) < 5600


async def test_an_enqueue_of_a_known_function_calls_nothing_else(connection: asyncpg.Connection) -> None:
    """Each call of a function costs as much as a tenth of the whole. What may be wrong or new is looked into."""
    enqueued: dict[str, set[str]] = {}
    for arguments in ("'calm', '{}'", "'calm', '{}', now() + interval '1 h', 3", "'new', '{}'"):
        before = {row["funcname"]: row["calls"] for row in await connection.fetch(CALLS)}
        async with connection.transaction():
            await connection.fetchval(f"select secateur.enqueue($1, {arguments})", APP)
            after = {row["funcname"]: row["calls"] for row in await connection.fetch(CALLS)}
        enqueued[arguments] = {name for name, calls in after.items() if calls > before.get(name, 0)}
    known, scheduled, new = enqueued.values()
    assert known == {"enqueue", "enter_runs", "note_due", "wake"}
    assert {"require_lists", "ensure_levels"} <= scheduled - known
    assert {"ensure_function", "require_name"} <= new - known
