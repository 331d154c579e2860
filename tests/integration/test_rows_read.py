"""Whoever has ids reads their rows and no others, whatever the planner knows of the tables, or knew when it planned.

A session plans a statement when it first meets it and keeps the plan. Meanwhile the table grows from nothing to a
flood, and nothing analyzes it. So each call below is made for a few runs among thousands, and what counts is not its
plan but the rows that it reads. The catalog says which functions have ids: all of them must be called here.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib.resources import files
from uuid import UUID, uuid4

import asyncpg
import pytest
from flood import APP, QUIET, SIZE, flood, functions_called, rows_read

from secateur.cel import compile as compile_filter
from secateur.postgres.statements import Statements

OURS = {
    **Statements.load("secateur.engines.native", "source.sql"),
    **Statements.load("secateur.engines.native", "searching.sql"),
    **Statements.load("secateur.engines.native", "tracing.sql"),
    **Statements.load("secateur.engines.native", "governing.sql"),
    **Statements.load("secateur.engines.native", "upkeep.sql"),
    **Statements.load("secateur.ledger", "ledger.sql"),
    **Statements.load("secateur.ledger", "proposals.sql"),
}

MOST = SIZE // 10
"""Rows that a call may read which concerns at most ten runs; most of them read some dozens."""


@dataclass
class Desk:
    """One session, and what it prepares for a call: subjects of its own, in functions without a flood."""

    connection: asyncpg.Connection
    read: dict[str, dict[str, int]] = field(default_factory=dict)
    called: set[str] = field(default_factory=set)

    @asynccontextmanager
    async def measured(self, name: str) -> AsyncIterator[None]:
        before = await rows_read(self.connection)
        yield
        after = await rows_read(self.connection)
        found = {one: rows - before.get(one, 0) for one, rows in after.items() if rows > before.get(one, 0)}
        self.read[name] = found
        self.called |= await functions_called(self.connection)

    async def enqueue(self, count: int = 3, function: str = "calm", **more: object) -> list[UUID]:
        event = json.dumps({"name": "calm", "data": {"vendor_id": "acme"}} | more)
        rows = await self.connection.fetch(
            "select secateur.enqueue_many($1, $2, array_fill($3::jsonb, array[$4::int]))", APP, function, event, count
        )
        return [row[0] for row in rows]

    async def claim(self, count: int = 3, function: str = "calm") -> list[asyncpg.Record]:
        return await self.connection.fetch(
            "select * from secateur.claim($1, $2, $3, 'tester', '1 hour')", APP, [function], count
        )

    async def running(self, count: int = 3, function: str = "calm") -> tuple[list[UUID], list[UUID]]:
        """Ids and tokens."""
        await self.enqueue(count, function)
        runs = await self.claim(count, function)
        assert len(runs) == count
        return [run["id"] for run in runs], [run["claim_token"] for run in runs]

    async def commit(self, function: str | None = "calm", vendor: str = "acme", **more: object) -> UUID:
        condition, parameters = compile_filter(f"event.data.vendor_id == '{vendor}'").condition.stored()
        return await self.connection.fetchval(
            "select id from secateur.commit_cancellation($1, $2, $3, 'x', $4, null, false, $5, $6::jsonb, 1, '{}',"
            " null, null, 'python', 'tester', null, null)",
            *(uuid4(), APP, function, more.get("after"), condition, json.dumps(parameters)),
        )

    async def sweep(self, id: UUID) -> str:
        return await self.connection.fetchval("select state from secateur.sweep_cancellation($1, $2, 100)", APP, id)

    async def expire(self) -> None:
        await self.connection.execute(
            "update secateur.runs set lease_expires_at = now() - interval '1 s'"
            " where status = 'running' and function_id in ('calm', 'narrow')"
        )


PAGES = {"next_indexed", "next_any", "runs_found", "arrivals_of_few"}
"""Statements of a search or a sample, which are planned anew each time and bounded by themselves: see
test_searching_runs.py and test_suggestions.py."""

ALL_BY_DESIGN = dict.fromkeys(
    (
        *("commit_cancellation", "commit_cancellations", "commit_cancellation within a budget"),
        *("confirm_cancellation", "send_to"),
    ),
    "runs_running",
)
"""A commit looks at each running run of its app: so many it may have to ask to stop."""

DRAFT = """jsonb_build_object('app_id', $3::text, 'parameters', '{}'::jsonb, 'compiler', 1, 'request', '{}'::jsonb,
                              'source', 'python', 'created_by', 'tester')"""

Call = Callable[[Desk], Awaitable[None]]
CALLS: list[Call] = []


def call(function: Call) -> Call:
    CALLS.append(function)
    return function


@call
async def enqueuing(desk: Desk) -> None:
    for key in (None, "one", "two"):
        if key:
            await desk.connection.execute(
                "insert into secateur.enqueue_keys (app_id, function_id, key, run_id, event_hash, at)"
                " values ($1, 'calm', $2, gen_random_uuid(), '', now() - interval '2 days')",
                *(APP, f"old {key}"),
            )
        async with desk.measured(f"enqueue {key}"):
            await desk.connection.fetchval("select secateur.enqueue($1, 'calm', '{}', idempotency_key => $2)", APP, key)
    async with desk.measured("import"):
        await desk.connection.fetch(
            "select secateur.enqueue_many($1, 'calm', array['{}'::jsonb], started_at => array[now()])", APP
        )


@call
async def enqueuing_under_the_key_of_what_was_cancelled(desk: Desk) -> None:
    enqueue = "select secateur.enqueue($1, 'calm', '{\"data\": {\"vendor_id\": \"acme\"}}', idempotency_key => 'k')"
    await desk.connection.fetchval(enqueue, APP)
    first = await desk.commit()
    async with desk.measured("enqueue under a key whose run is cancelled meanwhile"):
        await desk.connection.fetchval(enqueue, APP)
    second = await desk.commit()
    await desk.sweep(second)
    for id in (second, first):
        await desk.connection.fetch("select secateur.undo_cancellation($1, $2, 'tester')", APP, id)
        async with desk.measured("restore of a run whose key was taken"):
            await desk.connection.fetch("select secateur.restore_cancellation($1, $2)", APP, id)


@call
async def enqueuing_a_bulk(desk: Desk) -> None:
    await desk.connection.execute("select secateur.begin_bulk()")
    await desk.connection.execute(
        "insert into pg_temp.secateur_bulk (event, started_at) values ('{}', now()), ('{}', now())"
    )
    async with desk.measured("enqueue_bulk"):
        await desk.connection.execute("select secateur.enqueue_bulk($1, 'calm')", APP)


@call
async def claiming(desk: Desk) -> None:
    await desk.enqueue(5)
    async with desk.measured("claim"):
        assert len(await desk.claim(3)) == 3


@call
async def completing_and_claiming(desk: Desk) -> None:
    """Two runs are the caller's, the third is no more."""
    ids, tokens = await desk.running(3)
    await desk.enqueue(2)
    async with desk.measured("complete_and_claim"):
        rows = await desk.connection.fetch(
            "select * from secateur.complete_and_claim($1, $2::uuid[], $3::uuid[], '{calm}', 2, 'tester', '1 hour')",
            *(APP, ids, [*tokens[:2], uuid4()]),
        )
    assert [row["id"] is None for row in rows] == [True, False, False]


