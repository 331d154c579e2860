"""What each role that `secateur install` creates can do and cannot do, by real logins, and driven by the catalog.

A new table, or a new function that rights.sql does not grant, is covered without being named here.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
import pytest
from roles import FLOOD, LOGINS, NOBODY, ROLES, events, refused, url_of

import secateur
from secateur.engines.base import Forgetting, Pausing, Remembering, Sending, Source, Tracing, Upkeep, Verdict
from secateur.engines.native.engine import NativeEngine
from secateur.engines.native.worker import Worker
from secateur.engines.populations import Population
from secateur.engines.searching import RunSearch
from secateur.errors import PermissionDenied, ReadOnly
from secateur.ledger.cancellations import Cancellations
from secateur.ledger.ledger import Ledger
from secateur.ledger.selections import selections
from secateur.postgres.database import Database
from secateur.requests import CancellationRequest
from secateur.runs import RunStatus, Scope
from secateur.samples import SampleSteps

OWNERS = ("secateur_sandbox", "secateur_audit")

RIGHTS = ("select", "insert", "update", "delete", "truncate", "references", "trigger")
FOR_OPERATORS = frozenset(
    {
        *(
            "commit_cancellation",
            "commit_cancellations",
            "commit_retries",
            "cancel_run",
            "app_of_run",
            "stop_cancellation",
            "undo_cancellation",
        ),
        *("pause", "resume", "forget", "set_retention", "decide_proposal"),
    }
)
FOR_WORKERS = frozenset(
    {
        *("register_function", "enqueue", "enqueue_many", "begin_bulk", "enqueue_bulk", "send", "claim", "claim_batch"),
        *("complete_and_claim", "claim_and_flush", "flush"),
        *("declare_cancel_on", "begin_step", "heartbeat", "finish_step", "finished_steps", "complete", "complete_runs"),
        *("fail", "release", "apps_of_event", "send_to"),
    }
)
FOR_NOBODY = frozenset(
    {
        *("cancel_backlog", "cancel_requested", "close_requests", "withdraw_requests", "settle_requests"),
        *("evaluate_conditions", "verdicts", "reached", "record_audit", "grant_runs", "put_in_force", "delete_runs"),
        *("lock_app", "limit_function", "ensure_function", "request_running", "refuse_deep_event", "new_run_id"),
        *("run_id_at", "require_bulk", "require_importer", "share_app", "require_here", "mend_rights"),
    }
)

READS = frozenset(
    {
        *("clock", "depth", "count", "count_with_errors", "estimate", "examples", "sample_events", "arrival_rate"),
        *("run", "app_of", "only_reads", "stored_app", "figures"),
        *(
            "detect",
            "runs",
            "samples",
            "samples_of_functions",
            "backlogs_of_functions",
            "gaps",
            "marks",
            "arrivals",
            "arrival_times",
        ),
        *(
            "cancelled_singly",
            "taken_by",
            "unrestored",
            "audit",
            "retention",
            "cancellations",
            "cancellation",
            "activity",
        ),
        *("trace", "touching"),
    }
)
"""What an engine offers that changes nothing: a viewer may all of it."""
SWEEPERS_READ = frozenset({"open_cancellations"})


async def granted_by_the_file(owner: asyncpg.Connection) -> dict[str, set[str]]:
    """The functions' names that rights.sql lists, by role."""
    lists = json.loads(await owner.fetchval("select secateur.callable()"))
    assert set(lists) == set(ROLES)
    return {role: set(names) for role, names in lists.items()}


@asynccontextmanager
async def engine_of(role: str, url: str, *, read_only: bool = False) -> AsyncIterator[NativeEngine]:
    async with Database.connect(url_of(role, url), read_only=read_only) as database:
        yield NativeEngine(database)


