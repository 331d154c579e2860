"""What can go wrong between two operations, each as a story; the mutants are there to be noticed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from datetime import timedelta
from itertools import product
from typing import TypeAlias

import asyncpg
from operations import commit
from scene import GuaranteeBroken, Scene

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


async def bulk_stays_open(here: Scene) -> None:
    """The same, of runs that were copied."""
    producer, operator = await here.connect(), await here.connect()
    await here.complete(operator)
    async with producer.transaction():
        await here.enqueue_bulk(producer)
        await here.commit(operator)
        await sweep_until_idle(here, operator)


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


async def enqueue_takes_its_time(here: Scene) -> None:
    """Between its transaction's id and its time; what it takes after a commit is too late for the window."""
    operator = await here.connect()
    await here.complete(operator)
    async with here.paused("enqueue_many", "enter_runs", "id taken"):
        await here.commit(operator)
        await sweep_until_idle(here, operator)


async def stop_during_a_sweep(here: Scene) -> None:
    """Of a sweep's second batch, when there is no request any more that stop and sweep would both have to lock."""
    operator = await here.connect()
    await operator.fetch("select secateur.sweep_cancellation($1, $2, 1)", here.app, here.cancellation)
    await here.meet("sweep", "walk_backlog", "batch evaluated", "stop")


async def undo_during_a_sweep(here: Scene) -> None:
    """The same, and then what the sweep cancels must not be missing among what is restored."""
    operator = await here.connect()
    await operator.fetch("select secateur.sweep_cancellation($1, $2, 1)", here.app, here.cancellation)
    await here.meet("sweep", "walk_backlog", "batch evaluated", "undo")


async def undo_of_the_older_during_a_sweep(here: Scene) -> None:
    """Of the newer one's second batch, which would make the runs the older one's after that is undone."""
    operator = await here.connect()
    await operator.fetch("select secateur.sweep_cancellation($1, $2, 1)", here.app, here.newer)
    await here.meet("sweep_newer", "walk_backlog", "owners known", "undo")


async def confirmed_while_a_claim_is_open(here: Scene) -> None:
    """It claimed before the commit and cannot be seen yet: whoever puts the cancellation in force must wait for it."""
    operator = await here.connect()
    async with here.paused("claim", "complete_and_claim", "returned"):
        await here.commit(operator)
        await here.confirm(operator)
    await here.confirm(operator)


async def restored_what_another_means(here: Scene) -> None:
    operator = await here.connect()
    for _ in range(3):
        await here.restore(operator)


NO_WALK = "update secateur.levels set walk_at = now() + interval '50 s' where app_id = $1"


async def claims_find_all(here: Scene) -> None:
    """Right after the floors were raised, without the walk below them that finds what was lost a second later."""
    connection = await here.connect()
    await here.floors_may_rise(connection)
    await connection.fetchval("select secateur.raise_floors($1, array['sync', 'other'])", here.app)
    await connection.execute("update secateur.levels set walk_at = now() + interval '50 s' where app_id = $1", here.app)
    await here.claim(connection)
    left = await connection.fetchval(
        "select count(*) from secateur.runs where app_id = $1 and status = 'queued'"
        " and event #>> '{data,vendor_id}' = 'globex'",
        here.app,
    )
    if left:
        raise GuaranteeBroken(f"{left} runs wait that nobody cancels, and a claim of all does not find them")


async def search(here: Scene, connection: asyncpg.Connection) -> None:
    """Compares the list with the queue, as claims do when a second has passed since the last time."""
    await connection.execute(
        "update secateur.due_functions set empty_since = empty_since - interval '1 s' where app_id = $1", here.app
    )
    await connection.execute("update secateur.searches set next_at = now() where app_id = $1", here.app)
    await connection.execute("select secateur.search_due($1, '{}')", here.app)
    await connection.execute(
        "update secateur.searches set next_at = now() + interval '50 s' where app_id = $1", here.app
    )


async def listed(here: Scene, connection: asyncpg.Connection, what: str) -> None:
    """Claims the one run that waits in a function, without another search."""
    wide = ["empty", *(f"nobody-{n}" for n in range(20))]
    runs = await connection.fetch("select id from secateur.claim($1, $2, 5, 'wide', '1 hour')", here.app, wide)
    if len(runs) != 1:
        raise GuaranteeBroken(f"{what} is not found")