@call
async def claiming_by_slots(desk: Desk) -> None:
    await desk.enqueue(5, "narrow")
    async with desk.measured("claim of a limited function"):
        assert len(await desk.claim(10, "narrow")) == 3


@call
async def claiming_among_matches(desk: Desk) -> None:
    await desk.enqueue(6)
    await desk.connection.execute(
        'select secateur.enqueue_many($1, \'calm\', array_fill(\'{"data": {"vendor_id": "b"}}\'::jsonb, array[3]))',
        APP,
    )
    await desk.commit()
    async with desk.measured("claim that cancels and looks ahead"):
        assert len(await desk.claim(2)) == 2


@call
async def claiming_what_came_back(desk: Desk) -> None:
    await desk.running(2)
    await desk.running(2, "narrow")
    await desk.commit("narrow")
    ids, _ = await desk.running(2)
    await desk.connection.execute("update secateur.runs set attempt = 9 where id = $1", ids[0])
    await desk.expire()
    await desk.connection.execute(
        "select secateur.enqueue_many($1, 'calm', array['{}'::jsonb], array[clock_timestamp() + interval '1 hour'])",
        APP,
    )
    await desk.connection.execute(
        "update secateur.runs set scheduled_for = now() - interval '1 s'"
        " where function_id = 'calm' and status = 'scheduled'"
    )
    async with desk.measured("claim that takes back"):
        await desk.claim(10)


