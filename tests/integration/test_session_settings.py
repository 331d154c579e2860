"""Whatever a session, role, database or URL has set, a condition means the same: at preview, commit, claim and sweep.

Every setting that a user can change is tried, with the rest of its category, at its lowest, its highest and each of its
words. What is computed is compared with Python's execution of the same conditions, which knows no settings.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import asyncpg
import pytest

import secateur
from dangerous_settings import DANGEROUS
from patience import PATIENCE
from secateur.cel import EvaluationError
from secateur.cel import compile as compile_filter
from secateur.postgres.database import Database
from secateur.postgres.sessions import PINNED
from secateur.schema import install

pytestmark = pytest.mark.one_postgres

CONDITIONS = (
    "event.data.vendor == 'acme_inc'",
    "event.data.vendor.startsWith('acme')",
    "event.data.vendor.endsWith('_inc')",
    'event.data.vendor.contains("\\\\")',
    "event.data.vendor.matches('^acme[._]')",
    "event.data.vendor.matches('^\\\\w+$')",
    "event.data.vendor.size() == 8",
    "event.data.vendor.split('_').size() == 2",
    "event.data.vendor.trim().upperAscii() == 'ACME_INC'",
    "event.data.vendor.replace('_', '-') == 'acme-inc'",
    "event.data.vendor in ['acme_inc', 'x']",
    "bytes(event.data.vendor).size() == 8",
    "event.data.amount > 0.05",
    "double(event.data.amount) * 3.0 > 0.3",
    "string(double(event.data.amount) * 3.0) == '0.30000000000000004'",
    "double(event.data.amount) / 3.0 == 0.03333333333333333",
    "int(event.data.text) == 7",
    "double(event.data.text) > 6.5",
    "duration(event.data.wait) > duration('90m')",
    "string(duration(event.data.wait)) == '5400.500s'",
    "timestamp(event.data.at) < timestamp('2024-03-02T00:00:00Z')",
    "timestamp(event.data.at).getDayOfMonth('Europe/Berlin') == 1",
    "timestamp(event.data.at).getHours() == 23",
    "string(timestamp(event.data.at)) == '2024-03-01T23:30:00.25Z'",
    "event.data.items.exists(i, i.sku == 'a' && i.n > 1)",
    "event.data.items.map(i, i.n).exists(n, n == 2)",
    "event.data.missing == null",
    "run.started_at < now && run.function.startsWith('f')",
)

EVENTS: tuple[dict[str, Any], ...] = (
    {
        "vendor": "acme_inc",
        "amount": 0.1,
        "text": "7",
        "wait": "1h30m0.5s",
        "at": "2024-03-01T23:30:00.25Z",
        "items": [{"sku": "a", "n": 2}],
        "missing": None,
    },
    {
        "vendor": "ac\\me",
        "amount": 1e-5,
        "text": "7.25",
        "wait": "-1ns",
        "at": "2024-02-29T00:30:00+14:00",
        "items": [],
    },
    {"vendor": "\u2003acme.inc ", "amount": 1e300, "text": "\\x37", "wait": "5400s", "at": "yesterday", "items": {}},
    {"vendor": None, "amount": "0.1", "text": 7, "wait": 90, "at": 1, "items": None},
)

NOW = datetime(2024, 3, 10, 12, tzinfo=UTC)
RUN: dict[str, Any] = {
    "id": "018d2b1c-0000-7000-8000-000000000001",
    "app": "shop",
    "function": "f1",
    "started_at": NOW - timedelta(hours=1),
    "priority": 0,
}
THE_ID = "'00000000-0000-4000-8000-000000000001'"

PINS_OF_FUNCTIONS = PINNED | {"enable_indexscan": "on", "enable_indexonlyscan": "on", "enable_nestloop": "on"}

TEXTS = {
    "DateStyle": ("SQL, DMY", "German", "Postgres, YMD"),
    "TimeZone": ("Asia/Kathmandu", "America/St_Johns"),
    "timezone_abbreviations": ("India",),
    "search_path": ("", "pg_temp", "public, secateur"),
    "lc_messages": ("C",),
    "lc_monetary": ("C",),
    "lc_numeric": ("C",),
    "lc_time": ("C",),
    "default_text_search_config": ("pg_catalog.german",),
    "application_name": ("'\\",),
    "temp_tablespaces": ("",),
    "default_tablespace": ("",),
    "restrict_nonsystem_relation_kind": ("view, foreign-table",),
    "plpgsql.extra_errors": ("none", "all"),
}
"""Of settings that are texts. Others name libraries, or what the server writes to its log."""

UNTRIED = {
    "client_encoding": "the bytes between client and server: values are the same on both sides",
    "role": "who it is, not how it computes",
    "session_authorization": "who it is, not how it computes",
    "is_superuser": "cannot be set",
    "seed": "cannot be read",
    "ignore_system_indexes": "only at the start of a session",
}

REFUSED = {
    "default_transaction_isolation": "SC412, in words",
    "default_transaction_read_only": "nothing can be written",
    "transaction_isolation": "SC412, in words",
    "transaction_read_only": "nothing can be written",
    "transaction_deferrable": "only before the first statement",
    "statement_timeout": "the statement ends, and nothing was changed",
    "transaction_timeout": "the session ends, and nothing was changed",
    "lock_timeout": "the statement ends, and nothing was changed",
    "idle_in_transaction_session_timeout": "the session ends, and nothing was changed",
    "idle_session_timeout": "the session ends",
    "client_connection_check_interval": "not on every system",
    "temp_file_limit": "the statement ends, and nothing was changed",
    "max_stack_depth": "the statement ends, and nothing was changed",
    "log_min_messages": "fills the log",
    "log_min_error_statement": "fills the log",
    "client_min_messages": "fills the line",
    "session_replication_role": "a superuser's: who sets it switches triggers off",
}
"""Settings that make a call fail, or that only the server's own people can set. A failed call changes nothing."""