async def functions_of(owner: asyncpg.Connection) -> list[asyncpg.Record]:
    """Every function of the schema, with a call of it that has nulls for arguments."""
    functions = await owner.fetch("""
        select routine.oid, routine.proname as name, routine.oid::regprocedure::text as signature,
               format('%s secateur.%I(%s)',
                      case routine.prokind when 'p' then 'call' else 'select' end, routine.proname,
                      (select string_agg('null::' || format_type(argument.type, null), ', ' order by argument.place)
                         from unnest(case routine.prokind when 'p' then routine.proallargtypes
                                                          else routine.proargtypes::oid[] end)
                              with ordinality as argument (type, place))) as call
          from pg_proc as routine
         where routine.pronamespace = 'secateur'::regnamespace
         order by routine.proname
    """)
    assert len(functions) > 60
    return functions


async def relations_of(owner: asyncpg.Connection) -> list[asyncpg.Record]:
    """Every table and view of the schema, with one column that can be written."""
    relations = await owner.fetch("""
        select relation.oid, relation.relname as name, relation.relkind::text as kind,
               (select quote_ident(attname) from pg_attribute
                 where attrelid = relation.oid and attnum > 0 and not attisdropped and attidentity = ''
                 order by attnum limit 1) as writable
          from pg_class as relation
         where relation.relnamespace = 'secateur'::regnamespace and relation.relkind in ('r', 'p', 'v', 'm', 'f')
         order by relation.relname
    """)
    assert len(relations) > 15
    return relations


SANDBOXED = {"define_match", "evaluate_conditions"}
"""The functions that run as the sandbox."""


