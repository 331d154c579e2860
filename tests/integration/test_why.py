"""Why a run is where it is: each reason, each cancellation that touches it, and which part of it decided."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from api_client import data_of, failure_of, running_api
from command_line import Here

import secateur
from patience import eventually
from secateur.engines.native.client import Queue
from secateur.errors import NotFound
from secateur.looking.telling import others, sentence, timeline
from secateur.looking.why import Reason, TouchEffect, Why

pytestmark = pytest.mark.one_postgres

CLAIM = "select id, claim_token from secateur.claim('billing', null, $1, 'worker-7', $2)"
HOUR = timedelta(hours=1)
EVENT = {"name": "sync", "data": {"vendor_id": "acme_inc", "amount": 250}}


@pytest.fixture
async def queue(database_url: str) -> AsyncIterator[Queue]:
    async with secateur.connect(database_url) as queue:
        yield queue


async def enqueue(queue: Queue, **more: Any) -> UUID:
    return await queue.enqueue("billing", "sync", EVENT, **more)


async def claim(queue: Queue, lease: timedelta = HOUR) -> asyncpg.Record:
    (held,) = await queue.database.fetch(CLAIM, 1, lease)
    return held


async def fail(queue: Queue, held: asyncpg.Record, error: str = "KeyError: 'vendor'", **more: object) -> str:
    status: str = await queue.database.fetchval(
        "select secateur.fail('billing', $1, $2, $3, discard => $4)",
        *(held["id"], held["claim_token"], error, bool(more.get("discard"))),
    )
    return status


async def cancel(queue: Queue, if_: str | None, *, swept: bool = False, **more: Any) -> UUID:
    request = {"app_id": "billing", **({} if if_ is None else {"if": if_})}
    return (await queue.cancel(request, author="nadia", reason="a loop", wait=swept, **more)).id


async def told(queue: Queue, run_id: UUID) -> tuple[Why, str]:
    why = await queue.why(run_id)
    return why, sentence(why)


async def test_it_waits_for_its_turn(queue: Queue) -> None:
    first, second, third = await queue.enqueue_many("billing", "sync", [EVENT] * 3)
    urgent = await enqueue(queue, priority=5)
    why, said = await told(queue, third)
    assert why.reason is Reason.NO_WORKER
    assert said == "Nothing holds it up, but no worker seems to serve billing: start one."
    await claim(queue)  # takes the urgent one
    assert (await queue.get(urgent)).status == "running"
    why, said = await told(queue, third)
    assert (why.reason, why.trace.ahead) == (Reason.QUEUED, 2)
    assert said.startswith("It waits for its turn: 2 runs are ahead of it, and ")
    assert (await told(queue, second))[1].startswith("It waits for its turn: 1 run is ahead of it")
    assert (await told(queue, first))[1] == "It is the first of its function: the next claim takes it."


async def test_it_is_scheduled(queue: Queue) -> None:
    run = await enqueue(queue, scheduled_for=(await queue.engine.clock()) + 2 * HOUR)
    why, said = await told(queue, run)
    assert why.reason is Reason.SCHEDULED
    assert said.startswith("It is scheduled: it becomes due in 1h 59m")
    assert [moment.what for moment in timeline(why.run, why.trace)] == ["queued", "due"]


async def test_it_failed_and_is_tried_again(queue: Queue) -> None:
    run = await enqueue(queue)
    assert await fail(queue, await claim(queue)) == "scheduled"
    await queue.database.execute("update secateur.runs set scheduled_for = now() + interval '1 hour'")
    why, said = await told(queue, run)
    assert why.reason is Reason.BACKING_OFF
    assert said.startswith("Attempt 1 failed: KeyError: 'vendor'; the next attempt is due in 59m")
    (attempt,) = why.run.attempts
    assert (attempt.number, attempt.outcome, attempt.worker) == (1, "failed", "worker-7")
    assert attempt.error == "KeyError: 'vendor'"
    assert attempt.began_at is not None
    assert attempt.ended_at is not None
    assert attempt.began_at < attempt.ended_at
    assert [moment.what for moment in timeline(why.run)] == ["queued", "attempt 1 began", "attempt 1 failed", "due"]


async def test_it_failed_for_good(queue: Queue) -> None:
    run = await enqueue(queue)
    assert await fail(queue, await claim(queue), "ValueError: no\nline 2", discard=True) == "failed"
    why, said = await told(queue, run)
    assert why.reason is Reason.FAILED
    assert said == "It failed for good just now, on attempt 1 of 4: ValueError: no."
    assert [attempt.outcome for attempt in why.run.attempts] == ["failed"]
    assert [moment.what for moment in timeline(why.run)] == ["queued", "attempt 1 began", "failed"]


async def test_it_completed_after_an_interruption(queue: Queue) -> None:
    run = await enqueue(queue)
    held = await claim(queue)
    interrupt = "select secateur.interrupt('billing', $1, $2, 'the worker stops')"
    assert await queue.database.fetchval(interrupt, run, held["claim_token"]) == "queued"
    held = await claim(queue)
    await queue.database.execute("select secateur.complete('billing', $1, $2)", run, held["claim_token"])
    why, said = await told(queue, run)
    assert said == "It completed just now, on attempt 1 of 4."
    assert [(each.number, each.outcome) for each in why.run.attempts] == [(1, "interrupted"), (1, "completed")]


async def test_its_worker_is_gone(queue: Queue) -> None:
    run = await enqueue(queue)
    await claim(queue, timedelta(milliseconds=1))
    over = "select bool_and(lease_expires_at < now()) from secateur.runs where status = 'running'"
    await eventually(lambda: queue.database.fetchval(over), "the end of the lease")
    why, said = await told(queue, run)
    assert why.reason is Reason.LOST
    assert said.startswith("worker worker-7 is gone: the lease of attempt 1 of 4 ended just now; start a worker")
    await claim(queue)
    why, said = await told(queue, run)
    assert said.startswith("It has been running for 0 s on worker worker-7 (attempt 2 of 4)")
    assert [(each.number, each.outcome) for each in why.run.attempts] == [(1, "lost"), (2, "running")]


async def test_it_is_paused_and_limited(queue: Queue) -> None:
    await queue.database.execute("select secateur.register_function('billing', 'sync', '{}', 4, 1)")
    await enqueue(queue)
    run = await enqueue(queue)
    await claim(queue)
    why, said = await told(queue, run)
    assert why.reasons == (Reason.LIMITED,)
    assert said == "billing / sync may run 1 run at once, and does: it waits for one of them to end."
    await queue.pause("billing", "sync", author="nadia")
    await queue.pause("billing", author="omar")
    why, said = await told(queue, run)
    assert why.reasons == (Reason.PAUSED, Reason.LIMITED)
    assert said == "The app billing was paused by omar just now: nothing of it starts."
    assert others(why)[0].startswith("billing / sync may run 1 run")
    await queue.resume("billing", author="omar")
    assert (await told(queue, run))[1] == "billing / sync was paused by nadia just now: nothing of it starts."


async def test_a_cancellation_cancelled_it(queue: Queue) -> None:
    run = await enqueue(queue)
    id = await cancel(queue, "event.data.vendor_id == 'globex' || event.data.amount > 100", swept=True)
    why, said = await told(queue, run)
    assert why.reason is Reason.CANCELLED
    assert said == "It was cancelled just now by nadia (“a loop”), because event.data.amount > 100 (it is 250)."
    (touch,) = why.touches
    assert (touch.cancellation.id, touch.effect) == (id, TouchEffect.CANCELLED)
    assert [part.text for part in touch.decided_by] == ["event.data.amount > 100"]


async def test_a_cancellation_matches_what_it_has_not_swept(queue: Queue) -> None:
    run = await enqueue(queue)
    await cancel(queue, "event.data.vendor_id == 'acme_inc' && event.data.amount > 100")
    why, said = await told(queue, run)
    assert why.reason is Reason.MATCHED
    assert said == (
        "The cancellation by nadia (“a loop”) matches it, because event.data.vendor_id == 'acme_inc' and "
        "event.data.amount > 100 (it is 250): no worker starts it any more."
    )


async def test_cancellations_that_do_not_match_say_why(queue: Queue) -> None:
    run = await enqueue(queue)
    await cancel(queue, "event.data.vendor_id == 'globex' && event.data.amount > 100")
    await cancel(queue, "event.data.missing > 3")
    later = await enqueue(queue)
    why, said = await told(queue, run)
    assert why.reason is Reason.NO_WORKER
    errors, other = why.touches
    assert (errors.effect, other.effect) == (TouchEffect.CANNOT_BE_EVALUATED, TouchEffect.DOES_NOT_MATCH)
    assert [part.text for part in other.decided_by] == ["event.data.vendor_id == 'globex'"]
    assert {each.effect for each in (await queue.why(later)).touches} == {TouchEffect.OUTSIDE_WINDOW}
    assert "Nothing" in said


async def test_a_running_run_is_asked_to_stop(queue: Queue) -> None:
    run = await enqueue(queue)
    held = await claim(queue)
    await queue.database.fetchval("select secateur.begin_step('billing', $1, $2, 'charge')", run, held["claim_token"])
    id = await cancel(queue, "event.data.amount == 250")
    why, said = await told(queue, run)
    assert why.reason is Reason.STOPPING
    assert said.startswith("It has been running for 0 s on worker worker-7 (attempt 1 of 4), at step charge.")
    assert said.endswith("The cancellation by nadia (“a loop”) asked it to stop: it does at its next step.")
    assert [str(id)] == [each.cancellation_id for each in why.trace.stop_requests]
    assert "asked to stop" in [moment.what for moment in timeline(why.run, why.trace)]
    await queue.database.execute("select secateur.complete('billing', $1, $2)", run, held["claim_token"])
    await queue.cancellations.wait(id)
    (touch,) = (await queue.why(run)).touches
    assert touch.effect is TouchEffect.FINISHED_FIRST


async def test_a_condition_that_takes_too_long_holds_it_back(queue: Queue) -> None:
    run = await enqueue(queue)
    id = await cancel(queue, "event.data.amount == 250")
    await queue.database.execute(
        "insert into secateur.slow_verdicts (app_id, cancellation_id, run_id, function_id) values ($1, $2, $3, 'sync')",
        *("billing", id, run),
    )
    why, said = await told(queue, run)
    assert why.reason is Reason.UNDECIDED
    assert said == (
        "The cancellation by nadia (“a loop”) holds it back, because its condition takes too long on this event: "
        "it waits until that is decided."
    )


async def test_it_was_cancelled_by_an_event(queue: Queue) -> None:
    run = await enqueue(queue)
    await queue.database.execute(
        'select secateur.declare_cancel_on(\'billing\', \'sync\', \'[{"event": "over", "match": "data.vendor_id"}]\')'
    )
    await queue.send({"name": "over", "data": {"vendor_id": "acme_inc"}})
    (cancellation,) = await queue.history()
    await queue.cancellations.wait(cancellation.id)
    why, said = await told(queue, run)
    assert why.reason is Reason.CANCELLED
    assert "because event.data.vendor_id == async.data.vendor_id" in said


async def test_a_retry_and_its_undo(queue: Queue) -> None:
    run = await enqueue(queue)
    await fail(queue, await claim(queue), discard=True)
    before = await queue.database.fetchval("select to_jsonb(runs) - 'retried_from' from secateur.runs")
    retry = await queue.retry({"app_id": "billing"}, author="nadia", wait=True)
    why = await queue.why(run)
    assert [(each.cancellation.id, each.effect) for each in why.touches] == [(retry.id, TouchEffect.RETRIED)]
    assert [(each.number, each.outcome) for each in why.run.attempts] == [(1, "failed")]
    await queue.undo(retry.id, wait=True)
    after = await queue.database.fetchval("select to_jsonb(runs) - 'retried_from' from secateur.runs")
    assert json.loads(after) == json.loads(before)


async def test_finished_steps_are_listed(queue: Queue) -> None:
    run = await enqueue(queue)
    held = await claim(queue)
    for name, result in (("charge", '{"ok": true}'), ("mail", json.dumps("x" * 200_000))):
        await queue.database.fetchval(
            "select secateur.begin_step('billing', $1, $2, $3)", run, held["claim_token"], name
        )
        await queue.database.fetchval(
            "select secateur.finish_step('billing', $1, $2, $3, $4)", run, held["claim_token"], name, result
        )
    charge, mail = (await queue.why(run)).trace.steps
    assert (charge.name, charge.result) == ("charge", {"ok": True})
    assert mail.name == "mail"


async def test_the_last_twenty_attempts_are_kept(queue: Queue) -> None:
    run = await enqueue(queue)
    await queue.database.execute("update secateur.functions set max_attempts = 100")
    for _ in range(23):
        await fail(queue, await claim(queue), "e" * 5000)
        await queue.database.execute("update secateur.runs set scheduled_for = now() - interval '1 s'")
    kept = (await queue.get(run)).past_attempts
    assert [each.number for each in kept] == list(range(4, 24))
    assert {len(each.error or "") for each in kept} == {2000}


async def test_the_same_at_every_entrance(queue: Queue, here: Here, database_url: str) -> None:
    run = await enqueue(queue)
    await cancel(queue, "event.data.amount > 100", swept=True)
    said = sentence(await queue.why(run))
    async with running_api(queue.database) as client:
        why = data_of(await client.get(f"/v1/runs/{run}/why"))
        shown = data_of(await client.get(f"/v1/runs/{run}"))
        failure_of(await client.get(f"/v1/runs/{uuid4()}/why"), 404)
        (detail,) = failure_of(await client.get("/v1/runs/17/why"), 400).details
        assert detail.field == "run_id"
    assert (why["run_id"], why["reason"], why["sentence"]) == (str(run), "cancelled", said)
    (touch,) = why["cancellations"]
    assert touch["effect"] == "cancelled"
    assert touch["decided_by"] == [
        {
            "text": "event.data.amount > 100",
            "value": "true",
            "parts": [{"text": "event.data.amount", "value": "250", "parts": []}],
        }
    ]
    assert [moment["what"] for moment in shown["timeline"]] == ["queued", "cancelled"]

    def run_here(*arguments: str) -> Any:
        return asyncio.to_thread(here, *arguments, url=database_url)

    done = await run_here("why", str(run), "--json")
    assert json.loads(done.out) | {"as_of": None} == why | {"as_of": None}
    done = await run_here("run", str(run), "--json")
    assert json.loads(done.out) == shown
    done = await run_here("why", str(run))
    assert done.out.startswith(said)
    assert "decided by    event.data.amount > 100 (it is 250)" in done.out
    done = await run_here("run", str(run))
    for expected in (said, "acme_inc", "queued", "cancelled", "cancellation"):
        assert expected in done.out
    for command in (["why"], ["run"], ["cancel-run", "--yes"], ["restore-run"]):
        done = await run_here(*command, "17")
        assert (done.code, done.err) == (2, "secateur: '17' is not a run's id; `secateur runs --app APP` lists runs\n")
    done = await run_here("run", str(uuid4()))
    assert done.code == 1
    assert "there is no run" in done.err
    with pytest.raises(NotFound):
        await queue.why(uuid4())