def expected() -> tuple[set[tuple[int, int]], set[tuple[int, int]]]:
    """Of which events (from 1) which conditions (from 1) are true, and of which they are errors."""
    true, errors = set(), set()
    for (c, source), (e, data) in itertools.product(enumerate(CONDITIONS, 1), enumerate(EVENTS, 1)):
        try:
            if compile_filter(source).evaluate({"event": {"data": data}, "run": RUN, "now": NOW}) is True:
                true.add((e, c))
        except EvaluationError:
            errors.add((e, c))
    return true, errors


def function(condition: int) -> str:
    return f"f{condition}"


@pytest.fixture
async def url(database_url: str) -> str:
    """Of an app in which each function has all events, and an active cancellation with its own condition."""
    async with secateur.connect(database_url) as queue:
        for c, source in enumerate(CONDITIONS, 1):
            await queue.enqueue_many("shop", function(c), [{"n": n, "data": data} for n, data in enumerate(EVENTS, 1)])
            await queue.cancel({"app_id": "shop", "function_id": function(c), "if": source})
    return database_url


async def verdicts(connection: asyncpg.Connection) -> tuple[set[tuple[int, int]], set[tuple[int, int]]]:
    """What evaluate_conditions says: which pairs are true, and which could not be evaluated."""
    stored = [compile_filter(source).condition.stored() for source in CONDITIONS]
    many = len(EVENTS)
    rows = await connection.fetch(
        "select place::int, nth, verdict from secateur.evaluate_conditions("
        "conditions => $1, parameters => $2::jsonb, app_id => 'shop', function_ids => $3, ids => $4::uuid[],"
        " events => $5::jsonb[], started_at => array_fill($6::timestamptz, array[$7::int]),"
        " priorities => array_fill(0, array[$7::int]))",
        [condition for condition, _ in stored],
        json.dumps([parameters | {"now": "2024-03-10T12:00:00.000000Z"} for _, parameters in stored]),
        [RUN["function"]] * many,
        [uuid4() for _ in EVENTS],
        [json.dumps({"data": data}) for data in EVENTS],
        *(RUN["started_at"], many),
    )
    return (
        {(row["place"], row["nth"]) for row in rows if row["verdict"]},
        {(row["place"], row["nth"]) for row in rows if row["verdict"] is None},
    )


async def claimed(connection: asyncpg.Connection) -> set[tuple[int, int]]:
    """The runs that a claim gives out, as pairs of event and condition; it is taken back.

    A claim holds runs back when the machine is too slow for its budget: it is asked again then.
    """
    async with asyncio.timeout(PATIENCE):
        while True:
            transaction = connection.transaction()
            await transaction.start()
            try:
                rows = await connection.fetch(
                    "select event, function_id from secateur.claim('shop', null, 1000, 'w', '1 hour')"
                )
                held_back = await connection.fetchval("select exists (select from secateur.slow_verdicts)")
            finally:
                await transaction.rollback()
            if not held_back:
                return {(json.loads(row["event"])["n"], int(row["function_id"][1:])) for row in rows}