class TestTheCatalog:
    async def test_each_function_may_be_called_by_whom_the_file_lists(self, owner: asyncpg.Connection) -> None:
        listed = await granted_by_the_file(owner)
        for function in await functions_of(owner):
            may = {
                role
                for role, login in {**LOGINS, NOBODY: NOBODY}.items()
                if await owner.fetchval("select has_function_privilege($1, $2::oid, 'execute')", login, function["oid"])
            }
            assert may == {role for role in ROLES if function["name"] in listed[role]}, function["signature"]

    async def test_the_file_lists_what_it_should(self, owner: asyncpg.Connection) -> None:
        listed = await granted_by_the_file(owner)
        known = {function["name"] for function in await functions_of(owner)}
        assert known >= FOR_OPERATORS | FOR_WORKERS | FOR_NOBODY
        assert listed["secateur_operator"] >= FOR_OPERATORS
        assert listed["secateur_worker"] >= FOR_WORKERS
        assert not FOR_OPERATORS & listed["secateur_worker"]
        assert not FOR_WORKERS & listed["secateur_operator"]
        assert "set_budget" not in set.union(*listed.values())
        assert listed["secateur_viewer"] == {"unrestored", "rights_gaps", "propose_cancellation"}
        assert not FOR_NOBODY & set.union(*listed.values())

    async def test_what_may_be_called_runs_with_its_owners_rights_and_a_fixed_path(
        self, owner: asyncpg.Connection
    ) -> None:
        """Without the first it would be of no use to a role without rights; without the second, of too much.

        A procedure commits, so it can have neither; it calls what its caller may call.
        """
        listed = set.union(*(await granted_by_the_file(owner)).values())
        for row in await owner.fetch(
            "select proname, prosecdef, proconfig from pg_proc"
            " where pronamespace = 'secateur'::regnamespace and prokind <> 'p'"
        ):
            if row["proname"] in listed:
                assert row["prosecdef"], row["proname"]
                assert "search_path=pg_catalog, pg_temp" in row["proconfig"], row["proname"]

    async def test_tables_may_be_read_and_never_written(self, owner: asyncpg.Connection) -> None:
        newer = await owner.fetchval("select current_setting('server_version_num')::int >= 170000")
        rights = (*RIGHTS, "maintain") if newer else RIGHTS
        readers = {"secateur_viewer", "secateur_operator"}
        for relation in await relations_of(owner):
            for role, login in {**LOGINS, NOBODY: NOBODY}.items():
                may = {
                    right
                    for right in rights
                    if await owner.fetchval(
                        "select has_table_privilege($1, $2::oid, $3)", login, relation["oid"], right
                    )
                }
                reads = role in readers or relation["name"] == "migrations"
                # Strangers have the grant, but not the schema.
                assert may == ({"select"} if reads else set()), (role, relation["name"])
                for right in ("insert", "update", "references"):
                    column = "select has_any_column_privilege($1, $2::oid, $3)"
                    assert not await owner.fetchval(column, login, relation["oid"], right), (role, relation["name"])

    async def test_sequences_and_schemas(self, owner: asyncpg.Connection) -> None:
        sequences = await owner.fetch(
            "select oid, relname from pg_class where relnamespace = 'secateur'::regnamespace and relkind = 'S'"
        )
        assert sequences
        for role, login in {**LOGINS, NOBODY: NOBODY}.items():
            for sequence in sequences:
                for right in ("usage", "update"):
                    asked = "select has_sequence_privilege($1, $2::oid, $3)"
                    assert not await owner.fetchval(asked, login, sequence["oid"], right), (role, sequence["relname"])
            usage = await owner.fetchval("select has_schema_privilege($1, 'secateur', 'usage')", login)
            assert usage == (role in ROLES), role
            for schema in ("secateur", "secateur_cel"):
                assert not await owner.fetchval("select has_schema_privilege($1, $2, 'create')", login, schema), role

    async def test_none_of_the_roles_logs_in_or_has_power(self, owner: asyncpg.Connection) -> None:
        rows = await owner.fetch("select * from pg_roles where rolname = any ($1)", [*ROLES, *OWNERS])
        assert len(rows) == len(ROLES) + len(OWNERS)
        for row in rows:
            power = {name for name, value in row.items() if value is True and name != "rolinherit"}
            assert power == set(), row["rolname"]
        memberships = "select count(*) from pg_auth_members where member = any ($1::regrole[])"
        assert await owner.fetchval(memberships, [*ROLES, *OWNERS]) == 0

    async def test_only_imports_back_date(
        self, owner: asyncpg.Connection, logins: dict[str, asyncpg.Connection]
    ) -> None:
        dated = "select secateur.enqueue('billing', 'sync', '{}', started_at => '2024-01-21T00:00:00Z')"
        worker = logins["secateur_worker"]
        await refused(worker, dated)
        await refused(
            worker,
            dated.replace("enqueue(", "enqueue_many(")
            .replace("'{}'", "array['{}'::jsonb]")
            .replace("'2024-01-21T00:00:00Z'", "array['2024-01-21T00:00:00Z'::timestamptz]"),
        )
        await owner.execute(f"grant secateur_importer to {LOGINS['secateur_worker']}")
        run_id = await worker.fetchval(dated)
        started_at = await owner.fetchval("select started_at from secateur.runs where id = $1", run_id)
        assert started_at == datetime(2024, 1, 21, tzinfo=UTC)

    async def test_what_they_own(self, owner: asyncpg.Connection) -> None:
        """Nothing; the sandbox its function, the audit's owner the table and the function that appends to it."""
        owned = await owner.fetch(
            """
            select pg_get_userbyid(refobjid) as role, pg_describe_object(classid, objid, 0) as what
              from pg_shdepend
             where deptype = 'o' and dbid = (select oid from pg_database where datname = current_database())
               and refclassid = 'pg_authid'::regclass and refobjid = any ($1::regrole[])
             order by 1, 2
            """,
            [*ROLES, *OWNERS],
        )
        assert [(row["role"], re.sub(r"\(.*", "", row["what"])) for row in owned] == [
            ("secateur_audit", "function secateur.record_audit"),
            ("secateur_audit", "sequence secateur.audit_id_seq"),
            ("secateur_audit", "table secateur.audit"),
            ("secateur_sandbox", "function secateur.define_match"),
            ("secateur_sandbox", "function secateur.evaluate_conditions"),
        ]

    async def test_the_sandbox_reads_no_table(self, owner: asyncpg.Connection) -> None:
        for relation in await relations_of(owner):
            for right in RIGHTS:
                may = await owner.fetchval(
                    "select has_table_privilege('secateur_sandbox', $1::oid, $2)", relation["oid"], right
                )
                assert not may or (relation["name"], right) == ("migrations", "select"), relation["name"]
        assert not await owner.fetchval("select has_schema_privilege('secateur_sandbox', 'secateur', 'usage')")
        for function in await functions_of(owner):
            may = await owner.fetchval(
                "select has_function_privilege('secateur_sandbox', $1::oid, 'execute')", function["oid"]
            )
            assert may == (function["name"] in SANDBOXED), function["signature"]


