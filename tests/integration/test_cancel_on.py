"""What an event does besides starting runs: `cancel_on`, and what cancelled runs send themselves."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from workers import in_status, working

import secateur
from secateur import ActiveRun, App, CancelOn, Queue
from secateur.cel import CANCEL_ON, COMPILER_VERSION, compile
from secateur.errors import RequestError, UsageError
from secateur.runs import RunStatus

pytestmark = pytest.mark.one_postgres

HOUR = timedelta(hours=1)
EDITED = {"event": "user/edited", "match": "data.user_id"}
DELETED = {"event": "user/deleted", "match": "data.user_id"}


@pytest.fixture
async def queue(database_url: str) -> AsyncIterator[Queue]:
    async with secateur.connect(database_url) as queue:
        yield queue


def compiled(event: str, source: str, **more: object) -> dict[str, object]:
    """A declaration with `if`, as a worker makes it."""
    condition, parameters = compile(source, CANCEL_ON).condition.stored()
    return {
        "event": event,
        "if": source,
        "condition": condition,
        "parameters": parameters,
        "compiler": COMPILER_VERSION,
        **more,
    }


async def declare(queue: Queue, function_id: str, *declarations: dict[str, object], app_id: str = "billing") -> None:
    await queue.database.execute(
        "select secateur.declare_cancel_on($1, $2, $3)", app_id, function_id, json.dumps(declarations)
    )


async def listen(queue: Queue, app_id: str, function_id: str, *names: str) -> None:
    await queue.database.execute("select secateur.register_function($1, $2, $3, 4)", app_id, function_id, list(names))


def event(name: str, user: object = "u1", **more: object) -> dict[str, object]:
    return {"name": name, "data": {"user_id": user}} | more


async def start(queue: Queue, user: object = "u1", function_id: str = "sync", **more: object) -> UUID:
    return await queue.enqueue("billing", function_id, event("user/created", user, **more))


async def send(queue: Queue, sent: dict[str, object]) -> tuple[list[UUID], list[UUID]]:
    """The runs that it started, and the cancellations that it committed."""
    rows = await queue.database.fetch("select * from secateur.send($1)", json.dumps(sent))
    return (
        [row["run_id"] for row in rows if row["run_id"]],
        [row["cancellation_id"] for row in rows if row["cancellation_id"]],
    )


async def claim(queue: Queue, app_id: str = "billing") -> list[asyncpg.Record]:
    return await queue.database.fetch("select * from secateur.claim($1, null, 100, 'tester', '1 hour')", app_id)


async def step(queue: Queue, run: asyncpg.Record) -> bool:
    return await queue.database.fetchval(
        "select secateur.begin_step($1, $2, $3, 'next')", run["app_id"], run["id"], run["claim_token"]
    )


async def sweep(queue: Queue) -> None:
    for rule in await queue.database.fetch(
        "select id from secateur.cancellations where state = 'active' order by serial"
    ):
        await queue.cancellations.wait(rule["id"])


async def status(queue: Queue, run_id: UUID) -> RunStatus:
    return (await queue.engine.run(run_id)).status


async def cancelled(queue: Queue, *run_ids: UUID) -> list[bool]:
    """Which of them are, when everything has been rewritten."""
    await sweep(queue)
    return [await status(queue, run_id) == RunStatus.CANCELLED for run_id in run_ids]


async def announced(queue: Queue, app_id: str = "audit") -> list[Any]:
    rows = await queue.database.fetch("select event from secateur.runs where app_id = $1 order by id", app_id)
    return [json.loads(row["event"]) for row in rows]


# Declaring.


async def test_a_declaration_is_what_the_compiler_makes_of_the_expression(queue: Queue) -> None:
    await declare(queue, "sync", DELETED | {"timeout": "90 minutes"})
    [kept] = json.loads(await queue.database.fetchval("select cancel_on from secateur.functions"))
    made = compile("event.data.user_id == async.data.user_id", CANCEL_ON).condition
    assert kept == {
        "event": "user/deleted",
        "match": "data.user_id",
        "if": "event.data.user_id == async.data.user_id",
        "condition": made.sql,
        "parameters": made.stored()[1],
        "compiler": COMPILER_VERSION,
        "timeout": "PT1H30M",
    }
    await declare(queue, "sync", compiled("user/deleted", "async.ts > 5 // five", match="data.in"))
    [kept] = json.loads(await queue.database.fetchval("select cancel_on from secateur.functions"))
    assert kept["if"] == 'event.data["in"] == async.data["in"] && (async.ts > 5 // five\n)'
    compile(kept["if"], CANCEL_ON)
    await declare(queue, "sync")
    assert await queue.database.fetchval("select cancel_on from secateur.functions") == "[]"


async def test_all_that_is_wrong_is_said_at_once(queue: Queue) -> None:
    bad: list[object] = [
        {"match": "data..id", "when": 1},
        {"event": "", "match": "event.data.id", "timeout": "yesterday"},
        {"event": "x", "if": "async.ts > 1", "timeout": "-1 hour"},
        {"event": "function.cancelled", "match": "", "timeout": "1000000 years"},
        "user/deleted",
        {"event": "x", "match": 5, "timeout": 5},
    ]
    with pytest.raises(RequestError) as raised:
        await declare(queue, "sync", *bad)
    assert {problem.field for problem in raised.value.problems} == {"cancel_on"}
    assert [problem.message for problem in raised.value.problems] == [
        "must have at most 5 declarations, not 6",
        "declaration 1, when: is not a field of a declaration; the fields are event, if, match and timeout",
        "declaration 1, event: must be the name of an event",
        "declaration 1, match: must be the path of a field of the event, such as data.user_id",
        "declaration 2, event: must be the name of an event",
        "declaration 2, match: must be a path inside the event, without the prefix event",
        "declaration 2, timeout: must be a duration above zero and at most 100 years, such as 1 hour or PT1H",
        "declaration 3, timeout: must be a duration above zero and at most 100 years, such as 1 hour or PT1H",
        "declaration 3, if: must be given together with its compiled condition, parameters and compiler; "
        "to compare one field, use match instead",
        "declaration 4, event: function.cancelled can only trigger functions; it cannot cancel runs",
        "declaration 4, match: must be the path of a field of the event, such as data.user_id",
        "declaration 4, timeout: must be a duration above zero and at most 100 years, such as 1 hour or PT1H",
        'declaration 5: must be a JSON object with at least the field "event"',
        "declaration 6, match: must be the path of a field of the event, such as data.user_id",
        "declaration 6, timeout: must be a duration above zero and at most 100 years, such as 1 hour or PT1H",
    ]
    assert await queue.database.fetchval("select count(*) from secateur.functions") == 0


@pytest.mark.parametrize(
    "condition",
    [
        "true) or (true",
        "true; drop table secateur.runs",
        "pg_sleep(10) is null",
        "exists (select from secateur.runs)",
        "$later::text = $async::text",
    ],
)
async def test_no_other_sql_can_be_declared(queue: Queue, condition: str) -> None:
    for extra in ({}, {"match": "data.user_id"}):
        with pytest.raises(Exception, match=r"stored condition|bracket"):
            await declare(queue, "sync", compiled("x", "true") | {"condition": condition} | extra)


async def test_a_path_is_no_sql(queue: Queue) -> None:
    await declare(queue, "sync", {"event": "user/deleted", "match": "data.') or ('1' = '1.$1 -- \\"})
    runs = [await start(queue), await start(queue, "u2")]
    assert await send(queue, event("user/deleted")) == ([], [])
    assert await cancelled(queue, *runs) == [False, False]


# Cancelling.


async def test_an_event_cancels_the_runs_that_match(queue: Queue) -> None:
    await declare(queue, "sync", DELETED)
    mine, other = [await start(queue), await start(queue, delay=1)], await start(queue, "u2")
    elsewhere = await start(queue, function_id="other")
    nameless = await queue.enqueue("billing", "sync", {"name": "user/created", "data": {}})
    started, [cancellation] = await send(queue, event("user/deleted", id="e1"))
    assert started == []
    committed = await queue.cancellations.get(cancellation)
    assert (committed.kind, committed.source, committed.created_by) == ("event", "event", "user/deleted")
    assert (committed.function_id, committed.if_) == ("sync", "event.data.user_id == async.data.user_id")
    assert committed.reason == 'data.user_id is "u1"'
    assert {run["id"] for run in await claim(queue)} == {other, elsewhere, nameless}
    assert await cancelled(queue, *mine, other, elsewhere, nameless) == [True, True, False, False, False]
    assert (await queue.cancellations.get(cancellation)).state == "complete"


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (5, 5),
        (5, 5.0),
        (5, "5"),
        (None, None),
        (True, True),
        ({"a": [1]}, {"a": [1.0]}),
        ([1], [2]),
        (9007199254740993, 9007199254740992.0),
    ],
)
async def test_match_is_the_languages_equality(queue: Queue, ours: object, theirs: object) -> None:
    equality = compile("event.data.user_id == async.data.user_id", CANCEL_ON)
    same = equality.evaluate({"event": event("x", ours), "async": event("x", theirs)})
    await declare(queue, "sync", DELETED)
    run = await start(queue, ours)
    _, committed = await send(queue, event("user/deleted", theirs))
    assert len(committed) == same
    assert await cancelled(queue, run) == [same]


async def test_a_field_that_either_event_lacks_is_no_match(queue: Queue) -> None:
    await declare(queue, "sync", DELETED, {"event": "user/edited", "match": "data.user_id.id"})
    runs = [await start(queue), await queue.enqueue("billing", "sync", {"name": "x"}), await start(queue, ["u1"])]
    for sent in ({"name": "user/deleted"}, {"name": "user/deleted", "data": ["user_id"]}, event("user/edited")):
        assert await send(queue, sent) == ([], [])
    assert await cancelled(queue, *runs) == [False] * 3


async def test_if_reads_both_events(queue: Queue) -> None:
    await declare(
        queue, "sync", compiled("plan/changed", "async.data.limit < event.data.user_id && now > run.started_at")
    )
    small, large = await start(queue, 3), await start(queue, 30)
    await send(queue, {"name": "plan/changed", "data": {"limit": 10}})
    assert await cancelled(queue, small, large) == [False, True]


async def test_if_and_match_must_both_hold(queue: Queue) -> None:
    await declare(queue, "sync", compiled("user/deleted", "event.data.n > 1 || async.all", match="data.user_id"))
    runs = [
        await queue.enqueue("billing", "sync", {"name": "x", "data": {"user_id": user, "n": n}})
        for user, n in (("u1", 1), ("u1", 2), ("u2", 2))
    ]
    await send(queue, event("user/deleted"))
    assert await cancelled(queue, *runs) == [False, True, False]
    await send(queue, event("user/deleted", all=True))
    assert await cancelled(queue, *runs) == [True, True, False]


async def test_without_match_and_if_every_run_is_meant(queue: Queue) -> None:
    await declare(queue, "sync", {"event": "stop"})
    runs = [await start(queue), await start(queue, "u2")]
    elsewhere = await start(queue, function_id="other")
    await send(queue, {"name": "stop"})
    assert await cancelled(queue, *runs, elsewhere) == [True, True, False]


async def test_an_event_after_the_timeout_is_too_late(queue: Queue) -> None:
    await declare(queue, "sync", DELETED | {"timeout": "1h"})
    old, young = await start(queue), await start(queue)
    await queue.database.execute(
        "update secateur.runs set started_at = started_at - interval '61 min' where id = $1", old
    )
    await send(queue, event("user/deleted"))
    assert await cancelled(queue, old, young) == [False, True]


async def test_each_of_several_declarations_counts(queue: Queue) -> None:
    await declare(queue, "sync", EDITED, DELETED, {"event": "user/deleted", "match": "data.team"})
    await declare(queue, "invite", DELETED)
    by_user, by_team = await start(queue), await queue.enqueue("billing", "sync", {"data": {"team": "t1"}})
    invite, other = await start(queue, function_id="invite"), await start(queue, "u2")
    _, committed = await send(queue, {"name": "user/deleted", "data": {"user_id": "u1", "team": "t1"}})
    assert len(committed) == 3
    assert await cancelled(queue, by_user, by_team, invite, other) == [True, True, True, False]


async def test_functions_of_several_apps_are_reached(queue: Queue) -> None:
    for app_id in ("b", "a"):
        await declare(queue, "sync", DELETED, app_id=app_id)
    runs = [await queue.enqueue(app_id, "sync", event("x")) for app_id in ("a", "b")]
    assert len((await send(queue, event("user/deleted")))[1]) == 2
    assert await cancelled(queue, *runs) == [True, True]


async def test_the_runs_that_the_event_starts_are_not_cancelled_by_it(queue: Queue) -> None:
    await listen(queue, "billing", "sync", "user/edited")
    await declare(queue, "sync", EDITED)
    [first], committed = await send(queue, event("user/edited"))
    assert committed == []
    [second], [_] = await send(queue, event("user/edited"))
    [running] = await claim(queue)
    [third], [_] = await send(queue, event("user/edited"))
    assert running["id"] == second
    assert not await step(queue, running)
    assert await cancelled(queue, first, second, third) == [True, True, False]


async def test_a_running_run_stops_at_its_next_step(queue: Queue) -> None:
    await declare(queue, "sync", DELETED)
    mine, other = await start(queue), await start(queue, "u2")
    held = {run["id"]: run for run in await claim(queue)}
    assert await step(queue, held[mine])
    await send(queue, event("user/deleted"))
    assert not await step(queue, held[mine])
    assert await step(queue, held[other])
    assert await status(queue, mine) == RunStatus.CANCELLED


async def test_finished_and_later_runs_are_left_alone(queue: Queue) -> None:
    await declare(queue, "sync", DELETED)
    done = await start(queue)
    [run] = await claim(queue)
    await queue.database.execute("select secateur.complete('billing', $1, $2)", run["id"], run["claim_token"])
    assert await send(queue, event("user/deleted")) == ([], [])
    later = await start(queue)
    assert await cancelled(queue, done, later) == [False, False]


async def test_an_event_that_concerns_nobody_leaves_no_trace(queue: Queue) -> None:
    await declare(queue, "sync", DELETED)
    await start(queue, "u2")
    for _ in range(3):
        await send(queue, event("user/deleted"))
    assert await queue.database.fetchval("select count(*) from secateur.cancellations") == 0


async def test_a_large_backlog_is_not_looked_through(queue: Queue) -> None:
    await declare(queue, "sync", DELETED)
    await queue.enqueue_many("billing", "sync", [event("x", f"v{n}") for n in range(1_001)])
    _, [cancellation] = await send(queue, event("user/deleted"))
    await sweep(queue)
    assert (await queue.cancellations.get(cancellation)).cancelled == 0


async def test_a_run_whose_transaction_is_still_open_is_reached(queue: Queue, database_url: str) -> None:
    await declare(queue, "sync", DELETED)
    other = await asyncpg.connect(database_url)
    try:
        async with other.transaction():
            run = await other.fetchval(
                "select secateur.enqueue('billing', 'sync', $1)", json.dumps(event("user/created"))
            )
            _, [_] = await send(queue, event("user/deleted"))
        assert await claim(queue) == []
        assert await cancelled(queue, run) == [True]
    finally:
        await other.close()


async def test_an_event_with_an_id_cancels_once(queue: Queue) -> None:
    await declare(queue, "sync", DELETED)
    first = await start(queue)
    _, [cancellation] = await send(queue, event("user/deleted", id="e1"))
    second = await start(queue)
    assert await send(queue, event("user/deleted", id="e1", again=True)) == ([], [cancellation])
    assert await cancelled(queue, first, second) == [True, False]
    await send(queue, event("user/deleted", id="e2"))
    assert await cancelled(queue, second) == [True]


async def test_also_where_it_found_nothing(queue: Queue) -> None:
    await declare(queue, "sync", DELETED)
    assert await send(queue, event("user/deleted", id="e" * 3000)) == ([], [])
    run = await start(queue)
    assert await send(queue, event("user/deleted", id="e" * 3000)) == ([], [])
    assert await cancelled(queue, run) == [False]


async def test_ids_are_forgotten_after_a_day(queue: Queue) -> None:
    await declare(queue, "sync", DELETED)
    await send(queue, event("user/deleted", id="e1"))
    await queue.database.execute("update secateur.seen_events set at = at - interval '25 h'")
    await send(queue, event("user/deleted", id="e2"))
    assert [row[0] for row in await queue.database.fetch("select id from secateur.seen_events")] == ["e2"]


async def test_sending_where_nobody_declares_takes_any_isolation(queue: Queue, database_url: str) -> None:
    await listen(queue, "billing", "sync", "user/created")
    await declare(queue, "sync", DELETED)
    connection = await asyncpg.connect(database_url)
    try:
        async with connection.transaction(isolation="repeatable_read"):
            await connection.execute("select secateur.send($1)", json.dumps(event("user/created")))
        with pytest.raises(asyncpg.PostgresError, match="REPEATABLE READ"):
            async with connection.transaction(isolation="repeatable_read"):
                await connection.execute("select secateur.send($1)", json.dumps(event("user/deleted")))
    finally:
        await connection.close()


async def test_a_stop_and_an_undo_are_those_of_any_cancellation(queue: Queue) -> None:
    await declare(queue, "sync", DELETED)
    run = await start(queue)
    _, [cancellation] = await send(queue, event("user/deleted"))
    await queue.cancellations.stop(cancellation, author="tester", source="cli")
    assert [claimed["id"] for claimed in await claim(queue)] == [run]


# function.cancelled.


async def test_cancelled_runs_are_announced_to_every_function_that_asks(queue: Queue) -> None:
    await listen(queue, "audit", "log", "function.cancelled")
    await listen(queue, "audit", "page", "function.cancelled", "other")
    events = [{"name": "vendor/sync", "data": {"vendor_id": "acme_inc", "n": n}} for n in range(3)]
    ids = await queue.enqueue_many("billing", "vendor-syncs", events)
    committed = await queue.cancel({"app_id": "billing"}, wait=True)
    found = await announced(queue)
    assert [one["name"] for one in found] == ["function.cancelled"] * 6
    assert sorted(one["data"]["run_id"] for one in found) == sorted(2 * list(map(str, ids)))
    assert next(one["data"] for one in found if one["data"]["run_id"] == str(ids[0])) == {
        "run_id": str(ids[0]),
        "app_id": "billing",
        "function_id": "vendor-syncs",
        "cause": "cancellation",
        "cancellation_id": str(committed.id),
        "event": events[0],
    }


async def test_nobody_but_the_queue_announces(queue: Queue, database_url: str) -> None:
    await listen(queue, "audit", "log", "function.cancelled")
    forged = {"name": "function.cancelled", "data": {"run_id": "made up"}}
    with pytest.raises(RequestError, match="is reserved; the queue sends it") as refused:
        await queue.send(forged)
    assert [problem.field for problem in refused.value.problems] == ["name"]
    for call in ("send($1)", "send_to('audit', $1)"):
        with pytest.raises(RequestError, match="is reserved; the queue sends it") as refused:
            await queue.database.fetch(f"select * from secateur.{call}", json.dumps(forged))
        assert [problem.field for problem in refused.value.problems] == ["name"]
    assert await announced(queue) == []


ENTRANCES: dict[str, Callable[[Queue, object], Awaitable[object]]] = {
    "enqueue": lambda queue, event: queue.enqueue("audit", "log", event),
    "enqueue under a key": lambda queue, event: queue.enqueue("audit", "log", event, idempotency_key=json.dumps(event)),
    "enqueue_many": lambda queue, event: queue.enqueue_many("audit", "log", [{"name": "a"}, event]),
    "enqueue_bulk": lambda queue, event: queue.enqueue_bulk("audit", "log", [{"name": "a"}] * 3 + [event]),
    "send": lambda queue, event: queue.send(event),
}


@pytest.mark.parametrize("entrance", ENTRANCES)
async def test_a_client_starts_no_run_with_an_event_of_the_queue(queue: Queue, entrance: str) -> None:
    await listen(queue, "audit", "log", "function.cancelled")
    with pytest.raises(RequestError, match="is reserved; the queue sends it") as refused:
        await ENTRANCES[entrance](queue, {"name": "function.cancelled", "data": {"run_id": "made up"}})
    assert [problem.field for problem in refused.value.problems] == ["name"]
    assert await queue.database.fetchval("select count(*) from secateur.runs") == 0
    assert await queue.database.fetchval("select count(*) from secateur.enqueue_keys") == 0
    for another in (
        {"name": "function.cancelled.too"},
        {"data": {"name": "function.cancelled"}},
        ["function.cancelled"],
        None,
    ):
        if entrance != "send":
            await ENTRANCES[entrance](queue, another)


# From Python.


async def _nothing(run: ActiveRun) -> None:
    pass


def declared(*declarations: CancelOn) -> App:
    app = App("billing")
    app.function(id="sync", cancel_on=declarations)(_nothing)
    return app


async def test_a_worker_registers_what_its_functions_declare(queue: Queue, database_url: str) -> None:
    hard = CancelOn("user/deleted", match="data.user_id", if_="async.data.hard == true", timeout=HOUR)
    app = declared(hard, CancelOn("shutdown"))
    app.function(id="mail")(_nothing)
    async with working(database_url, app):
        pass
    waiting, other = await start(queue), await start(queue, "u2")
    old = await start(queue)
    await queue.database.execute("update secateur.runs set started_at = started_at - interval '2 h' where id = $1", old)
    assert await send(queue, event("user/deleted")) == ([], []), "not without hard"
    deleted = {"name": "user/deleted", "data": {"user_id": "u1", "hard": True}}
    _, [cancellation] = await send(queue, deleted)
    assert await cancelled(queue, waiting, other, old) == [True, False, False]
    made = await queue.cancellations.get(cancellation)
    assert made.if_ == "event.data.user_id == async.data.user_id && (async.data.hard == true\n)"
    async with working(database_url, declared()):
        await in_status(queue, other, RunStatus.COMPLETED)
    await start(queue)
    assert await send(queue, deleted) == ([], []), "what is declared no more is gone"


async def test_what_python_declares_is_what_the_database_keeps(queue: Queue) -> None:
    one = CancelOn("user/deleted", if_="async.ts > 5", timeout=timedelta(days=1, microseconds=5))
    await declare(queue, "sync", one.stored())
    [kept] = json.loads(await queue.database.fetchval("select cancel_on from secateur.functions"))
    assert kept == compiled("user/deleted", "async.ts > 5", timeout="PT24H0.000005S")
    day = await queue.database.fetchval("select $1::interval = '24 hours 5 microseconds'", one.timeout)
    assert day


def test_all_that_is_wrong_is_said_when_it_is_declared() -> None:
    with pytest.raises(UsageError) as raised:
        declared(
            CancelOn("", match="data..id"),
            CancelOn("function.cancelled", match="event.data.id", timeout=timedelta(0)),
            CancelOn("x", if_="async.data.hard = true"),
            CancelOn("x", if_="event.data.x == run.status"),
            CancelOn("x", timeout=timedelta(days=40_000)),
            CancelOn("x", if_="true"),
        )
    assert str(raised.value).splitlines() == [
        "billing / sync: cancel_on must have at most 5 declarations, not 6",
        "billing / sync: cancel_on 1, event: must be the name of an event",
        "billing / sync: cancel_on 1, match: must be the path of a field of the event, such as data.user_id",
        "billing / sync: cancel_on 2, event: function.cancelled can only trigger functions; it cannot cancel runs",
        "billing / sync: cancel_on 2, match: must be a path inside the event, without the prefix event",
        "billing / sync: cancel_on 2, timeout: must be a timedelta above zero and at most 100 years",
        "billing / sync: cancel_on 3, if:",
        "1:17: error: `=` is not a comparison",
        "  async.data.hard = true",
        "                  ^",
        "  write `==`",
        "billing / sync: cancel_on 4, if:",
        "1:17: error: a cancellation cannot depend on `run.status`: it changes while a run waits, so a condition that "
        "is true now could be false when the run is claimed",
        "  event.data.x == run.status",
        "                  ^^^^^^^^^^",
        "billing / sync: cancel_on 5, timeout: must be a timedelta above zero and at most 100 years",
    ]
    with pytest.raises(UsageError, match="cancel_on must be a list"):
        App("billing").function(id="sync", cancel_on=CancelOn("x"))(_nothing)  # type: ignore[arg-type]
