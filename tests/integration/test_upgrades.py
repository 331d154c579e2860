"""A queue of an older program, whose keys had no app in them, goes on where it was when the new one is installed."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

import secateur
from secateur import Queue
from secateur.engines.native.engine import NativeEngine
from secateur.errors import IdempotencyConflict
from secateur.postgres.database import Database
from secateur.schema import Migration, bundled, check_installed, install
from servers import YOUNG_SECONDS, Server

BEFORE = Path(__file__).with_name("before_by_app.sql")
APPS = ("billing", "crm")

NEW = {"steps", "cancel_requests", "cancellation_deltas", "sweeps", "restores"}
"""What belonged to a run or a cancellation alone, and has an app as well now."""
ADDED: dict[str, dict[str, Any]] = {
    "apps": {"installation": None},
    "functions": {"installation": None},
    "cancellations": {"expected_exact": None, "with_cancelled": False, "job_id": None, "gated": True, "ending": False},
    "cancellation_deltas": {"retried": 0, "left_alone": 0},
    "restores": {"again_from": None},
    "sweeps": {
        **dict.fromkeys(("stepped_at", "failing_since", "last_error", "last_error_at", "open_transactions")),
        "failures": 0,
    },
    "depth_totals": {"failed": 0, "entered": 0, "drained": 0, "ever_failed": 0, "oldest_claimable_at": None},
    "depth_seconds": {"grown": 0},
    "depth_deltas": {"failed": 0},
    "runs": {
        "idempotency_key": None,
        "key_taken_by": None,
        "last_token": None,
        "interruptions": 0,
        "retry_id": None,
        "retried_from": None,
        "past_attempts": None,
        "traceparent": None,
    },
}
"""Columns that came later, and what is in them."""
FORGOTTEN = {"depth_checks", "depth_drifts", "migrations", "condition_vocabulary"}
"""Checks of all apps together, and what an install writes."""
LATER = {
    "depth_samples",
    "upkeep",
    "slow_verdicts",
    "forgotten_functions",
    "installations",
    "preimages",
    "gates",
    "gate_failures",
    "slow_jobs",
    "api_tokens",
    "proposals",
    "budgets",
    "alert_episodes",
    "alert_messages",
}
"""Tables that came later, and are empty."""
LISTS = {"due_functions", "due_epochs", "searches", "due_floors"}
"""Tables that came later: all functions are on the list at first, and none has a floor."""


def an_id(app: str, kind: int, number: int) -> UUID:
    """As in the file: kind 0 is a run, 1 its claim, 2 a cancellation."""
    return UUID(f"{app[0]}0000000-0000-7000-800{kind}-{number:012}")


async def rows(superuser: Database) -> dict[str, list[dict[str, Any]]]:
    """Every table's rows, in some order that is always the same."""
    tables = await superuser.fetch(
        "select relname from pg_class where relnamespace = 'secateur'::regnamespace and relkind = 'r' order by 1"
    )
    found = {}
    for name in (row["relname"] for row in tables):
        documents = await superuser.fetch(f"select to_jsonb(listed) - 'xid' as row from secateur.{name} as listed")
        found[name] = [json.loads(row["row"]) for row in documents]
    return found


@dataclass
class Upgrade:
    superuser: Database
    installer_url: str
    installer: Database
    before: dict[str, list[dict[str, Any]]]


OWNER = "an_older_owner"
"""Who installed, where that was no superuser. The role stays on the server, for the database that is copied is its."""


async def _install_older(url: str) -> None:
    async with Database.connect(url) as installer:
        older = [one for one in bundled() if (one.once and one.name < "0008") or one.name == "roles.sql"]
        await install(installer, [*older, Migration("functions.sql", BEFORE.read_text())])


async def _install_older_as_owner(url: str) -> None:
    async with Database.connect(url) as superuser:
        if not await superuser.fetchval("select true from pg_roles where rolname = $1", OWNER):
            await superuser.execute(f"create role {OWNER} login createrole")
        if await superuser.fetchval("select true from pg_roles where rolname = 'secateur_audit'"):
            newer = await superuser.fetchval("select current_setting('server_version_num')::int >= 160000")
            option = "admin true, inherit false, set false" if newer else "admin option"
            await superuser.execute(f"grant secateur_sandbox, secateur_audit to {OWNER} with {option}")
        await _let_create(superuser)
    await _install_older(_as_owner(url))