async def what_is_queued_is_on_the_list(here: Scene) -> None:
    """However enqueues and searches meet: claims that look only into functions on the list find what there is."""
    connection, producer = await here.connect(), await here.connect()
    for _ in range(2):
        await search(here, connection)
    await here.enqueue(connection, "empty", ["globex"])
    await listed(here, connection, "what was queued in a function that was not on the list")
    async with producer.transaction():
        await here.enqueue(producer, "empty", ["globex"])
        await search(here, connection)
    await listed(here, connection, "a run that was committed right after a search")
    async with producer.transaction():
        await here.enqueue(producer, "empty", ["globex"])
        await search(here, connection)
    await listed(here, connection, "what was queued after a search had found nothing, and committed after the next")
    async with producer.transaction():
        await here.enqueue(producer, "empty", ["globex"])
        for _ in range(2):
            await search(here, connection)
    await search(here, connection)
    await listed(here, connection, "a run that two searches did not see, by the one after its commit,")
    for _ in range(2):
        await search(here, connection)
    await here.enqueue(connection, "empty", ["globex"], delay="10 ms")
    await connection.execute("select pg_sleep(0.02)")
    await listed(here, connection, "what has fallen due")


UNHEARD = (
    ("enqueue_unheard", "wake", "known to mark_idle", "claim_nothing"),
    ("enqueue_unheard", "wake", "returned", "claim_nothing"),
    ("claim_nothing", "complete_and_claim", "nothing found", "enqueue_unheard"),
    ("claim_nothing", "mark_idle", "before the mark", "enqueue_unheard"),
    ("claim_nothing", "complete_and_claim", "marked idle", "enqueue_unheard"),
    ("claim_nothing", "complete_and_claim", "returned", "enqueue_unheard"),
)
"""How an enqueue that notifies nobody meets a claim that finds the end of the queue."""


async def whoever_queues_is_found_or_tells(here: Scene) -> None:
    """However an enqueue meets a claim that finds nothing, while workers seem to be busy: the claim finds the run, or
    says that there may be one, or the workers are notified."""
    connection, producer, worker = await here.connect(), await here.connect(), await here.connect()
    heard: list[object] = []
    await worker.add_listener("secateur_runs", lambda *notification: heard.append(notification[3]))

    async def judge(how: str, waited: int = 0) -> None:
        for _ in range(2):  # a notification comes after the answer to whatever was asked
            await worker.fetchval("select 1")
        found = [row for row in here.answer if row["id"] is not None]
        if len(found) <= waited and here.answer[-1]["more"] is not None and here.app not in heard:
            raise GuaranteeBroken(f"nobody learns of a run that waits: {how}")
        await here.claim_nothing(connection)
        await connection.execute("update secateur.idle set idle = false where app_id = $1", here.app)
        heard.clear()

    for waited, (paused, function, point, other) in product((0, 1), UNHEARD):
        # What waits is claimed, and the claim says as well whether that was all.
        await here.enqueue(connection, "empty", ["globex"] * waited)
        await here.meet(paused, function, point, other)
        await judge(f"{paused} at {point}, {other}, {waited} waited", waited)
    async with producer.transaction(isolation="repeatable_read"):
        await producer.fetchval("select count(*) from secateur.idle")
        await here.claim_nothing(connection)
        await here.enqueue_unheard(producer)
    await judge("enqueued in a snapshot that is older than the claim")


NO_WALK_DUE = "update secateur.due_floors set walk_at = now() + interval '50 s' where app_id = $1"
WALK_DUE = "update secateur.due_floors set walk_at = now() where app_id = $1"


async def fall_due(here: Scene, producer: asyncpg.Connection, vendors: list[str]) -> None:
    """Schedules runs in the function `empty`, and waits until they have been due for longer than `floor_lag`."""
    await here.enqueue(producer, "empty", vendors, delay="0.2 s")
    await producer.execute(
        "select pg_sleep_until(max(scheduled_for) + interval '0.3 s') from secateur.runs"
        " where app_id = $1 and function_id = 'empty' and status = 'scheduled'",
        here.app,
    )


async def due(here: Scene, connection: asyncpg.Connection, wanted: int, what: str) -> None:
    """Claims what is due in the function `empty`, without a look below its floor unless one is due."""
    runs = await connection.fetch("select id from secateur.claim($1, array['empty'], 50, 'due', '1 hour')", here.app)
    if len(runs) != wanted:
        raise GuaranteeBroken(f"{what}: a claim finds {len(runs)} of {wanted}")