def values_of(setting: asyncpg.Record) -> tuple[str, ...]:
    """What a setting can be set to."""
    match setting["vartype"]:
        case "bool":
            return ("on", "off")
        case "enum":
            return tuple(setting["enumvals"])
        case "string":
            return TEXTS.get(setting["name"], ())
        case _:
            return setting["min_val"], setting["max_val"]


async def rounds(connection: asyncpg.Connection) -> Iterator[tuple[str, dict[str, str]]]:
    """Sessions to try: of each category all settings at their first value, at their second, and so on."""
    settings = await connection.fetch(
        "select name, category, vartype, enumvals, min_val, max_val from pg_settings"
        " where context in ('user', 'superuser') and name not like 'auto\\_explain.%' order by category, name"
    )
    found = []
    for category, members in itertools.groupby(settings, lambda setting: setting["category"]):
        if category == "Developer Options":
            continue
        columns = {
            setting["name"]: values
            for setting in members
            if setting["name"] not in UNTRIED | REFUSED and (values := values_of(setting))
        }
        for nth in range(max(map(len, columns.values()), default=0)):
            found.append((category, {name: values[nth % len(values)] for name, values in columns.items()}))
    return iter(found)


async def test_no_setting_of_the_session_changes_what_a_condition_means(url: str) -> None:
    true, errors = expected()
    everything = set(itertools.product(range(1, len(EVENTS) + 1), range(1, len(CONDITIONS) + 1)))
    assert true
    assert errors
    watch = await asyncpg.connect(url)
    tried: set[str] = set()
    wrong: list[str] = []
    for category, settings in await rounds(watch):
        connection = await asyncpg.connect(url, server_settings={"jit": "on"})
        for name, value in settings.items():
            try:
                await connection.execute("select set_config($1, $2, false)", name, value)
            except asyncpg.PostgresError:
                continue  # what this build or machine does not offer
            tried.add(name.lower())
        try:
            if await verdicts(connection) != (true, errors):
                wrong.append(f"{category}: evaluated otherwise with {settings}")
            if await claimed(connection) != everything - true:
                wrong.append(f"{category}: claimed otherwise with {settings}")
        except asyncpg.PostgresError as error:
            wrong.append(f"{category}: {error} with {settings}")
        finally:
            connection.terminate()
    await watch.close()
    assert not wrong, "\n".join(wrong)
    assert PINS_OF_FUNCTIONS.keys() <= tried


@pytest.mark.parametrize("name", REFUSED)
async def test_what_a_setting_refuses_changes_nothing(url: str, name: str) -> None:
    true, _ = expected()
    watch = await asyncpg.connect(url)
    setting = await watch.fetchrow(
        "select name, vartype, enumvals, min_val, max_val from pg_settings where name = $1", name
    )
    if setting is None:
        pytest.skip("this Postgres has no such setting")
    for value in values_of(setting):
        connection = await asyncpg.connect(url)
        try:
            await connection.execute("select set_config($1, $2, false)", name, value)
            assert not await claimed(connection) & true
        except (asyncpg.PostgresError, asyncpg.InterfaceError, ConnectionError):
            pass
        finally:
            connection.terminate()
    assert await watch.fetchval("select count(*) from secateur.runs where status = 'queued'") == len(EVENTS) * len(
        CONDITIONS
    )
    await watch.close()


CATALOG_ONLY = {"secateur.rights_gaps()"}
"""They read who may do what, and compute with nothing."""


@asynccontextmanager
async def set_by(way: str, url: str) -> AsyncIterator[str]:
    """The URL of a database, or of its server, where all of these are set by the database or in the URL."""
    if way == "url":
        options = " ".join(f"-c {name}={value.replace(' ', '')}" for name, value in DANGEROUS.items())
        yield f"{url}&options={quote(options)}"
        return
    connection = await asyncpg.connect(url)
    name = await connection.fetchval("select current_database()")
    for setting, value in DANGEROUS.items():
        await connection.execute(f"alter database {name} set {setting} = '{value}'")
    await connection.close()
    yield url