@call
async def claiming_nothing(desk: Desk) -> None:
    async with desk.measured("claim of nothing"):
        await desk.claim(10)


@call
async def working(desk: Desk) -> None:
    ids, tokens = await desk.running(9)
    one = (APP, ids[0], tokens[0])
    calls: dict[str, tuple[str, tuple[object, ...]]] = {
        "begin_step": ("begin_step($1, $2, $3, 'one')", one),
        "flush": ("flush($1, $2, $3)", one),
        "finish_step": ("finish_step($1, $2, $3, 'one', '1')", one),
        "finished_steps": ("finished_steps($1, $2, $3)", one),
        "heartbeat": ("heartbeat($1, $2::uuid[], $3::uuid[], '1 hour')", (APP, ids, tokens)),
        "traces_of": ("traces_of($1, $2::uuid[])", (APP, ids)),
        "complete": ("complete($1, $2, $3)", one),
        "complete, repeated": ("complete_runs($1, $2::uuid[], $3::uuid[])", (APP, ids[:2], tokens[:2])),
        "fail": ("fail($1, $2, $3, 'no luck')", (APP, ids[2], tokens[2])),
        "release": ("release($1, $2::uuid[], $3::uuid[])", (APP, ids[3:6], tokens[3:6])),
        "interrupt": ("interrupt($1, $2, $3, 'the worker stops')", (APP, ids[7], tokens[7])),
    }
    for name, (sql, arguments) in calls.items():
        async with desk.measured(name):
            await desk.connection.fetch(f"select secateur.{sql}", *arguments)
    await desk.connection.execute("update secateur.runs set attempt = 9 where id = $1", ids[6])
    async with desk.measured("fail for good"):
        await desk.connection.fetch("select secateur.fail($1, $2, $3, 'no luck')", APP, ids[6], tokens[6])
    await desk.expire()
    await desk.connection.execute("select secateur.recover_expired($1)", APP)
    late = (APP, ids[8:], tokens[8:])
    async with desk.measured("finish_steps, late"):
        await desk.connection.fetch(
            "select secateur.finish_steps($1, $2::uuid[], $3::uuid[], '{one}', array['1'::jsonb])", *late
        )
    async with desk.measured("complete, late"):
        await desk.connection.fetch("select secateur.complete_runs($1, $2::uuid[], $3::uuid[])", *late)
    ids, tokens = await desk.running(3, "narrow")
    async with desk.measured("complete of a limited function"):
        await desk.connection.fetch("select secateur.complete_runs($1, $2::uuid[], $3::uuid[])", APP, ids, tokens)


@call
async def working_on_what_was_cancelled(desk: Desk) -> None:
    ids, tokens = await desk.running(4)
    await desk.commit()
    await desk.commit()
    calls: dict[str, tuple[str, tuple[object, ...]]] = {
        "heartbeat, asked": ("heartbeat($1, $2::uuid[], $3::uuid[], '1 hour')", (APP, ids, tokens)),
        "begin_step, asked": ("begin_step($1, $2, $3, 'one')", (APP, ids[0], tokens[0])),
        "fail, asked": ("fail($1, $2, $3, 'no luck')", (APP, ids[1], tokens[1])),
        "complete, asked": ("complete($1, $2, $3)", (APP, ids[2], tokens[2])),
        "release, asked": ("release($1, $2::uuid[], $3::uuid[])", (APP, ids[3:], tokens[3:])),
    }
    for name, (sql, arguments) in calls.items():
        async with desk.measured(name):
            await desk.connection.fetch(f"select secateur.{sql}", *arguments)


@call
async def searching(desk: Desk) -> None:
    """By a claim that names many functions; in an app of its own, because a search asks a thousand functions."""
    await desk.connection.execute("select secateur.ensure_function('small', 'f' || n) from generate_series(1, 20) as n")
    await desk.connection.execute("select secateur.enqueue('small', 'f7', '{}')")
    async with desk.measured("search_due"):
        assert await desk.connection.fetch(
            "select * from secateur.claim("
            "'small', array(select 'f' || n from generate_series(1, 20) as n), 3, 'w', '1 hour')"
        )