class TestRefusals:
    """The same as the catalog says it, tried."""

    async def test_functions(self, owner: asyncpg.Connection, logins: dict[str, asyncpg.Connection]) -> None:
        listed = await granted_by_the_file(owner)
        tried = 0
        for function in await functions_of(owner):
            for role, connection in logins.items():
                if function["name"] not in listed.get(role, set()):
                    await refused(connection, function["call"])
                    tried += 1
        assert tried > 200

    async def test_tables(self, owner: asyncpg.Connection, logins: dict[str, asyncpg.Connection]) -> None:
        for relation in await relations_of(owner):
            name = f"secateur.{relation['name']}"
            for role, connection in logins.items():
                if role in ("secateur_worker", NOBODY) and name != "secateur.migrations":
                    await refused(connection, f"select from {name}")
                    await refused(connection, f"copy {name} to stdout")
                if relation["kind"] != "v":
                    await refused(connection, f"insert into {name} default values")
                    await refused(connection, f"update {name} set {relation['writable']} = null")
                    await refused(connection, f"delete from {name}")
                    await refused(connection, f"truncate {name}")
                    await refused(connection, f"select from {name} for update")
                    await refused(connection, f"lock table {name} in share row exclusive mode")
                    await refused(connection, f"alter table {name} disable trigger all")
                await refused(connection, f"alter table {name} owner to {LOGINS.get(role, role)}")

    async def test_definitions(self, owner: asyncpg.Connection, logins: dict[str, asyncpg.Connection]) -> None:
        for role, connection in logins.items():
            login = LOGINS.get(role, role)
            for statement in (
                "create table secateur.mine ()",
                "create function secateur.mine() returns int language sql as 'select 1'",
                "create or replace function secateur.in_utc(moment timestamptz) returns text return 'never'",
                "alter function secateur.cancel_backlog(text, uuid[], uuid[]) security definer",
                "drop function secateur.prune(text, integer)",
                "drop schema secateur cascade",
                f"alter schema secateur owner to {login}",
                f"grant execute on function secateur.cancel_backlog(text, uuid[], uuid[]) to {login}",
                "set role secateur_audit",
                "set role secateur_sandbox",
                f"grant secateur_audit to {login}",
                "set session_replication_role = replica",
            ):
                await refused(connection, statement)


async def committed_by_the_owner(url: str) -> UUID:
    """An incident: runs that wait, one that failed to be evaluated, a cancellation that is undone."""
    async with secateur.connect(url) as queue:
        await queue.enqueue_many("billing", "sync", events("acme", "acme", "globex"))
        await queue.enqueue("billing", "sync", {})
        cancelled = await queue.cancel(FLOOD, wait=True)
        await queue.undo(cancelled.id, wait=True)
        return cancelled.id


