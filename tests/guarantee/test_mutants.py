"""Each known way to get the protocol wrong, built in on purpose: a named scenario must notice."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from datetime import timedelta
from typing import TypeAlias

import asyncpg
import pytest
from arena import Mutation
from scene import GuaranteeBroken, Scene, Stage, commit

Scenario: TypeAlias = Callable[[Scene], Awaitable[None]]


def meeting(paused: str, function: str, point: str, other: str) -> Scenario:
    async def scenario(here: Scene) -> None:
        await here.meet(paused, function, point, other)

    scenario.__name__ = f"{paused} at {point}, {other}"
    return scenario


async def claim_in_an_old_snapshot(here: Scene) -> None:
    """A worker whose sessions run at REPEATABLE READ: refused, or its snapshot is older than the commit."""
    worker, operator = await here.connect(), await here.connect()
    async with worker.transaction(isolation="repeatable_read"):
        await worker.fetchval("select 1")
        await here.commit(operator)
        with suppress(asyncpg.PostgresError):
            async with worker.transaction():
                await here.claim(worker)


async def enqueue_stays_open(here: Scene) -> None:
    """A run that was written before the commit and becomes visible after the sweep: the sweep must wait for it."""
    producer, operator = await here.connect(), await here.connect()
    await here.complete(operator)
    transaction = producer.transaction()
    await transaction.start()
    await here.enqueue_many(producer)
    await here.commit(operator)
    await sweep_until_idle(here, operator)
    await transaction.commit()


async def old_transaction_commits(here: Scene) -> None:
    """The same, and the commit's own transaction has an id older than the producer's."""
    producer, operator = await here.connect(), await here.connect()
    await here.complete(operator)
    committing = operator.transaction()
    await committing.start()
    await operator.fetchval("select pg_current_xact_id()")
    writing = producer.transaction()
    await writing.start()
    await here.enqueue_many(producer)
    await here.commit(operator)
    await committing.commit()
    await sweep_until_idle(here, operator)
    await writing.commit()


async def stop_during_a_sweep(here: Scene) -> None:
    """Of a sweep's second batch, when there is no request any more that stop and sweep would both have to lock."""
    operator = await here.connect()
    await operator.fetch("select secateur.sweep_cancellation($1, 1)", here.cancellation)
    await here.meet("sweep", "sweep_cancellation", "batch evaluated", "stop")


async def sweep_until_idle(here: Scene, connection: asyncpg.Connection) -> None:
    for _ in range(10):
        step = await here.sweep(connection)
        if step["state"] != "active" or step["idle"]:
            return
    raise GuaranteeBroken("the sweep neither ends nor waits")


async def retry_slips_past_the_sweep(here: Scene) -> None:
    """A fail that decided to retry just before the commit was there, and is heard of after the sweep's clean pass."""
    operator = await here.connect()
    async with AsyncExitStack() as failing:
        async with here.paused("commit", "commit_cancellations", "recorded"):
            await failing.enter_async_context(here.paused("fail", "fail", "not cancelled"))
        await sweep_until_idle(here, operator)
    await sweep_until_idle(here, operator)
    await here.verify()


async def older_of_two_is_stopped(here: Scene) -> None:
    """Both had asked the held run to stop: it must still not go on."""
    operator = await here.connect()
    await here.overlap(operator)
    await here.stop(operator)
    if await here.begin_step(operator):
        raise GuaranteeBroken("a step began that the newer cancellation forbids")


async def newer_of_two_sweeps_first(here: Scene) -> None:
    """The runs are the older one's all the same."""
    operator = await here.connect()
    newer = await here.overlap(operator)
    await operator.fetch("select secateur.sweep_cancellation($1)", newer)


async def dead_worker_comes_back(here: Scene) -> None:
    """Its run was claimed again meanwhile: the old claim can neither complete, fail nor begin a step of it."""
    connection = await here.connect()
    run = here.held["globex"]
    await connection.execute(
        "update secateur.runs set lease_expires_at = now() - interval '1 s' where id = $1", run["id"]
    )
    await here.claim(connection)
    said = [
        await connection.fetchval(f"select secateur.{call}", run["id"], run["claim_token"])
        for call in ("complete($1, $2)", "begin_step($1, $2, 'late')", "fail($1, $2, 'late')")
    ]
    if said != [False, False, None]:
        raise GuaranteeBroken(f"an old claim's complete, begin_step and fail said {said}")


async def runs_at_the_bounds(here: Scene) -> None:
    """A run at either end of the window, to the microsecond, is outside."""
    connection = await here.connect()
    start = await connection.fetchval("select date_trunc('second', now()) - interval '1 day'")
    for microseconds in (0, 1, 9, 10):
        await connection.fetchval(
            'select secateur.enqueue($1, \'sync\', \'{"data": {"vendor_id": "umbrella"}}\', started_at => $2)',
            here.app,
            start + timedelta(microseconds=microseconds),
        )
    await commit(connection, here.app, "umbrella", after=start, before=start + timedelta(microseconds=10))


class Mutant:
    """A fault, and the scenario that must notice it."""

    def __init__(self, name: str, mutations: list[Mutation], scenario: Scenario, *, committed: bool = False) -> None:
        self.name, self.mutations, self.scenario, self.committed = name, mutations, scenario, committed


LOCK = "  perform pg_advisory_xact_lock_shared(7216, key);\n"
READ = """  active := array(select rule from secateur.cancellations as rule
                   where rule.app_id = claim_batch.app_id and rule.state = 'active' order by rule.serial);
"""