@call
async def announcing(desk: Desk) -> None:
    await desk.connection.execute("select secateur.register_function($1, 'told', array['function.cancelled'], 4)", APP)
    await desk.running(3)
    await desk.commit()
    await desk.expire()
    async with desk.measured("announce_cancelled"):
        await desk.claim(3)


@call
async def cancelling_single_runs(desk: Desk) -> None:
    (waiting,) = await desk.enqueue(1)
    (running,), _ = await desk.running(1)
    for name, run in (("a waiting run", waiting), ("a running run", running)):
        async with desk.measured(f"cancel_run of {name}"):
            id = await desk.connection.fetchval(
                "select id from secateur.cancel_run($1, $2, $3, $4, null, 'python', 'tester')",
                *(uuid4(), APP, run, str(run)),
            )
        async with desk.measured(f"sweep of {name}"):
            await desk.sweep(id)
        async with desk.measured(f"undo of {name}"):
            await desk.connection.fetch("select secateur.undo_cancellation($1, $2, 'tester')", APP, id)
            await desk.connection.fetch("select secateur.restore_cancellation($1, $2)", APP, id)


@call
async def sweeping(desk: Desk) -> None:
    await desk.enqueue(3)
    ids, tokens = await desk.running(5, "narrow2")
    id = await desk.commit(None)
    await desk.connection.fetch("select secateur.complete_runs($1, $2::uuid[], $3::uuid[])", APP, ids[:1], tokens[:1])
    # As by a program that knows nothing of requests: ended and given back, the request still open.
    await desk.connection.execute("update secateur.cancel_requests set outcome = null where run_id = any ($1)", ids[:1])
    await desk.connection.execute(
        "update secateur.runs set status = 'queued', claim_token = null where id = $1", ids[1]
    )
    await desk.connection.execute(
        "update secateur.runs set lease_expires_at = now() - interval '1 s' where id = any ($1)", ids[2:4]
    )
    for name in ("cancel_abandoned", "settle_requests"):
        async with desk.measured(name):
            await desk.connection.fetch(f"select secateur.{name}($1, $2)", APP, id)
    id = await desk.commit()
    async with desk.measured("sweep"):
        await desk.sweep(id)


@call
async def deciding(desk: Desk) -> None:
    """Of runs that wait, and of some that run."""
    running, _ = await desk.running(2)
    waiting = await desk.enqueue(3)
    id = await desk.commit()
    await desk.connection.execute(
        "insert into secateur.slow_verdicts (app_id, cancellation_id, run_id, function_id)"
        " select $1, $2, slow, 'calm' from unnest($3::uuid[]) as slow",
        *(APP, id, [*waiting, *running]),
    )
    async with desk.measured("decide_slowly"):
        await desk.connection.fetch("select secateur.decide_slowly($1, $2)", APP, id)
    async with desk.measured("sweep of what was decided"):
        await desk.sweep(id)
    async with desk.measured("note_sweep_failure"):
        await desk.connection.fetch("select secateur.note_sweep_failure($1, $2, 'no luck')", APP, id)
    async with desk.measured("verdicts_of_all"):
        await desk.connection.fetch(
            "select secateur.verdicts_of_all(array(select rule from secateur.cancellations as rule"
            " where rule.app_id = $1 and rule.id = $2), $1, array['calm'], array[$3::uuid], array['{}'::jsonb],"
            " array[now()], array[0], null)",
            *(APP, id, waiting[0]),
        )


@call
async def stopping(desk: Desk) -> None:
    await desk.running(3)
    async with desk.measured("commit_cancellation"):
        id = await desk.commit("narrow2")
    async with desk.measured("commit_cancellations"):
        await desk.connection.fetch(
            f"select secateur.commit_cancellations($1, $2, {DRAFT})", *([uuid4()], ["narrow2"], APP)
        )
    await desk.connection.execute("update secateur.cancellations set in_force_at = null where id = $1", id)
    async with desk.measured("confirm_cancellation"):
        await desk.connection.fetch("select secateur.confirm_cancellation($1, $2)", APP, id)
    async with desk.measured("stop_cancellation"):
        await desk.connection.fetch("select secateur.stop_cancellation($1, $2, 'tester')", APP, id)
    await desk.connection.execute("update secateur.cancellations set ending = true where id = $1", id)
    async with desk.measured("sweep_cancellation of one that ends"):
        await desk.sweep(id)