@pytest.mark.parametrize("way", ["database", "url"])
async def test_a_preview_and_a_sweep_agree_with_the_claim(database_url: str, way: str) -> None:
    true, errors = expected()
    async with set_by(way, database_url) as url, secateur.connect(url) as queue:
        for c, source in enumerate(CONDITIONS, 1):
            await queue.enqueue_many("shop", function(c), [{"n": n, "data": data} for n, data in enumerate(EVENTS, 1)])
            request = {"app_id": "shop", "function_id": function(c), "if": source}
            preview = await queue.preview(request)
            matched = sum(condition == c for _, condition in true)
            failing = sum(condition == c for _, condition in errors)
            assert (source, preview.count.matched, preview.count.errors) == (source, matched, failing)
            assert (await queue.cancel(request, wait=True)).cancelled == matched


async def test_installs_alike_whatever_is_set(empty_database_url: str, database_url: str) -> None:
    found = []
    for url in (empty_database_url, database_url):
        async with set_by("database", url), Database.connect(url) as database:
            await install(database)
            rows = await database.fetch(
                "select routine.oid::regprocedure::text as name, routine.prosrc, routine.proconfig,"
                " routine.prosqlbody::text from pg_proc as routine"
                " where routine.pronamespace in ('secateur'::regnamespace, 'secateur_cel'::regnamespace) order by 1"
            )
            found.append([(row["name"], row["prosrc"], row["proconfig"], row["prosqlbody"] is None) for row in rows])
    assert found[0] == found[1]


async def test_whatever_others_may_call_pins_what_it_computes_with(database: Database) -> None:
    rows = await database.fetch(
        "select routine.oid::regprocedure::text as name, routine.proconfig from pg_proc as routine"
        " where routine.pronamespace = 'secateur'::regnamespace and routine.prosecdef"
    )
    missing = {}
    for row in rows:
        settings = {name.lower(): value for name, _, value in (one.partition("=") for one in row["proconfig"])}
        missing[row["name"]] = {name for name, value in PINS_OF_FUNCTIONS.items() if settings.get(name) != value}
    assert {name: of for name, of in missing.items() if of and name not in CATALOG_ONLY} == {
        "secateur.declare_cancel_on(text,text,jsonb)": {"intervalstyle"}  # it has its own
    }


async def test_only_the_owner_may_call_what_pins_nothing(database: Database) -> None:
    granted = await database.fetch(
        "select routine.oid::regprocedure::text as name from pg_proc as routine, aclexplode(routine.proacl) as grants"
        " where routine.pronamespace = 'secateur'::regnamespace and not routine.prosecdef"
        "   and grants.grantee <> routine.proowner"
    )
    # It commits, so it can pin nothing; and it computes nothing.
    assert [row["name"].partition("(")[0] for row in granted] == ["secateur.claim_and_flush"]


async def test_no_function_reads_a_backslash_by_a_setting(database: Database) -> None:
    """Its text is read when a session calls it first, and kept, whatever that session had set."""
    rows = await database.fetch(
        "select routine.oid::regprocedure::text as name, routine.prosrc as source from pg_proc as routine"
        " where routine.pronamespace in ('secateur'::regnamespace, 'secateur_cel'::regnamespace)"
    )
    escaped = re.compile(r"E'(?:[^'\\]|\\.|'')*'(?:\s*\n\s*'(?:[^'\\]|\\.|'')*')*", re.DOTALL)
    suspicious = [row["name"] for row in rows if "\\" in escaped.sub("", row["source"]) or "U&'" in row["source"]]
    assert suspicious == []


async def test_a_decision_of_people_is_on_disk_before_they_are_told(database_url: str) -> None:
    connection = await asyncpg.connect(database_url, server_settings={"synchronous_commit": "off"})
    await connection.execute("select secateur.ensure_function('shop', 'f1')")
    for call in (
        "pause('shop', null, 'tester', 'python')",
        "resume('shop', null, 'tester', 'python')",
        "commit_cancellation($1, 'shop', null, null, null, null, false, null, '{}', 1, '{}', null, null, 'python',"
        " 'tester', null, null)",
        "stop_cancellation('shop', $1, 'tester')",
        "undo_cancellation('shop', $1, 'tester')",
    ):
        async with connection.transaction():
            await connection.execute(f"select secateur.{call.replace('$1', THE_ID)}")
            assert await connection.fetchval("show synchronous_commit") == "on", call
        assert await connection.fetchval("show synchronous_commit") == "off"
    await connection.close()