async def _let_create(superuser: Database) -> None:
    """The owner, in this database: a copy does not inherit that."""
    name = await superuser.fetchval("select current_database()")
    await superuser.execute(f"grant create on database {name} to {OWNER}")


def _as_owner(url: str) -> str:
    return url.replace("postgres@", f"{OWNER}@")


INSTALLS = {"superuser": _install_older, "not a superuser": _install_older_as_owner}


@pytest.fixture(params=INSTALLS)
def installed_by(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def older_url(postgres_server: Server, installed_by: str) -> Iterator[str]:
    yield from postgres_server.borrow(INSTALLS[installed_by], youth=YOUNG_SECONDS)


@pytest.fixture
async def old(older_url: str, installed_by: str) -> AsyncIterator[Upgrade]:
    """An older program's queue, and who installed it."""
    async with Database.connect(older_url) as superuser:
        url = older_url
        if installed_by != "superuser":
            await _let_create(superuser)
            url = _as_owner(url)
        async with Database.connect(url) as installer:
            yield Upgrade(superuser, url, installer, await rows(superuser))


@pytest.fixture
async def queue(old: Upgrade) -> AsyncIterator[Queue]:
    """The old queue, with the new program."""
    assert (await install(old.installer)).files[0] == "0008_by_app.sql"
    async with secateur.connect(old.installer_url) as queue:
        yield queue


async def test_nothing_is_lost(old: Upgrade) -> None:
    before = old.before
    await install(old.installer)
    await check_installed(old.installer)
    assert (await install(old.installer)).is_complete
    after = await rows(old.superuser)
    assert set(after) == set(before) | LATER | LISTS
    functions = sorted((row["app_id"], row["function_id"]) for row in before["functions"])
    assert sorted((row["app_id"], row["function_id"]) for row in after["due_functions"]) == functions
    assert [sorted(row["app_id"] for row in after[name]) for name in ("searches", "due_epochs")] == [sorted(APPS)] * 2
    floors = sorted((row["app_id"], row["function_id"]) for row in after["due_floors"])
    assert floors == sorted([*functions, *((app, "") for app in APPS)])
    assert not any(after[name] for name in LATER)
    made = "select count(*) from pg_tables where schemaname = 'secateur_locks'"
    assert await old.superuser.fetchval(made) == 2 * len(after["apps"])
    apps = {row["id"]: row["app_id"] for row in (*before["runs"], *before["cancellations"])}
    assert len(apps) == 2 * (12 + 6)
    for name, old_rows in before.items():
        if name in FORGOTTEN:
            continue
        assert old_rows, f"{name} is put to no test"
        expected, found = old_rows, after[name]
        if name in NEW:
            expected = [row | {"app_id": apps[row.get("cancellation_id") or row["run_id"]]} for row in old_rows]
        expected = [row | ADDED.get(name, {}) for row in expected]
        if name == "apps":
            expected = [{"lock_number": row["lock_key"], **row} for row in expected]
            expected = [{column: value for column, value in row.items() if column != "lock_key"} for row in expected]
        if name == "runs":
            keys = {row["run_id"]: row["key"] for row in before["enqueue_keys"]}
            expected = [row | {"idempotency_key": keys.get(row["id"])} for row in expected]
        if name == "depth_deltas":
            counted = [row for row in found if row["failed"]]
            assert sorted((row["app_id"], row["failed"]) for row in counted) == [(app, 1) for app in APPS]
            found = [row for row in found if not row["failed"]]
        if name == "cancellation_deltas":
            expected = [{column: value for column, value in row.items() if column != "id"} for row in expected]
        if name == "seen_events":
            expected = [row | {"app_id": app} for row in old_rows for app in APPS]
        if name == "audit":
            expected = [row | {"app_id": row["app_id"] or ""} for row in expected]
            installed = found.pop(next(n for n, row in enumerate(found) if row["id"] == len(old_rows) + 1))
            assert (installed["action"], installed["app_id"]) == ("install", "")
        assert sorted(map(repr, map(sorted, map(dict.items, found)))) == sorted(
            map(repr, map(sorted, map(dict.items, expected)))
        ), name


async def test_what_belongs_to_nothing_any_more_is_let_go(old: Upgrade) -> None:
    """Whoever deletes runs past the queue's functions leaves steps behind."""
    gone = an_id("billing", 0, 6)
    await old.superuser.execute("delete from secateur.runs where id = $1", gone)
    await install(old.installer)
    kept = await old.superuser.fetch("select app_id, count(*) from secateur.steps group by app_id order by app_id")
    assert [tuple(row) for row in kept] == [("billing", 3), ("crm", 4)]


async def test_functions_are_there_once(old: Upgrade, database: Database) -> None:
    """As after an install into an empty database, with the same owners and rights."""
    asked = """
        select routine.oid::regprocedure::text as signature,
               replace(pg_get_userbyid(routine.proowner), $1, 'owner') as owner,
               array(select replace(one::text, $1, 'owner') from unnest(routine.proacl) as one order by 1) as rights
          from pg_proc as routine
         where routine.pronamespace in ('secateur'::regnamespace, 'secateur_cel'::regnamespace)
         order by 1
    """
    await install(old.installer)
    role = await old.installer.fetchval("select current_user")
    assert await old.superuser.fetch(asked, role) == await database.fetch(asked, "postgres")


async def test_the_schema_is_what_an_install_makes(old: Upgrade, database: Database) -> None:
    asked = """
        select relation.relname as relation, attribute.attname as name, attribute.attnotnull as required,
               format_type(attribute.atttypid, attribute.atttypmod) as type,
               pg_get_expr(missing.adbin, missing.adrelid) as otherwise
          from pg_class as relation
          join pg_attribute as attribute on attribute.attrelid = relation.oid and attnum > 0 and not attisdropped
          left join pg_attrdef as missing on missing.adrelid = relation.oid and missing.adnum = attribute.attnum
         where relation.relnamespace = 'secateur'::regnamespace and relation.relkind in ('r', 'v')
         order by 1, attribute.attnum
    """
    indexes = "select indexdef from pg_indexes where schemaname = 'secateur' order by 1"
    constraints = """
        select conrelid::regclass::text as relation, conname, replace(pg_get_constraintdef(oid), ' NOT VALID', '')
          from pg_constraint where connamespace = 'secateur'::regnamespace and contype <> 'n' order by 1, 2, 3
    """
    await install(old.installer)
    for question in (asked, indexes, constraints):
        assert await old.superuser.fetch(question) == await database.fetch(question)


async def held(queue: Queue, function: str, app: str, number: int, *more: object) -> Any:
    """What a function says to the worker that holds a run since before the upgrade."""
    places = "".join(f", ${place}" for place in range(4, 4 + len(more)))
    return await queue.database.fetchval(
        f"select secateur.{function}($1, $2, $3{places})", app, an_id(app, 0, number), an_id(app, 1, number), *more
    )


async def statuses(superuser: Database, app: str) -> dict[int, str]:
    """By the run's number."""
    found = await superuser.fetch("select id, status from secateur.runs where app_id = $1 order by id", app)
    return {int(str(row["id"])[-2:]): row["status"] for row in found}


@pytest.mark.parametrize("app", APPS)
async def test_runs_go_on(queue: Queue, old: Upgrade, app: str) -> None:
    """Of the workers that held them; the sums are the rows; and what waits is claimed, as far as there are slots."""
    kept = await queue.database.fetch(
        "select * from secateur.finished_steps($1, $2, $3)", app, an_id(app, 0, 5), an_id(app, 1, 5)
    )
    assert [tuple(row) for row in kept] == [("fetch", '{"n": 2}'), ("store", "[]")]
    assert await held(queue, "begin_step", app, 5, "next") is True
    assert await held(queue, "begin_step", app, 4, "next") is False, "it was asked to stop"
    assert await held(queue, "finish_step", app, 5, "store", "[1]") is True
    assert await held(queue, "complete", app, 5) is True
    assert await held(queue, "complete", app, 6) is True, "it was before"
    assert await queue.database.fetchval("select drift from secateur.check_depth($1)", app) == 0
    await queue.resume("crm")
    claimed = await queue.database.fetch("select id from secateur.claim($1, null, 100, 'new', '1 hour')", app)
    # The other one that waits is cancelled by the claim.
    assert [row["id"] for row in claimed] == [an_id(app, 0, 1)]
    changed = {1: "running", 2: "cancelled", 4: "cancelled", 5: "completed"}
    before = {int(row["id"][-2:]): row["status"] for row in old.before["runs"] if row["app_id"] == app}
    assert await statuses(old.superuser, app) == before | changed
    other = next(one for one in APPS if one != app)
    untouched = {int(row["id"][-2:]): row["status"] for row in old.before["runs"] if row["app_id"] == other}
    assert await statuses(old.superuser, other) == untouched


async def test_cancellations_go_on(queue: Queue, old: Upgrade) -> None:
    open_ones = await queue.engine.ledger.open_cancellations()
    assert [(one.app_id, one.id, one.state) for one in open_ones] == [
        *((app, an_id(app, 2, 2), "restoring") for app in APPS),
        *((app, an_id(app, 2, 4), "active") for app in APPS),
    ]
    for app in APPS:
        restored = await queue.cancellations.wait(an_id(app, 2, 2))
        assert (restored.state, restored.cancelled, restored.restored) == ("undone", 2, 2)
        assert await held(queue, "begin_step", app, 4, "next") is False
        swept = await queue.cancellations.wait(an_id(app, 2, 4))
        assert (swept.state, swept.requested, swept.cancelled) == ("complete", 1, 2)
        left = await queue.cancellations.unrestored(an_id(app, 2, 3))
        assert [one.run_id for one in left] == [str(an_id(app, 0, 11))]
        undone = await queue.undo(an_id(app, 2, 1), wait=True)
        assert (undone.restored, undone.not_restored, undone.errors) == (1, 0, 7)
        assert (await statuses(old.superuser, app)).items() >= {
            **dict.fromkeys((1, 8, 9), "queued"),
            **dict.fromkeys((3, 10), "scheduled"),
            **dict.fromkeys((2, 4, 11, 12), "cancelled"),
        }.items()
    assert await queue.engine.ledger.open_cancellations() == []
    assert [one.id for one in await queue.cancellations.list()] == [
        an_id(app, 2, number) for number in range(6, 0, -1) for app in reversed(APPS)
    ]


async def test_what_was_asked_under_a_key_is_not_done_again(queue: Queue, old: Upgrade) -> None:
    event = {"name": "vendor/sync", "data": {"vendor": "acme"}}
    for app in APPS:
        assert await queue.enqueue(app, "sync", event, idempotency_key="once") == an_id(app, 0, 1)
    sent = await queue.database.fetch("""select * from secateur.send('{"id": "e1", "name": "user/deleted"}')""")
    assert [(row["app_id"], row["cancellation_id"]) for row in sent] == [(app, an_id(app, 2, 6)) for app in APPS]
    request = {"app_id": "billing", "function_id": "sync", "if": "event.data.vendor == 'initech'"}
    assert (await queue.cancel(request, idempotency_key="key of billing")).id == an_id("billing", 2, 1)
    with pytest.raises(IdempotencyConflict):
        await queue.cancel(request | {"function_id": "mail"}, idempotency_key="key of billing")
    assert await old.superuser.fetchval("select count(*) from secateur.cancellations") == 12
    await queue.cancel(request | {"app_id": "crm"}, idempotency_key="key of billing")
    assert await old.superuser.fetchval("select count(*) from secateur.cancellations") == 13
    # A new one has its place after all that there were.
    serials = await old.superuser.fetch("select serial from secateur.cancellations order by serial")
    assert [row["serial"] for row in serials] == [*range(1, 14)]


async def test_what_is_old_is_pruned(queue: Queue, old: Upgrade) -> None:
    assert (await queue.engine.prune(100)).runs == 2 * 3
    for app in APPS:
        assert not {6, 7, 12} & set(await statuses(old.superuser, app))
    assert await old.superuser.fetchval("select count(*) from secateur.steps") == 2 * 3


async def test_the_audit_is_read_as_it_was(queue: Queue, old: Upgrade) -> None:
    entries = await NativeEngine(old.superuser).ledger.audit(100)
    known = [(row["action"], row["app_id"] or None) for row in old.before["audit"]]
    assert [(entry.action, entry.app_id) for entry in reversed(entries)] == [*known, ("install", None)]
    assert {("install", None), ("retention", None), ("pause", "crm"), ("commit", "billing")} < set(known)