@call
async def proposing(desk: Desk) -> None:
    """Under a budget, which the backlog of a function may not exceed."""
    await desk.enqueue(3)
    await desk.connection.execute("select secateur.set_budget($1, 5, 'tester', 'python')", APP)
    async with desk.measured("commit_cancellation within a budget"):
        await desk.commit("calm")
    id = uuid4()
    async with desk.measured("propose_cancellation"):
        await desk.connection.fetch(
            "select secateur.propose_cancellation($1, $2, null, '{}', null, null, '1 day', 'tester', 'python')", id, APP
        )
    await desk.connection.execute("select secateur.set_budget($1, null, 'tester', 'python')", APP)
    async with desk.measured("decide_proposal"):
        await desk.connection.fetch("select secateur.decide_proposal($1, $2, 'approved', 'tester', 'python')", APP, id)


@call
async def undoing(desk: Desk) -> None:
    """Of two that match the same runs, so that one takes what the other gives back."""
    await desk.enqueue(3)
    first = await desk.commit()
    await desk.sweep(first)
    await desk.enqueue(3)
    second = await desk.commit()
    await desk.sweep(second)
    for name, id in (("first", first), ("second", second)):
        async with desk.measured(f"undo of the {name}"):
            await desk.connection.fetch("select secateur.undo_cancellation($1, $2, 'tester', null, true)", APP, id)
        for _ in range(2):
            async with desk.measured(f"restore of the {name}"):
                await desk.connection.fetch("select secateur.restore_cancellation($1, $2, 2)", APP, id)
    async with desk.measured("unrestored"):
        await desk.connection.fetch("select secateur.unrestored($1, $2, 10)", APP, first)
    async with desk.measured("cancellation_records"):
        assert await desk.connection.fetch("select secateur.cancellation_records(array[$1::uuid])", first)


@call
async def retrying(desk: Desk) -> None:
    await desk.enqueue(3)
    ids, tokens = await desk.running(3)
    await desk.connection.execute("update secateur.functions set max_attempts = 1 where function_id = 'calm'")
    for run in zip(ids, tokens, strict=True):
        await desk.connection.fetchval("select secateur.fail($1, $2, $3, 'no')", APP, *run)
    id = uuid4()
    async with desk.measured("commit_retries"):
        await desk.connection.fetch(f"select secateur.commit_retries($1, $2, {DRAFT})", *([id], ["calm"], APP))
    async with desk.measured("sweep of a retry"):
        await desk.sweep(id)
    async with desk.measured("what a retry left alone"):
        await desk.connection.fetch("select secateur.unrestored($1, $2, 10)", APP, id)
    async with desk.measured("undo of a retry"):
        await desk.connection.fetch("select secateur.undo_cancellation($1, $2, 'tester')", APP, id)
    async with desk.measured("restore of a retry"):
        await desk.connection.fetch("select secateur.restore_cancellation($1, $2, 2)", APP, id)
    async with desk.measured("what an undone retry left"):
        await desk.connection.fetch("select secateur.unrestored($1, $2, 10)", APP, id)


@call
async def pruning(desk: Desk) -> None:
    ids, tokens = await desk.running(3)
    await desk.connection.fetch("select secateur.complete_runs($1, $2::uuid[], $3::uuid[])", APP, ids, tokens)
    await desk.enqueue(3)
    id = await desk.commit()
    await desk.sweep(id)
    await desk.connection.execute(
        "update secateur.runs set finished_at = now() - interval '1 year' where function_id = 'calm'"
    )
    await desk.connection.execute(
        "update secateur.cancellations set state = 'complete', completed_at = now() - interval '1 year' where id = $1",
        id,
    )
    async with desk.measured("prune"):
        await desk.connection.fetch("select secateur.prune($1, 10)", APP)


