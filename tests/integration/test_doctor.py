"""`secateur doctor` names what is wrong, whom it concerns and what to do, with whatever rights, and writes nothing."""

from __future__ import annotations

import json
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta, tzinfo
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from billing import CULPRIT, seed
from command_line import Here
from poolers import pooling
from roles import NOBODY, url_of

import secateur
from secateur.checked_settings import Context
from secateur.doctor import CHECKS, Finding, Severity, database, examine, here, holding, queues, tables
from secateur.engines.foreign.gating import GateKeeper
from secateur.engines.foreign.installing import install_queue
from secateur.engines.loading import find_installation
from secateur.postgres.database import Database
from secateur.schema import EVERYTHING
from secateur.schema.expected import expected_indexes, expected_tables
from secateur.settings import Settings, Target

NO_FILE = Path("/nonexistent/config.toml")
NOWHERE = "postgresql://nobody@127.0.0.1:1/nothing"


async def found(url: str, settings: Settings | None = None, file: Path = NO_FILE) -> list[Finding]:
    """Every finding. Whatever is wrong comes with what to do about it."""
    findings = [each async for each in examine(settings or Settings(), Target(url, read_only=True), file)]
    for each in findings:
        json.dumps(dict(each.details))
        assert each.severity in {Severity.OK, Severity.NOTE} or each.what_to_do, each
    return findings


async def of(check: str, url: str) -> list[Finding]:
    return [each for each in await found(url) if each.check == check]


async def one(check: str, url: str) -> Finding:
    (finding,) = await of(check, url)
    return finding


@asynccontextmanager
async def open_transaction(url: str, statement: str) -> AsyncIterator[int]:
    """The process whose transaction has executed the statement, and is idle since."""
    connection = await asyncpg.connect(url, server_settings={"application_name": "a debugger"})
    try:
        await connection.execute("begin")
        await connection.execute(statement)
        yield int(connection.get_server_pid())
    finally:
        connection.terminate()


async def do(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url)
    for each in statements:
        await connection.execute(each)
    await connection.close()


async def test_every_check_answers_a_superuser_on_every_postgres(database_url: str) -> None:
    await seed(database_url)
    findings = await found(database_url)
    assert [each for each in findings if each.severity is Severity.UNSEEN] == []
    assert {each.check for each in findings} == {"connection", *dict(CHECKS), *here.CHECKS}
    wrong = {each.check for each in findings if each.severity in {Severity.WARNING, Severity.ERROR}}
    assert wrong <= {"server"}, "the tests' servers forget, and nothing else is wrong"


async def test_without_rights_it_says_what_it_cannot_see(
    owner: asyncpg.Connection, logins: dict[str, asyncpg.Connection], database_url: str
) -> None:
    await owner.execute("begin")
    await owner.execute("select pg_current_xact_id()")
    for role in (*(name for name in logins if name != NOBODY), NOBODY):
        findings = await found(url_of(role, database_url))
        unseen = {each.check for each in findings if each.severity is Severity.UNSEEN}
        assert "transactions" in unseen, "pg_read_all_stats is missing"
        assert ({"login", "schema"} <= unseen) is (role == NOBODY)
        assert all("permission denied" not in (each.what_to_do or "") for each in findings)
    await owner.execute("rollback")