async def what_is_due_is_found(here: Scene) -> None:
    """Behind hundreds of dead entries, which a held snapshot keeps, and however the floors are raised past these."""
    connection, other, holder = await here.connect(), await here.connect(), await here.connect()
    async with holder.transaction(isolation="repeatable_read"):
        await holder.fetchval("select count(*) from secateur.runs")
        await fall_due(here, connection, ["globex"] * 400)
        await connection.execute(
            "update secateur.runs set status = 'cancelled', cancelled_from = 'scheduled', finished_at = now()"
            " where app_id = $1 and function_id = 'empty'",
            here.app,
        )
        await fall_due(here, connection, ["globex"] * 2)
        async with other.transaction():
            await other.fetch(
                "select from secateur.runs where app_id = $1 and function_id = 'empty' and status = 'scheduled'"
                " for update",
                here.app,
            )
            await due(here, connection, 0, "what another holds")
            await _raise_due_floors(here, connection)
        await due(here, connection, 2, "runs that another held while the floor was raised")
        async with other.transaction():
            await fall_due(here, other, ["globex"])
            await _raise_due_floors(here, connection)
        await connection.execute(WALK_DUE, here.app)
        await due(here, connection, 1, "a run whose transaction ended after its time")
        await fall_due(here, connection, ["acme"])
        id = await commit(connection, here.app, "acme", function="empty")
        await here.step("sweep", connection, id)
        await _raise_due_floors(here, connection)
        await connection.fetchval("select secateur.undo_cancellation($1, $2, 'tester')", here.app, id)
        await here.step("restore", connection, id)
        await connection.execute(NO_WALK_DUE, here.app)
        await due(here, connection, 1, "a run that an undo has put back")


async def _raise_due_floors(here: Scene, connection: asyncpg.Connection) -> None:
    """As a claim does that has passed the dead entries, from the beginning."""
    await connection.execute(
        "update secateur.due_floors set floor_at = '-infinity' where app_id = $1 and function_id = 'empty'", here.app
    )
    await connection.execute("select secateur.raise_due_floors($1, array['empty'])", here.app)
    raised = await connection.fetchval(
        "select floor_at > '-infinity' from secateur.due_floors where app_id = $1 and function_id = 'empty'", here.app
    )
    assert raised, "there were too few dead entries"
    await connection.execute(NO_WALK_DUE, here.app)


async def leases_that_end_are_seen(here: Scene) -> None:
    """Those that had ended when the floor was raised, and those that end then."""
    connection, other = await here.connect(), await here.connect()
    async with other.transaction():
        await other.fetch("select from secateur.runs where app_id = $1 and status = 'running' for update", here.app)
        await connection.execute("select secateur.raise_lease_floor($1)", here.app)
    await connection.execute(NO_WALK_DUE, here.app)
    await connection.execute("select secateur.recover_expired($1)", here.app)
    left = await connection.fetchval(
        "select count(*) from secateur.runs where app_id = $1 and status = 'running' and lease_expires_at < now()",
        here.app,
    )
    if left:
        raise GuaranteeBroken(f"{left} runs whose lease has ended are not taken back")


async def run_behind_the_matches_is_held(here: Scene) -> None:
    """By another claim, which gives it back: who looked past it meanwhile may not have raised the floor past it."""
    connection, other = await here.connect(), await here.connect()
    async with other.transaction():
        await other.fetch(
            "select from secateur.runs where app_id = $1 and status = 'queued'"
            " and event #>> '{data,vendor_id}' = 'globex' for update",
            here.app,
        )
        await here.floors_may_rise(connection)
        await connection.execute(NO_WALK, here.app)
        await here.claim_few(connection)
    await claims_find_all(here)


async def prune_after_a_completion_in_a_commit(here: Scene) -> None:
    """The run ended while the commit asked it to stop: its request is open until the sweep has settled it."""
    operator = await here.connect()
    async with here.paused("complete", "complete_runs", "returned"):
        await here.commit(operator)
    async with operator.transaction():
        await here.prune(operator)