class TestTheViewer:
    async def test_reads_all_that_an_engine_offers(self, owner: asyncpg.Connection, database_url: str) -> None:
        offered = {
            name
            for kind in (Source, Remembering, Pausing, Forgetting, Tracing, Upkeep, Sending, Ledger)
            for name, member in vars(kind).items()
            if inspect.iscoroutinefunction(member) and not name.startswith("_")
        }
        cancellation_id = await committed_by_the_owner(database_url)
        run_id = await owner.fetchval("select id from secateur.runs order by id limit 1")
        request = CancellationRequest.parse(FLOOD)
        async with engine_of("secateur_viewer", database_url, read_only=True) as engine:
            (selection,) = selections(request)
            now = await engine.clock()
            hour = [SampleSteps(now - timedelta(hours=1), now, timedelta(minutes=1))]
            answers = {
                "samples": await engine.samples(selection.scope, hour),
                "samples_of_functions": await engine.samples_of_functions(hour),
                "app_of": await engine.ledger.app_of(cancellation_id),
                "stored_app": await engine.ledger.stored_app("billing"),
                "backlogs_of_functions": await engine.backlogs_of_functions(hour),
                "gaps": await engine.gaps("billing", now - timedelta(hours=1), now),
                "marks": await engine.marks(selection.scope, now - timedelta(hours=1), now),
                "detect": await engine.detect(),
                "clock": await engine.clock(),
                "depth": await engine.depth(),
                "count": (await engine.count(selection)).matched,
                "count_with_errors": (await engine.count_with_errors(selection)).errors,
                "estimate": await engine.estimate(selection),
                "examples": await engine.examples(selection, Verdict.MATCH, 5),
                "sample_events": await engine.sample_events(Scope("billing", None), 5),
                "arrivals": (await engine.arrivals(Population("billing"), 5)).total,
                "arrival_times": await engine.arrival_times(Population("billing"), 5),
                "arrival_rate": await engine.arrival_rate(selection),
                "run": await engine.run(run_id),
                "runs": await engine.runs(RunSearch("billing", status=RunStatus.QUEUED, limit=5)),
                "cancelled_singly": await engine.ledger.cancelled_singly("billing", run_id),
                "taken_by": await engine.ledger.taken_by(run_id),
                "activity": await engine.ledger.activity(),
                "only_reads": await engine.ledger.only_reads(),
                "unrestored": await engine.ledger.unrestored(cancellation_id, 5),
                "audit": [entry.action for entry in await engine.ledger.audit(10)],
                "retention": (await engine.retention()).finished,
                "cancellations": await engine.ledger.cancellations(10),
                "cancellation": await engine.ledger.cancellation(cancellation_id),
                "figures": (await engine.ledger.figures()).states,
                "trace": await engine.trace(await engine.run(run_id)),
                "touching": await engine.ledger.touching(await engine.run(run_id), [cancellation_id]),
            }
        assert set(answers) == READS
        assert (answers["count"], answers["count_with_errors"], len(answers["examples"])) == (2, 1, 2)
        assert answers["audit"] == ["restore", "undo", "commit", "install"]
        assert answers["retention"] == timedelta(days=7)
        assert answers["estimate"] is None  # of so few runs an exact count is as quick
        assert offered - READS - SWEEPERS_READ == set(CHANGES)
        async with Database.connect(url_of("secateur_viewer", database_url), read_only=True) as database:
            for name in CHANGES:
                with pytest.raises(ReadOnly):
                    await attempt(NativeEngine(database), name, cancellation_id, run_id)

    async def test_is_refused_by_the_database_without_read_only_too(
        self, owner: asyncpg.Connection, database_url: str
    ) -> None:
        cancellation_id = await committed_by_the_owner(database_url)
        run_id = await owner.fetchval("select id from secateur.runs order by id limit 1")
        before = await owner.fetch("select * from secateur.runs order by id")
        async with engine_of("secateur_viewer", database_url) as engine:
            for name in CHANGES:
                with pytest.raises(PermissionDenied):
                    await attempt(engine, name, cancellation_id, run_id)
        assert await owner.fetch("select * from secateur.runs order by id") == before

    async def test_hears_notifications(self, logins: dict[str, asyncpg.Connection]) -> None:
        for role in ROLES:
            await logins[role].add_listener("secateur_cancellations", lambda *_: None)


CHANGES = (
    *("make_ready", "commit_all", "cancel_run", "stop", "undo", "pause", "resume", "forget", "sweep", "decide"),
    *("restore", "note_sweep_failure", "compact_depth", "check_depth", "prune", "set_retention", "send"),
)


