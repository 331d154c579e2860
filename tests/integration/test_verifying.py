"""Whether a record is what it says: what secateur commits is verified, and a lie by SQL is shown."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from command_line import run

import secateur
from secateur import Queue
from secateur.cel import CANCEL_ON, COMPILER_VERSION, compile
from secateur.ledger.verifying import Compiled, verify
from secateur.records import Cancellation

IF = "event.data.v == 'acme'"
NOW = datetime.now(UTC)

HONEST: list[dict[str, Any]] = [
    {},
    {"if": IF},
    {"if": "event.data.a == 'x' || event.data.b in ['y', 'z']"},
    {"if": "event.data.n == 1e300 && event.data.deep.er == true"},
    {"if": "event.data.n in [1.5, 2] && event.data.text.startsWith('é\\n')"},
    {"if": "timestamp(event.data.at) < now - duration('1h') // said twice"},
    {"if": "has(event.data.items) && event.data.items.exists(i, i.n > 3)", "reason": "a loop", "rate": 500},
    {"function_id": "sync", "started_after": "2024-01-21T00:00:00Z", "started_before": "2024-01-22T01:00:00+01:00"},
    {"function_ids": ["sync", "invoices"], "if": IF},
    {"standing": True, "started_before": (NOW + timedelta(hours=1)).isoformat()},
]


@pytest.fixture
async def queue(embedded_url: str) -> AsyncIterator[Queue]:
    async with secateur.connect(embedded_url) as queue:
        await queue.enqueue_many(
            "billing", "sync", [{"name": "sync", "data": {"v": v, "n": 1}} for v in ("acme", "other")]
        )
        await queue.enqueue("billing", "invoices", {"name": "invoice", "data": {"n": 1}})
        yield queue


@pytest.mark.parametrize(
    "request_", HONEST, ids=lambda request: request.get("if", "")[:30] or "-".join(request) or "all"
)
async def test_what_secateur_commits_is_verified(request_: dict[str, Any], queue: Queue) -> None:
    for committed in await queue.cancel_all({"app_id": "billing", **request_}):
        assert verify(committed).compiled == Compiled.VERIFIED, verify(committed)
        assert verify(committed).in_words() is None


async def test_a_single_run_is_verified(queue: Queue) -> None:
    run = await queue.enqueue("billing", "sync", {"name": "sync"})
    assert verify(await queue.cancel_run(run, reason="a typo")).compiled == Compiled.VERIFIED


async def test_a_retry_is_verified(queue: Queue) -> None:
    window = {"started_after": "2024-01-21T00:00:00Z"}
    for more in ({}, {"if": IF}, {"if": IF, "with_cancelled": True, "rate": 5}, {"function_id": "sync", **window}):
        committed = await queue.retry({"app_id": "billing", **more})
        assert verify(committed).compiled == Compiled.VERIFIED, verify(committed)
        (entry,) = await queue.cancellations.audit(limit=1)
        assert entry.details["executed"]["condition"] == committed.condition


DECLARED = [
    {"match": "data.user_id"},
    {"match": 'data.a b.in."quoted"', "if": "async.data.hard == true && event.data.n > 1"},
    {"if": "event.data.user_id == async.data.user_id"},
    {"if": "event.data.user_id == async.data.user_id && (event.data.n == 1 // said twice\n)"},
    {},
]


@pytest.mark.parametrize("declared", DECLARED, ids=str)
async def test_what_events_commit_is_verified(declared: dict[str, str], queue: Queue) -> None:
    committed = await by_event(queue, declared)
    assert verify(committed).compiled == Compiled.VERIFIED, (committed.if_, verify(committed))


async def test_a_worker_that_declares_something_else_is_seen(queue: Queue) -> None:
    for condition, parameters in (("true", {}), ("run.event -> $1::text = $2::text::jsonb", {"1": "name", "2": '"x"'})):
        committed = await by_event(queue, {"if": IF}, condition=condition, parameters=parameters)
        verification = verify(committed)
        assert (verification.compiled, verification.differing) == (Compiled.UNVERIFIED, ("condition",))


async def test_what_another_version_compiled_cannot_be_told(queue: Queue) -> None:
    """Unless this one writes the same, or it differs in something that does not depend on the compiler."""
    other = await of_another_version(queue, await commit(queue, condition="true", parameters="{}"))
    assert verify(other).compiled == Compiled.OTHER_VERSION
    same = await of_another_version(queue, await commit(queue))
    assert verify(same).compiled == Compiled.VERIFIED
    lying = await of_another_version(queue, await commit(queue, request=json.dumps({"app_id": "mail", "if": IF})))
    assert verify(lying).compiled == Compiled.UNVERIFIED
    nothing = await of_another_version(queue, await queue.cancel({"app_id": "billing"}))
    assert verify(nothing).compiled == Compiled.VERIFIED


async def of_another_version(queue: Queue, committed: Cancellation) -> Cancellation:
    """As it is found after an upgrade of the program."""
    await queue.database.execute("update secateur.cancellations set compiler = 999 where id = $1", committed.id)
    return await queue.cancellations.get(committed.id)


async def by_event(queue: Queue, declared: dict[str, str], **instead: object) -> Cancellation:
    """What `user/deleted` commits. One that cannot be told to concern nobody: more runs than are looked at."""
    document: dict[str, object] = {"event": "user/deleted", **declared}
    if "if" in declared:
        condition, parameters = compile(declared["if"], CANCEL_ON).condition.stored()
        document |= {"condition": condition, "parameters": parameters, "compiler": COMPILER_VERSION}
    await queue.database.execute(
        "select secateur.declare_cancel_on('mail', 'welcome', $1)", json.dumps([document | instead])
    )
    await queue.enqueue_many("mail", "welcome", [{"name": "x"}] * 1001)
    data = {"user_id": "u1", "a b": {"in": {'"quoted"': 1}}, "hard": True}
    (made,) = (await queue.send({"name": "user/deleted", "data": data})).cancellations
    return await queue.cancellations.get(made.id)


async def commit(queue: Queue, **instead: Any) -> Cancellation:
    """By SQL, as the client does it, but for `instead`."""
    compiled = compile(IF)
    condition, parameters = compiled.condition.stored()
    assert compiled.requirement is not None
    arguments: dict[str, Any] = {
        "if": IF,
        "standing": False,
        "condition": condition,
        "parameters": json.dumps(parameters),
        "compiler": COMPILER_VERSION,
        "request": json.dumps({"app_id": "billing", "if": IF}),
        "requires": compiled.requirement.stored(),
        "requires_suffices": compiled.requirement.suffices,
        "started_after": None,
        "started_before": None,
        "rate": None,
        **instead,
    }
    made: UUID = await queue.database.fetchval(
        """select (secateur.commit_cancellation(
             id => $1, app_id => 'billing', function_id => null, "if" => $2, started_after => $3, started_before => $4,
             standing => $5, condition => $6, parameters => $7::jsonb, compiler => $8, request => $9::jsonb,
             idempotency_key => null, reason => null, source => 'tui', created_by => 'ada', expected => 1,
             expected_by_function => null, rate => $10, requires => $11::jsonb[], requires_suffices => $12)).id""",
        uuid4(),
        *(arguments[name] for name in ("if", "started_after", "started_before", "standing", "condition")),
        *(arguments[name] for name in ("parameters", "compiler", "request", "rate", "requires", "requires_suffices")),
    )
    return await queue.cancellations.get(made)


LIES: list[tuple[dict[str, Any], str]] = [
    ({"condition": "true", "parameters": "{}"}, "condition"),
    ({"condition": "true or true"}, "condition"),
    ({"parameters": '{"1": "data", "2": "v", "3": "\\"other\\""}'}, "parameters"),
    ({"parameters": '{"async": "{}"}'}, "parameters"),
    ({"condition": "false", "requires": ["{}"], "requires_suffices": True}, "condition"),
    ({"requires": ["{}"], "requires_suffices": True}, "requires"),
    ({"requires": ['{"data": {"v": true}}'], "requires_suffices": False}, "requires"),
    ({"if": None, "condition": None, "parameters": "{}", "request": '{"app_id": "billing"}'}, "requires"),
    ({"request": json.dumps({"app_id": "billing", "if": "event.data.n == 2"})}, "if"),
    ({"request": json.dumps({"app_id": "mail", "if": IF})}, "app_id"),
    ({"request": json.dumps({"app_id": "billing", "if": IF, "function_id": "sync"})}, "function_id"),
    ({"request": json.dumps({"app_id": "billing", "if": IF, "rate": 5})}, "rate"),
    ({"request": json.dumps({"app_id": "billing", "if": IF, "started_after": "yesterday"})}, "started_after"),
    ({"started_before": NOW - timedelta(hours=1)}, "started_before"),
    ({"if": "event.data.n ==", "request": json.dumps({"app_id": "billing", "if": "event.data.n =="})}, "condition"),
]


@pytest.mark.parametrize(("lie", "differing"), LIES, ids=lambda value: str(value)[:50])
async def test_a_lie_is_seen(lie: dict[str, Any], differing: str, queue: Queue) -> None:
    assert verify(await commit(queue)).compiled == Compiled.VERIFIED
    verification = verify(await commit(queue, **lie))
    assert verification.compiled == Compiled.UNVERIFIED
    assert differing in verification.differing


async def test_the_audit_keeps_what_was_executed(queue: Queue) -> None:
    committed = await commit(queue, condition="true", parameters="{}")
    entry = next(each for each in await queue.cancellations.audit() if each.cancellation_id == committed.id)
    executed = entry.details["executed"]
    assert (executed["condition"], executed["compiler"]) == ("true", COMPILER_VERSION)
    assert executed["requires"] == [{"data": {"v": "acme"}}]


async def test_people_are_told(queue: Queue, embedded_url: str) -> None:
    honest, lying = await commit(queue), await commit(queue, condition="true", parameters="{}")
    foreign = await of_another_version(queue, await commit(queue, condition="true", parameters="{}"))
    shown = {
        each.id: (await asyncio.to_thread(run, "show", str(each.id), url=embedded_url)).out
        for each in (honest, lying, foreign)
    }
    assert "compiler" not in shown[honest.id]
    assert "not compiled by secateur: it does not execute what it says (condition)" in shown[lying.id]
    assert "compiled by another version of secateur" in shown[foreign.id]
    assert "ada, from tui (claimed, not verified)" in shown[lying.id]
    assert "by role postgres" in shown[lying.id]
    told = {each["id"]: each for each in (await asyncio.to_thread(run, "history", "--json", url=embedded_url)).json}
    assert told[str(honest.id)]["compiled"] == "verified"
    assert told[str(lying.id)]["compiled"] == "unverified"
    assert told[str(foreign.id)]["compiled"] == "other_version"
    assert told[str(lying.id)]["created_role"] == "postgres"
    history = (await asyncio.to_thread(run, "history", url=embedded_url)).out
    assert history.count("(not compiled by secateur)") == 1