async def pruned_within_a_commit(here: Scene) -> None:
    """The run ended and was deleted, for nothing is kept, before the commit that asked it to stop was there."""
    operator = await here.connect()
    async with here.paused("commit", "commit_draft", "returned"):
        await here.complete(operator)
        async with operator.transaction():
            await here.prune(operator)


async def undo_at_the_last_moment(here: Scene) -> None:
    """It can still be undone when its runs begin to be pruned; then it cannot."""
    await here.meet("prune", "prune_cancelled", "record locked", "undo")


async def handed_over_while_pruned(here: Scene) -> None:
    """The newer one's runs are pruned, all of them, when it gets others."""
    await here.meet("restore", "restore_batch", "handed over", "prune")


async def prune_before_the_restore(here: Scene) -> None:
    """What an undo has yet to put back is kept, however long that takes."""
    operator = await here.connect()
    async with operator.transaction():
        await here.prune(operator)


async def one_at_a_time(here: Scene) -> None:
    """Two claims at once, of a function of which one run may run."""
    operator = await here.connect()
    await here.complete(operator)
    run = here.held["globex"]
    await operator.fetchval("select secateur.complete($1, $2, $3)", here.app, run["id"], run["claim_token"])
    await here.claim_nothing(operator)  # takes back those whose lease has ended
    await here.limit(operator)
    await here.meet("claim", "complete_and_claim", "batch locked", "claim_few")
    await here.verify()


CLAIM_AND_FLUSH = (
    "call secateur.claim_and_flush($1, '{}', '{}', null, 1, 'w', '1 hour',"
    " null, null, null, null, null, null, null, null, null, null)"
)


async def claimed_before_it_is_on_disk(here: Scene) -> None:
    """A claim that does not wait for the disk may be acted upon when `flush` says so: it is on disk then."""
    worker, watch = await here.connect(), await here.connect()
    await worker.execute("set synchronous_commit = on")
    for _ in range(5):
        await here.enqueue(watch, "sync", ["globex"])
        run = await worker.fetchrow(
            "select * from secateur.complete_and_claim($1, '{}', '{}', null, 1, 'w', '1 hour', durable => false)",
            here.app,
        )
        written = await watch.fetchval("select pg_current_wal_insert_lsn()::text")
        flush = "select secateur.flush($1, $2, $3)"
        status = await worker.fetchval(flush, here.app, run["id"], run["claim_token"])
        if not await watch.fetchval("select pg_current_wal_flush_lsn() >= $1::text::pg_lsn", written):
            raise GuaranteeBroken("a claim was to stand that is not on disk")
        if status != "running" or await worker.fetchval(flush, here.app, run["id"], here.cancellation) is not None:
            raise GuaranteeBroken("whether a claim stands is not told by its token")
    unwritten = 0
    for _ in range(10):
        await here.enqueue(watch, "sync", ["globex"])
        run = await worker.fetchrow(CLAIM_AND_FLUSH, here.app)
        assert run["claim_token"], "it was claimed"
        unwritten += await watch.fetchval("select pg_current_wal_insert_lsn() > pg_current_wal_flush_lsn()")
    # Others write as well, now and then.
    if unwritten > 5:
        raise GuaranteeBroken("a worker's claims return before they are on disk")
    await worker.execute("reset synchronous_commit")


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
        async with here.paused("commit", "commit_draft", "recorded"):
            await failing.enter_async_context(here.paused("fail", "fail", "not cancelled"))
        await sweep_until_idle(here, operator)
    await sweep_until_idle(here, operator)
    await here.verify()


async def _fail_and_retry(here: Scene, operator: asyncpg.Connection) -> None:
    """The held run has failed for good, and a retry of it is committed."""
    await operator.execute("update secateur.functions set max_attempts = 1 where app_id = $1", here.app)
    await here.fail(operator)
    await here.complete_late(operator)
    here.retrying = await here.commit_retry(operator)


async def cancelled_while_it_is_retried(here: Scene) -> None:
    """A retry reads the active cancellations just before a commit is there; its run is seen after the clean pass."""
    operator = await here.connect()
    await _fail_and_retry(here, operator)
    async with AsyncExitStack() as retrying:
        async with here.paused("commit", "commit_draft", "recorded"):
            await retrying.enter_async_context(here.paused("retry", "retry_batch", "cancellations read"))
        await sweep_until_idle(here, operator)
    await here.verify()