async def attempt(engine: NativeEngine, name: str, cancellation_id: UUID, run_id: UUID) -> object:
    """Call a method of the engine that changes something, with what it takes."""
    author = {"author": "ann", "source": "python"}
    scope = Scope("billing", "sync")
    request = CancellationRequest.parse(FLOOD)
    cancellations = Cancellations(engine)
    calls = {
        "make_ready": engine.ledger.make_ready,
        "commit_all": lambda: cancellations.commit_all(request, **author),
        "cancel_run": lambda: cancellations.cancel_run(run_id, **author),
        "stop": lambda: engine.ledger.stop(cancellation_id, **author),
        "undo": lambda: engine.ledger.undo(cancellation_id, **author),
        "pause": lambda: engine.pause(scope, **author),
        "resume": lambda: engine.resume(scope, **author),
        "forget": lambda: engine.forget(scope, **author),
        "sweep": lambda: engine.ledger.sweep("billing", cancellation_id, 10),
        "decide": lambda: engine.ledger.decide("billing", cancellation_id),
        "restore": lambda: engine.ledger.restore("billing", cancellation_id, 10),
        "note_sweep_failure": lambda: engine.ledger.note_sweep_failure("billing", cancellation_id, "the disk is full"),
        "compact_depth": lambda: engine.compact_depth(timedelta(0), 10),
        "check_depth": lambda: engine.check_depth(timedelta(0)),
        "prune": lambda: engine.prune(10),
        "send": lambda: engine.send({"name": "vendor/sync"}, '{"name": "vendor/sync"}'),
        "set_retention": lambda: engine.set_retention(finished=timedelta(days=1), **author),
    }
    assert set(calls) == set(CHANGES)
    return await calls[name]()


class TestTheWorker:
    async def test_does_all_that_a_worker_does(self, owner: asyncpg.Connection, database_url: str) -> None:
        """The real one: it registers, runs, retries, sweeps what an operator cancelled, and keeps the queue up."""
        app = secateur.App("billing")
        seen: list[str] = []

        @app.function(id="sync", triggers=["sync"], retries=0)
        async def sync(run: secateur.ActiveRun) -> None:
            seen.append(await run.step("look", lambda: vendor_of(run)))

        async with secateur.connect(url_of("secateur_worker", database_url)) as queue:
            await queue.enqueue_many("billing", "sync", events("globex", "acme", "acme"))
        async with secateur.connect(url_of("secateur_operator", database_url)) as operator:
            cancelled = await operator.cancel(FLOOD)
            await queue_up(database_url)
            worker = Worker(url_of("secateur_worker", database_url), apps=[app])
            working = asyncio.create_task(worker.run())
            async with asyncio.timeout(60):
                while (await operator.cancellations.get(cancelled.id)).state != "complete" or len(seen) < 2:
                    await asyncio.sleep(0.05)
                    assert not working.done(), working.result()
            worker.stop()
            await working
        assert sorted(seen) == ["globex", "initech"]
        assert await owner.fetchval("select count(*) from secateur.runs where status = 'cancelled'") == 2

    async def test_every_function_of_a_worker(
        self, owner: asyncpg.Connection, logins: dict[str, asyncpg.Connection]
    ) -> None:
        worker = logins["secateur_worker"]
        await worker.execute("select secateur.register_function('crm', 'import', array['import'], 3)")
        await worker.execute("""select secateur.declare_cancel_on('crm', 'import', '[{"event": "import/gone"}]')""")
        (sent,) = await worker.fetch("""select run_id from secateur.send('{"name": "import"}')""")
        await worker.fetch("select secateur.enqueue('crm', 'import', '{}')")
        await worker.fetch("select secateur.enqueue_many('crm', 'import', array['{}', '{}']::jsonb[])")
        claim = "select id, claim_token from secateur.claim('crm', null, 1, 'w', '1 minute')"
        batch = "select id, claim_token from secateur.claim_batch('crm', null, 1, 'w', '1 minute')"
        first = await worker.fetchrow(claim)
        assert first["id"] == sent["run_id"]
        assert await worker.fetchval("select secateur.begin_step('crm', $1, $2, 'one')", *first)
        assert await worker.fetchval("select secateur.finish_step('crm', $1, $2, 'one', '1')", *first)
        assert await worker.fetchval("select count(*) from secateur.finished_steps('crm', $1, $2)", *first) == 1
        assert (
            await worker.fetch(
                "select * from secateur.heartbeat('crm', array[$1::uuid], array[$2::uuid], '1 min')", *first
            )
            == []
        )
        assert await worker.fetchval("select secateur.complete('crm', $1, $2)", *first)
        second = await worker.fetchrow(batch)
        done = "select done from secateur.complete_runs('crm', array[$1::uuid], array[$2::uuid])"
        assert await worker.fetchval(done, *second)
        third = await worker.fetchrow(claim)
        assert await worker.fetchval("select secateur.fail('crm', $1, $2, 'oh')", *third) == "scheduled"
        fourth = await worker.fetchrow(claim)
        released = "select secateur.release('crm', array[$1::uuid], array[$2::uuid])"
        assert await worker.fetchval(released, *fourth) == 1
        assert await worker.fetchval("select count(*) from secateur.open_cancellations()") == 0
        assert await worker.fetchval("select secateur.compact_depth('crm')") > 0
        assert await worker.fetchval("select checked from secateur.check_depth('crm')")
        assert await worker.fetchval("select runs from secateur.prune('crm')") == 0

    async def test_does_not_act_as_an_operator(self, owner: asyncpg.Connection, database_url: str) -> None:
        cancellation_id = await committed_by_the_owner(database_url)
        run_id = await owner.fetchval("select id from secateur.runs order by id limit 1")
        operators = ("commit_all", "cancel_run", "stop", "undo", "pause", "resume", "forget", "set_retention")
        async with engine_of("secateur_worker", database_url) as engine:
            for name in operators:
                with pytest.raises(PermissionDenied):
                    await attempt(engine, name, cancellation_id, run_id)
            for read in (engine.depth, lambda: engine.run(run_id), lambda: engine.ledger.audit(5)):
                with pytest.raises(PermissionDenied):
                    await read()