async def test_an_open_transaction_is_named_with_what_it_holds_back(
    embedded_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(holding, "LONG_SECONDS", 0.0)
    await seed(embedded_url)
    await do(embedded_url, "create table notes (text text)")
    async with open_transaction(embedded_url, "insert into notes values ('a secret')") as pid:
        async with secateur.connect(embedded_url) as queue:
            await queue.cancel({"app_id": "billing", "if": CULPRIT})
        (finding,) = [each for each in await of("transactions", embedded_url) if each.details.get("pid") == pid]
        assert finding.severity is Severity.WARNING
        assert finding.details["role"] == "postgres"
        assert finding.details["application"] == "a debugger"
        assert finding.details["statement_since"]
        assert finding.details["holds_back_sweeps"] == 1
        assert f"process {pid} of postgres, a debugger," in finding.summary
        assert "1 cancellation cannot complete" in finding.summary
        assert "insert into notes values (…" in finding.summary
        assert "secret" not in repr(finding)
        assert finding.what_to_do == f"ask its owner; to end it: select pg_terminate_backend({pid})"
        monkeypatch.setattr(holding, "TOO_LONG_SECONDS", 0.0)
        assert Severity.ERROR in {each.severity for each in await of("transactions", embedded_url)}


async def test_a_forgotten_prepared_transaction_is_named(embedded_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holding, "LONG_SECONDS", 0.0)
    await do(embedded_url, "begin", "select pg_current_xact_id()", "prepare transaction 'it''s forgotten'")
    try:
        (finding,) = [
            each for each in await of("prepared", embedded_url) if each.details.get("gid") == "it's forgotten"
        ]
        assert finding.severity is Severity.WARNING
        assert str(finding.what_to_do).endswith("rollback prepared 'it''s forgotten'")
    finally:
        await do(embedded_url, "rollback prepared 'it''s forgotten'")


async def test_a_slot_without_a_reader_is_named(embedded_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holding, "MUCH_WAL", 0)
    await do(embedded_url, "select pg_create_physical_replication_slot('gone', true)")
    try:
        (finding,) = await of("slots", embedded_url)
        assert finding.severity is Severity.WARNING
        assert "slot gone has no reader and holds back" in finding.summary
        assert "select pg_drop_replication_slot('gone')" in str(finding.what_to_do)
    finally:
        await do(embedded_url, "select pg_drop_replication_slot('gone')")


async def test_the_tables_tell_every_index(embedded_url: str) -> None:
    async with Database.connect(embedded_url) as opened:
        rows = await opened.fetch(
            "select own.relname as name from pg_index as about join pg_class as own on own.oid = about.indexrelid"
            " where own.relnamespace = 'secateur'::regnamespace"
            " and not exists (select from pg_constraint as rule where rule.conindid = own.oid)"
        )
    assert {row["name"] for row in rows} == {*expected_indexes(EVERYTHING)}


async def test_a_missing_and_an_invalid_index(embedded_url: str) -> None:
    await do(
        embedded_url,
        "drop index secateur.runs_queued",
        "update pg_index set indisvalid = false where indexrelid = 'secateur.runs_failed'::regclass",
    )
    invalid, missing = await of("indexes", embedded_url)
    assert (invalid.severity, missing.severity) == (Severity.WARNING, Severity.ERROR)
    assert invalid.what_to_do == "reindex index concurrently secateur.runs_failed"
    assert missing.summary.startswith("secateur.runs_queued is missing")
    await do(embedded_url, str(missing.what_to_do).partition(": ")[2], str(invalid.what_to_do))
    assert (await one("indexes", embedded_url)).severity is Severity.OK


async def test_what_is_switched_off_on_the_tables(embedded_url: str) -> None:
    await do(
        embedded_url,
        "alter table secateur.runs disable trigger all",
        "drop trigger refuse_odd_app on secateur.apps",
        "alter table secateur.apps enable row level security",
        "alter table secateur.depth_drifts set unlogged",
    )
    found = await of("tables", embedded_url)
    assert {each.severity for each in found} == {Severity.ERROR}
    assert {each.summary for each in found} >= {
        "trigger refuse_deep_event of secateur.runs is disabled, so what it refuses is written",
        "trigger refuse_odd_app is missing, so what it refuses is written",
        "secateur.apps hides its rows from everybody but its owner: row security is on",
        "secateur.depth_drifts is unlogged: a crash empties it",
    }
    await do(embedded_url, *(str(each.what_to_do).partition(": ")[2] for each in found))
    assert (await one("tables", embedded_url)).severity is Severity.OK


async def test_the_tables_tell_every_column_and_constraint(embedded_url: str) -> None:
    async with Database.connect(embedded_url) as opened:
        rows = await opened.fetch("""
            select own.relname as name,
                   array(select part.attname::text from pg_attribute as part
                          where part.attrelid = own.oid and part.attnum > 0 and not part.attisdropped
                          order by part.attnum) as columns,
                   array(select known.conname::text from pg_constraint as known
                          where known.conrelid = own.oid and known.contype <> 'n') as constraints
              from pg_class as own
             where own.relnamespace = 'secateur'::regnamespace and own.relkind = 'r' and own.relname <> 'migrations'""")
    there = {row["name"]: (row["columns"], {*row["constraints"]}) for row in rows}
    expected = expected_tables(EVERYTHING)
    assert there == {name: ([*one.columns], {*one.constraints}) for name, one in expected.items()}


async def test_lost_columns_and_constraints(embedded_url: str) -> None:
    await do(
        embedded_url,
        "alter table secateur.runs drop constraint runs_states",
        "alter table secateur.functions drop constraint functions_app_id_fkey",
        "alter table secateur.apps drop column paused_by",
        "alter table secateur.idle drop constraint idle_pkey",
        "alter table secateur.budgets drop column set_at",
    )
    found = await of("tables", embedded_url)
    assert [each.summary.partition(" is missing")[0] for each in found] == [
        "column paused_by of secateur.apps",
        "constraint functions_app_id_fkey of secateur.functions",
        "column set_at of secateur.budgets",
        "constraint runs_states of secateur.runs",
        "constraint idle_pkey of secateur.idle",
    ]
    await do(embedded_url, *(str(each.what_to_do).partition(": ")[2] for each in found))
    assert (await one("tables", embedded_url)).severity is Severity.OK
    await do(embedded_url, "drop table secateur.seen_events")
    assert (await one("tables", embedded_url)).summary.startswith("secateur.seen_events is missing")


async def test_dead_rows_and_bloat(embedded_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "MANY_DEAD", 1)
    monkeypatch.setattr(tables, "WASTED_BYTES", 2**16)
    await do(
        embedded_url,
        "alter table secateur.depth_samples set (autovacuum_enabled = off)",
        "insert into secateur.depth_samples (app_id, coarse, at)"
        " select 'a', false, now() + n * interval '1 s' from generate_series(1, 20000) as n",
        "delete from secateur.depth_samples where at < (select max(at) from secateur.depth_samples)",
        "select pg_stat_clear_snapshot(); analyze secateur.depth_samples",
    )
    said = "\n".join(each.summary for each in await of("bloat", embedded_url))
    assert "autovacuum is off for secateur.depth_samples" in said
    assert "secateur.depth_samples has 19,999 dead rows beside" in said
    await do(embedded_url, "vacuum (analyze) secateur.depth_samples")
    findings = {each.summary.partition(" has ")[0]: each for each in await of("bloat", embedded_url)}
    index = findings["index secateur.depth_samples_pkey"]
    assert index.what_to_do == "reindex index concurrently secateur.depth_samples_pkey"
    assert "table secateur.depth_samples" in findings


async def test_a_table_that_is_soon_not_writable(embedded_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "OLD_AGE", 0)
    assert any("Postgres stops to write" in each.summary for each in await of("bloat", embedded_url))


async def test_a_schema_that_somebody_has_altered(embedded_url: str) -> None:
    await do(
        embedded_url,
        "create or replace function secateur.require_read_committed() returns void language plpgsql as 'begin end'",
        "alter table secateur.apps drop constraint apps_app_id_check, add constraint apps_app_id_check check (true)",
    )
    finding = await one("schema", embedded_url)
    assert finding.severity is Severity.ERROR
    assert finding.summary == (
        "is not as secateur defines it: constraint apps_app_id_check of secateur.apps, function"
        " secateur.require_read_committed"
    )
    assert finding.what_to_do == "run secateur install"


async def test_a_column_whose_type_somebody_has_altered(embedded_url: str) -> None:
    await do(embedded_url, "alter table secateur.restores alter column again_from type text")
    finding = await one("schema", embedded_url)
    assert finding.summary == "is not as secateur defines it: type of again_from of secateur.restores"
    statement = finding.details["statement"]
    assert finding.what_to_do == f"as the schema's owner: {statement}"
    await do(embedded_url, statement)
    assert (await one("schema", embedded_url)).severity is Severity.OK


async def test_a_schema_that_lacks_something(embedded_url: str, empty_database_url: str) -> None:
    await do(embedded_url, "grant execute on function secateur.claim(text, text[], integer, text, interval) to public")
    finding = await one("schema", embedded_url)
    assert finding.severity is Severity.ERROR
    assert finding.summary == "EXECUTE is granted to PUBLIC: function secateur.claim"
    assert finding.what_to_do == "run secateur install"
    missing = await one("schema", empty_database_url)
    assert missing.severity is Severity.ERROR
    assert "has no secateur schema" in missing.summary


async def test_a_pending_guarantee_names_who_is_in_its_way(embedded_url: str) -> None:
    await seed(embedded_url)
    claim = "select secateur.claim('billing', null, 1, 'slow', interval '1 minute')"
    async with open_transaction(embedded_url, claim) as pid:
        async with secateur.connect(embedded_url) as queue:
            committed = await queue.cancel({"app_id": "billing", "if": CULPRIT})
        finding = await one("guarantee", embedded_url)
        assert finding.severity is Severity.ERROR
        assert str(committed.id) in finding.summary
        assert finding.what_to_do == f"end it: select pg_terminate_backend({pid})"


async def test_sweeps_that_nobody_makes(embedded_url: str) -> None:
    await seed(embedded_url)
    async with secateur.connect(embedded_url) as queue:
        await queue.cancel({"app_id": "billing", "if": CULPRIT})
        connected = await of("sweeps", embedded_url)
        assert connected[-1].severity is Severity.OK
    alone = await one("sweeps", embedded_url)
    assert (alone.severity, alone.details) == (Severity.WARNING, {"open": 1, "programs": 0})
    await do(
        embedded_url, "update secateur.sweeps set failures = 2, failing_since = now(), last_error = 'the disk is full'"
    )
    failing, _ = await of("sweeps", embedded_url)
    assert "the disk is full" in failing.summary


async def test_a_depth_that_nobody_adds_up_or_that_was_off(embedded_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    await seed(embedded_url)
    assert (await one("depth", embedded_url)).severity is Severity.OK
    with monkeypatch.context() as patch:
        patch.setattr(queues, "UNSUMMED_SECONDS", 0.0)
        assert (await one("depth", embedded_url)).severity is Severity.WARNING
    await do(embedded_url, "insert into secateur.depth_checks (app_id, counted, drift) values ('billing', 10, 3)")
    assert "found the depth off by 3 runs" in (await one("depth", embedded_url)).summary


@pytest.mark.skipif(not find_spec("procrastinate"), reason="procrastinate is not installed")
async def test_a_gate_that_is_stale(empty_database_url: str) -> None:
    await do(empty_database_url, files("procrastinate").joinpath("sql", "schema.sql").read_text(encoding="utf-8"))
    assert (await one("schema", empty_database_url)).severity is Severity.NOTE
    assert "install --engine procrastinate" in str((await one("engines", empty_database_url)).what_to_do)
    async with Database.connect(empty_database_url) as opened:
        queue = await find_installation(opened, "procrastinate")
        await install_queue(opened, queue)
        await GateKeeper(opened, queue).install(None)
    states = {each.details["name"]: each for each in await of("engines", empty_database_url)}
    assert states["procrastinate"].details["gate"] == "on"
    await do(empty_database_url, "alter table procrastinate_jobs disable trigger all")
    states = {each.details["name"]: each for each in await of("engines", empty_database_url)}
    assert states["procrastinate"].severity is Severity.ERROR
    assert "its trigger is disabled" in states["procrastinate"].summary
    assert states["procrastinate"].what_to_do == "secateur gate --engine procrastinate install"


async def test_poolers_in_the_way(embedded_url: str) -> None:
    with pooling(embedded_url, "session", 5) as url:
        assert (await one("pooler", url)).severity is Severity.NOTE
        assert (await one("tls", url)).severity is Severity.UNSEEN
    with pooling(embedded_url, "transaction", 5) as url:
        findings = await found(url)
    assert {each.check for each in findings} == {"connection", *here.CHECKS}
    assert findings[0].severity is Severity.ERROR
    assert "a pooler in transaction or statement mode" in findings[0].summary


async def test_a_clock_that_is_off(embedded_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Late(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Any:
            return datetime.now(tz) - timedelta(hours=1)

    monkeypatch.setattr(database, "datetime", Late)
    finding = await one("clock", embedded_url)
    assert finding.severity is Severity.WARNING
    assert "s ahead of this machine's" in finding.summary


@pytest.mark.parametrize(
    ("url", "verified"),
    [
        ("postgresql://h/d", False),
        ("postgresql://h/d?sslmode=require", False),
        ("postgresql://h/d?sslrootcert=system", True),
    ],
)
def test_who_authenticates_the_server(url: str, verified: bool) -> None:
    assert database._verifies(url) is verified


async def test_connections_that_run_out(embedded_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "FULL", 0.0)
    assert any("connections are taken" in each.summary for each in await of("server", embedded_url))


async def test_a_configuration_that_others_may_read(embedded_url: str, tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.touch()
    settings = Settings(
        contexts={
            "prod": Context(database="postgresql://a:b@h/d"),
            "old": Context(database="postgresql://h/d?sslmode=sometimes"),
        }
    )
    file.chmod(stat.S_IRUSR | stat.S_IWUSR | stat.S_IROTH)
    broken, readable = [each for each in await found(embedded_url, settings, file) if each.check == "settings"]
    assert "context 'old': sslmode must be one of" in broken.summary
    assert readable.what_to_do == f"chmod 600 {file}, or keep it in ~/.pgpass"
    file.chmod(stat.S_IRUSR | stat.S_IWUSR)
    assert len([each for each in await found(embedded_url, settings, file) if each.check == "settings"]) == 1


def test_exit_codes_and_the_same_in_json(here: Here, embedded_url: str) -> None:
    done = here("doctor", "--json", url=embedded_url)
    assert (done.code, done.err, done.json["worst"]) == (3, "", "warning")
    assert {*done.json["findings"][0]} == {"check", "severity", "summary", "what_to_do", "details"}
    away = here("doctor", "--json", url=NOWHERE)
    assert (away.code, away.json["worst"]) == (4, "error")
    assert (
        away.json["findings"][0]["summary"]
        == "cannot reach 127.0.0.1/nothing: connection refused; is the server running?"
    )
    assert here("doctor").code == 2, "no database is named"


def test_the_text_fits_a_terminal_of_80_columns(here: Here, embedded_url: str) -> None:
    done = here("doctor", url=embedded_url)
    lines = done.out.splitlines()
    assert [line for line in lines if len(line) > 80] == []
    assert lines[0].startswith("ok       connection   connected to")
    assert "warning" in lines[-1]