MUTANTS = [
    Mutant(
        "claim takes no lock",
        [Mutation(LOCK, "", "claim_batch")],
        meeting("claim", "claim_batch", "cancellations read", "commit"),
    ),
    Mutant(
        "commit takes no lock",
        [
            Mutation(
                "  held := secateur.try_lock_app(commit_cancellations.app_id, '250 ms');\n",
                "  held := true;\n",
                "commit_cancellations",
            )
        ],
        meeting("claim", "claim_batch", "cancellations read", "commit"),
    ),
    Mutant(
        "claim reads the cancellations before the lock",
        [
            Mutation(READ, "", "claim_batch"),
            Mutation("  -- point: before the lock\n", READ + "  -- point: before the lock\n", "claim_batch"),
        ],
        meeting("claim", "claim_batch", "before the lock", "commit"),
    ),
    Mutant(
        "claim runs in any isolation level",
        [Mutation("  perform secateur.require_read_committed();\n", "", "claim_batch")],
        claim_in_an_old_snapshot,
    ),
    Mutant(
        "begin_step takes no lock",
        [Mutation(LOCK, "", "begin_step")],
        meeting("begin_step", "begin_step", "not cancelled", "commit"),
    ),
    Mutant(
        "commit asks nobody to stop",
        [Mutation("      perform secateur.request_running(committed);\n", "", "commit_cancellations")],
        meeting("commit", "commit_cancellations", "before the lock", "begin_step"),
    ),
    Mutant(
        "a newer cancellation does not ask those that were asked before",
        [
            Mutation(
                "     where hit.cancellation_id is not null\n",
                "     where hit.cancellation_id is not null and not exists"
                " (select from secateur.cancel_requests as asked where asked.run_id = running.id)\n",
                "request_running",
            )
        ],
        older_of_two_is_stopped,
        committed=True,
    ),
    Mutant(
        "a sweep looks at its own cancellation only",
        [Mutation("active.serial < rule.serial", "false", "sweep_cancellation")],
        newer_of_two_sweeps_first,
        committed=True,
    ),
    Mutant(
        "complete ignores the horizon",
        [Mutation(" and place.pass_xmin >= place.horizon", "", "sweep_cancellation")],
        enqueue_stays_open,
    ),
    Mutant(
        "the horizon is the end of a snapshot",
        [
            Mutation("    raise exception using errcode = 'SC000';\n", "", "horizon"),
            Mutation(
                "    perform from secateur.sweeps as place"
                " where place.cancellation_id = horizon.cancellation_id for update;\n",
                "",
                "horizon",
            ),
        ],
        enqueue_stays_open,
    ),
    Mutant(
        "the horizon is the commit's own id",
        [
            Mutation(
                "  return pg_snapshot_xmax(pg_current_snapshot());\n", "  return pg_current_xact_id();\n", "horizon"
            )
        ],
        old_transaction_commits,
    ),
    Mutant(
        "complete ignores the claim's token",
        [Mutation(" and run.claim_token = mine.claim_token", "", "complete_runs", times=2)],
        dead_worker_comes_back,
    ),
    Mutant(
        "begin_step ignores the claim's token",
        [Mutation(" and run.claim_token = begin_step.claim_token", "", "begin_step")],
        dead_worker_comes_back,
    ),
    Mutant(
        "the window includes its start",
        [Mutation("run.started_at > rule.started_after", "run.started_at >= rule.started_after", "reached")],
        runs_at_the_bounds,
    ),
    Mutant(
        "the window includes its end",
        [Mutation("run.started_at < rule.started_before", "run.started_at <= rule.started_before", "reached")],
        runs_at_the_bounds,
    ),
    Mutant(
        "the sweep cancels what has left the backlog",
        [
            Mutation(" and run.status || '' in ('queued', 'scheduled')", "", "cancel_backlog"),
            Mutation("cancelled_from = run.status", "cancelled_from = 'queued'", "cancel_backlog"),
        ],
        meeting("sweep", "sweep_cancellation", "batch evaluated", "claim"),
        committed=True,
    ),
    Mutant(
        "the sweep does not hold the record",
        [Mutation("sweep_cancellation.id for share", "sweep_cancellation.id", "sweep_cancellation")],
        stop_during_a_sweep,
        committed=True,
    ),
    Mutant(
        "stop does not take the lock",
        [Mutation("  perform secateur.lock_app(stopped.app_id);\n", "", "stop_cancellation")],
        meeting("claim", "claim_batch", "cancellations read", "stop"),
        committed=True,
    ),
    Mutant(
        "a run that goes back to the backlog is forgotten",
        [
            Mutation("  place.clean := place.clean and requeued = 0;\n", "", "sweep_cancellation"),
            Mutation("  place.found := place.found + requeued;\n", "", "sweep_cancellation"),
        ],
        retry_slips_past_the_sweep,
    ),
]


async def play(url: str, mutant: Mutant) -> None:
    stage = Stage(url)
    try:
        async with stage.scene(committed=mutant.committed) as here:
            await mutant.scenario(here)
            await here.settle()
            await here.verify()
    finally:
        stage.close()


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
async def test_is_noticed(mutant_url: Callable[[list[Mutation]], str], mutant: Mutant) -> None:
    with pytest.raises(GuaranteeBroken):
        await play(mutant_url(mutant.mutations), mutant)


@pytest.mark.parametrize(
    "mutant",
    [mutant for mutant in MUTANTS if " at " not in mutant.scenario.__name__],  # those are among the interleavings
    ids=lambda mutant: mutant.scenario.__name__,
)
async def test_its_scenario_passes_without_it(arena_url: str, mutant: Mutant) -> None:
    await play(arena_url, mutant)