async def vendor_of(run: secateur.ActiveRun) -> str:
    vendor: str = run.event["data"]["vendor_id"]
    return vendor


async def queue_up(url: str) -> None:
    async with secateur.connect(url_of("secateur_worker", url)) as queue:
        await queue.send({"name": "sync", "data": {"vendor_id": "initech"}})
        await queue.enqueue("billing", "sync", {"data": {"vendor_id": "initech"}})


class TestTheOperator:
    async def test_does_all_that_an_operator_does(self, owner: asyncpg.Connection, database_url: str) -> None:
        await committed_by_the_owner(database_url)
        run_id = await owner.fetchval("select id from secateur.runs order by id limit 1")
        async with secateur.connect(url_of("secateur_operator", database_url)) as queue:
            assert (await queue.preview(FLOOD)).count.matched == 2
            await queue.pause("billing", "sync")
            await queue.resume("billing", "sync")
            single = await queue.cancel_run(run_id)
            assert (await queue.restore_run(run_id)).restored == 1
            stopped = await queue.stop((await queue.cancel(FLOOD)).id)
            undone = await queue.undo((await queue.cancel(FLOOD, wait=True)).id, wait=True)
            assert (single.kind, stopped.state, undone.restored) == ("run", "stopped", 2)
            await queue.engine.set_retention(finished=timedelta(days=1), author="ann", source="python")
            for name in ("compact_depth", "check_depth", "prune"):
                await attempt(queue.engine, name, undone.id, run_id)
            assert [each.role for each in await queue.cancellations.audit(1)] == [LOGINS["secateur_operator"]]

    async def test_does_not_act_as_a_worker(self, owner: asyncpg.Connection, database_url: str) -> None:
        async with secateur.connect(url_of("secateur_operator", database_url)) as queue:
            for attempted in (
                queue.enqueue("billing", "sync", {}),
                queue.enqueue_many("billing", "sync", [{}]),
                queue.enqueue_bulk("billing", "sync", [{}]),
                queue.send({"name": "sync"}),
                queue.database.fetch("select * from secateur.claim('billing', null, 1, 'w', '1 minute')"),
                queue.database.fetch("select secateur.complete('billing', gen_random_uuid(), gen_random_uuid())"),
            ):
                with pytest.raises(PermissionDenied):
                    await attempted