@call
async def jobs_of_others(desk: Desk) -> None:
    """What the ledger does for a queue of others, whose own statements are no part of this."""
    fetch = desk.connection.fetch
    await fetch("select secateur.install_queue('pgq', 'pgq', 'public', '', '1', 'tester', null)")
    number = await desk.connection.fetchval(
        "insert into secateur.gates (installation, version, lock_number)"
        " select known.name, '1', known.lock_number from secateur.installations as known returning lock_number"
    )
    await fetch(f"create sequence secateur_gates.newest_{number} minvalue 0 start 0")
    id, single, app = uuid4(), uuid4(), "pgq/default"
    draft = (
        "jsonb_build_object('app_id', $3::text, 'parameters', '{}'::jsonb, 'compiler', 3, 'request', '{}'::jsonb,"
        " 'source', 'python', 'created_by', 'tester')"
    )
    async with desk.measured("commit_jobs"):
        await fetch(f"select secateur.commit_jobs('pgq', $1, $2, {draft})", [id], ["sync"], app)
    async with desk.measured("commit_job"):
        await fetch(
            "select secateur.commit_job('pgq', $1, $2, 'sync', '9', true, null, null, 'python', 'tester')", single, app
        )
    async with desk.measured("batch of jobs"):
        await fetch("select secateur.begin_job_batch($1, $2)", app, id)
        await fetch("select secateur.note_slow_jobs($1, $2, array['1', '3'])", app, id)
        await fetch("select secateur.decide_jobs($1, $2, array['1', '3'], array[true, null])", app, id)
        taken = [app, id, ["1", "2"], ["sync"] * 2, ["{}"] * 2, [False, True]]
        await fetch("select secateur.take_jobs($1, $2, $3, $4, $5::jsonb[], $6)", *taken)
        await fetch("select secateur.settle_jobs($1, $2, array['2'], array['stopped'])", app, id)
        await fetch("select secateur.end_job_batch($1, $2, 2, true, true)", app, id)
        await fetch("select secateur.awaits_jobs($1, $2)", app, id)
    async with desk.measured("undo of jobs"):
        await fetch("select secateur.undo_cancellation($1, $2, 'tester')", app, id)
    async with desk.measured("restore of jobs"):
        await fetch("select secateur.begin_job_restore($1, $2, 10)", app, id)
        left = [app, id, ["1"], ["left"], ["no"], [None], ["{}"]]
        await fetch("select secateur.end_job_restore($1, $2, $3, $4, $5, $6, $7::jsonb[])", *left)
        await fetch("select secateur.undo_cancellation($1, $2, 'tester')", app, id)
    async with desk.measured("prune of jobs"):
        await fetch("select secateur.prune_jobs('pgq', 10)")


@call
async def sending(desk: Desk) -> None:
    await desk.enqueue(3)
    await desk.connection.execute(
        'select secateur.declare_cancel_on($1, \'calm\', \'[{"event": "over", "match": "data.vendor_id"}]\')', APP
    )
    async with desk.measured("send_to"):
        sent = await desk.connection.fetch(
            'select * from secateur.send_to($1, \'{"name": "over", "id": "1", "data": {"vendor_id": "acme"}}\')',
            APP,
        )
    assert len(sent) == 1


@call
async def asking(desk: Desk) -> None:
    """The statements of the program itself, often enough for Postgres to keep a plan for any values."""
    (run,), _ = await desk.running(1)
    id = await desk.connection.fetchval(
        "select id from secateur.cancel_run($1, $2, $3, null, null, 'python', 'tester')", uuid4(), APP, run
    )
    proposal = uuid4()
    await desk.connection.execute(
        "select secateur.propose_cancellation($1, $2, null, '{}', null, null, '1 day', 'tester', 'python')",
        *(proposal, APP),
    )
    arguments: dict[str, tuple[object, ...]] = {
        "run": (run,),
        "cancelled_singly": (APP, run),
        "app_of_run": (run, "key"),
        "app_of_cancellation": (id, None),
        "cancellation": (id, None),
        "cancellations": (None, 1, None, None, None, None, None, None),
        "touching": (APP, "calm", run, [id]),
        "trace": (run,),
        "ahead": (APP, "calm", 0, run, 100),
        "proposal": (proposal,),
    }
    may_find_nothing: dict[str, tuple[object, ...]] = {
        "finished_steps": (run, APP),
        "undecided": (run, APP),
        "stop_requests": (run, APP),
    }
    known = arguments | may_find_nothing
    assert await statements_with_ids(desk.connection) - known.keys() - PAGES == set()
    for name, values in known.items():
        async with desk.measured(f"statement {name}"):
            for _ in range(8):
                assert await desk.connection.fetch(OURS[name], *values) or name in may_find_nothing


PARAMETERS = {"sample_events_of_pages": "$4", "sample": "$5", "histogram": "$6::float8"}
"""Where a statement that draws a sample has the size of it; else $7."""