async def retried_while_it_is_cancelled(here: Scene) -> None:
    """By the cancellation's clean pass, which would not meet the run again."""
    operator = await here.connect()
    await _fail_and_retry(here, operator)
    await here.commit(operator)
    await here.sweep(operator)
    await here.meet("sweep", "walk_backlog", "batch read", "retry")
    await sweep_until_idle(here, operator)


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
    await operator.fetch("select secateur.sweep_cancellation($1, $2)", here.app, newer)


async def dead_worker_comes_back(here: Scene) -> None:
    """Its run was claimed again meanwhile: the old claim has no say in it any more."""
    connection = await here.connect()
    run = here.held["globex"]
    await connection.execute(
        "update secateur.runs set lease_expires_at = now() - interval '1 s' where id = $1", run["id"]
    )
    await here.claim(connection)
    await has_no_say(here, connection, here.app)


async def dead_worker_comes_back_to_a_cancelled_run(here: Scene) -> None:
    """Its lease ended, it was queued again, and there it was cancelled: that it ended does not bring it back."""
    connection = await here.connect()
    run = here.held["globex"]
    await connection.execute(
        "update secateur.runs set lease_expires_at = now() - interval '1 s' where id = $1", run["id"]
    )
    await connection.execute("select secateur.recover_expired($1)", here.app)
    id = await commit(connection, here.app, "globex")
    await here.step("sweep", connection, id)
    await has_no_say(here, connection, here.app)


async def claim_of_another_app(here: Scene) -> None:
    """It is named under an app whose lock keeps no commit away from it."""
    connection = await here.connect()
    await connection.execute("select secateur.ensure_function($1, 'sync')", f"{here.app}-b")
    await has_no_say(here, connection, f"{here.app}-b")


async def has_no_say(here: Scene, connection: asyncpg.Connection, app: str) -> None:
    """Whoever says, for the app, that it holds globex's run under the scene's claim."""
    run = here.held["globex"]
    calls = {
        "complete($1, $2, $3)": False,
        "finish_step($1, $2, $3, 'late', '1')": False,
        "interrupt($1, $2, $3, 'late')": None,
        "begin_step($1, $2, $3, 'late')": False,
        "fail($1, $2, $3, 'late')": None,
        "release($1, array[$2::uuid], array[$3::uuid])": 0,
        "heartbeat($1, array[$2::uuid], array[$3::uuid], '1 hour')": (run["id"], "lost"),
    }
    row = "select to_jsonb(run) from secateur.runs as run where run.app_id = $1 and run.id = $2"
    before = await connection.fetchval(row, here.app, run["id"])
    said = {
        call: await connection.fetchval(f"select secateur.{call}", app, run["id"], run["claim_token"]) for call in calls
    }
    if said != calls:
        raise GuaranteeBroken(f"the claim's calls said {said}")
    after = await connection.fetchval(row, here.app, run["id"])
    if after != before:
        raise GuaranteeBroken(f"the claim's calls made {after} of {before}")


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


KEEP_UNDECIDED = """
insert into secateur.slow_verdicts (app_id, cancellation_id, run_id, function_id) values ($1, $2, $3, 'sync')
"""


async def a_waiting_run_is_undecided(here: Scene) -> None:
    """As if the condition had taken too long on it: no claim and no sweep may act as if that were an answer."""
    operator = await here.connect()
    await operator.execute(KEEP_UNDECIDED, here.app, here.cancellation, here.waiting)
    await here.claim(operator)
    await here.begin_step(operator)
    await here.verify()
    for _ in range(5):
        await here.sweep(operator)
    await here.claim(operator)
    await here.verify()
    if await operator.fetchval("select secateur.decide_slowly($1, $2)", here.app, here.cancellation) != 1:
        raise GuaranteeBroken("what was undecided is not decided with more time")


async def a_running_run_is_undecided(here: Scene) -> None:
    """The commit had no time to find out whether to ask it to stop: it must not go on as if it had not matched."""
    operator = await here.connect()
    await operator.execute(KEEP_UNDECIDED, here.app, here.cancellation, here.held["acme"]["id"])
    await here.commit(operator)
    if await here.begin_step(operator):
        raise GuaranteeBroken("a step began of a run that may match")
    await here.claim(operator)
    await here.verify()
    await operator.fetchval("select secateur.decide_slowly($1, $2)", here.app, here.cancellation)