async def statements_with_ids(connection: asyncpg.Connection) -> set[str]:
    """Those that have an id among their parameters and read a table themselves; the others call a function."""
    found = set()
    for file in sorted(files("secateur").rglob("*.sql")):
        if (
            file.parent.name in {"schema", "tables", "sql", "foreign"} or file.name == "indexing.sql"
        ):  # over temporary tables
            continue
        statements = Statements(file.read_text(encoding="utf-8"), file.name)
        for name, sql in statements.items():
            written = {"{condition}": "true", "{among}": "true", "{runs}": "secateur.runs", "{columns}": "run.*"}
            written |= {"{order}": "desc", "{reverse}": "asc", "{past}": "<", "{until}": ">="}
            written |= {"{which}": "true", "{what}": "count(*)", "{unfinished}": "true", "{with_status}": "true"}
            written |= {"{one}": "run.id::text = $1", "{page}": "page.id::text = $4", "{ordered}": "run.id"}
            written |= {"{position}": "run.id", "{page_position}": "page.id", "{drawn_columns}": "run.*"}
            share = PARAMETERS.get(name, "$7")
            written["{drawn}"] = f"secateur.runs as run tablesample system ({share}::real)"
            for placeholder, meant in written.items():
                sql = sql.replace(placeholder, meant)
            prepared = await connection.prepare(sql)
            ids = {"uuid", "uuid[]"} & {parameter.name for parameter in prepared.get_parameters()}
            if ids and re.search(r"\b(?:from|join)\s+secateur\.\w+\b(?!\s*\()", sql):
                found.add(name)
    return found


async def prepare(connection: asyncpg.Connection) -> None:
    for function in ("calm", "narrow2"):
        await connection.execute("select secateur.ensure_function($1, $2)", APP, function)
        await connection.execute("select secateur.ensure_levels($1, $2, array[0])", APP, function)
    await connection.execute("select secateur.register_function($1, 'narrow', '{}', 4, 3)", APP)
    await connection.execute("select secateur.register_function($1, 'narrow2', '{}', 4, 5)", APP)
    await connection.execute("select secateur.ensure_levels($1, 'narrow', array[0])", APP)


async def session(url: str) -> Desk:
    connection = await asyncpg.connect(url, timeout=60, server_settings={"track_functions": "all"})
    return Desk(connection)


async def call_all(desk: Desk) -> None:
    for one in CALLS:
        transaction = desk.connection.transaction()
        await transaction.start()
        try:
            await one(desk)
        finally:
            await transaction.rollback()


WITH_IDS = """
select routine.proname
  from pg_proc as routine
 where routine.pronamespace = 'secateur'::regnamespace and routine.prokind = 'f'
   and exists (select from unnest(routine.proargtypes) as argument
                where argument in ('uuid'::regtype, 'uuid[]'::regtype, 'secateur.cancellations'::regtype,
                                   'secateur.cancellations[]'::regtype))
"""


STATES = ("empty when planned", "old statistics", "never analyzed", "fresh statistics")


async def in_state(state: str, url: str) -> Desk:
    """A session in front of the flood, with what it knows of the tables from before."""
    desk = await session(url)
    await desk.connection.execute(QUIET)
    await prepare(desk.connection)
    if state == "old statistics":
        await desk.connection.execute("analyze")
    if state in ("empty when planned", "old statistics"):
        for _ in range(2):
            await call_all(desk)
    await flood(desk.connection)
    if state == "fresh statistics":
        await desk.connection.execute("analyze")
    if state in ("never analyzed", "fresh statistics"):
        await desk.connection.close()
        desk = await session(url)
    desk.read.clear()
    desk.called.clear()
    return desk


@pytest.mark.parametrize("state", STATES)
async def test_a_call_with_ids_reads_their_rows(state: str, database_url: str) -> None:
    desk = await in_state(state, database_url)
    try:
        await call_all(desk)
        with_ids = {row[0] for row in await desk.connection.fetch(WITH_IDS)}
    finally:
        desk.connection.terminate()
    too_much = [
        f"{call}: {rows} of {relation}"
        for call, read in desk.read.items()
        for relation, rows in read.items()
        if rows > MOST and relation != ALL_BY_DESIGN.get(call)
    ]
    assert not too_much, "\n".join(too_much)
    assert with_ids - desk.called == set()
