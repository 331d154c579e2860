"""A schema that has lost roles, owners or grants, by a restore or by somebody's hand: `secateur install` mends it."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest
from command_line import Here
from roles import FLOOD, events

import secateur
from secateur.errors import DatabaseError, NotInstalled, PermissionDenied
from secateur.postgres.database import Database
from secateur.postgres.embedded import EmbeddedPostgres
from secateur.schema import Gap, check_installed, inspect_installation, install

pytestmark = pytest.mark.one_postgres

RIGHTS = """
    select what, owner, array(select one::text from unnest(coalesce(acl, unsaid)) as one order by 1) as rights
      from (select 'function ' || oid::regprocedure as what, pg_get_userbyid(proowner) as owner, proacl as acl,
                   acldefault('f', proowner) as unsaid
              from pg_proc where pronamespace in ('secateur'::regnamespace, 'secateur_cel'::regnamespace)
            union all
            select 'relation ' || oid::regclass, pg_get_userbyid(relowner), relacl,
                   acldefault(case relkind when 'S' then 's' else 'r' end::"char", relowner)
              from pg_class where relnamespace = 'secateur'::regnamespace and relkind <> 'i'
            union all
            select 'schema ' || nspname, pg_get_userbyid(nspowner), nspacl, acldefault('n', nspowner)
              from pg_namespace where nspname in ('secateur', 'secateur_cel')
            union all
            select 'tables to come', pg_get_userbyid(defaclrole), defaclacl, null
              from pg_default_acl where defaclnamespace = 'secateur'::regnamespace) as listed
    union all
    select 'role ' || rolname, '', array[rolcanlogin, rolsuper, rolcreaterole, rolbypassrls]::text[]
      from pg_roles where rolname like 'secateur\\_%'
    order by 1
"""


@pytest.fixture
def elsewhere() -> Iterator[EmbeddedPostgres]:
    """Another cluster, in which nobody ever installed secateur."""
    with EmbeddedPostgres(settings={"fsync": "off"}) as server:
        yield server


@pytest.fixture
async def dumped(embedded_url: str, elsewhere: EmbeddedPostgres, tmp_path: Path) -> Path:
    """A dump of a queue in which three runs wait and one cancellation stands, of which two are matched."""
    async with secateur.connect(embedded_url) as queue:
        await queue.enqueue_many("billing", "sync", events("acme", "acme", "globex"))
        await queue.cancel(FLOOD)
    file = tmp_path / "queue.dump"
    tool(elsewhere, "pg_dump", "--format=custom", f"--file={file}", embedded_url)
    return file


def tool(server: EmbeddedPostgres, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([server.binaries / name, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0 or name == "pg_restore", done.stderr
    return done


def restore(server: EmbeddedPostgres, dump: Path, *options: str) -> str:
    done = tool(server, "pg_restore", "--dbname", server.url, *options, str(dump))
    return done.stderr


async def rights_in(url: str) -> list[tuple[object, ...]]:
    connection = await asyncpg.connect(url)
    try:
        return [tuple(row) for row in await connection.fetch(RIGHTS)]
    finally:
        await connection.close()


async def test_a_restore_without_the_roles(embedded_url: str, elsewhere: EmbeddedPostgres, dumped: Path) -> None:
    assert 'role "secateur_sandbox" does not exist' in restore(elsewhere, dumped)
    async with Database.connect(elsewhere.url) as database:
        with pytest.raises(NotInstalled, match=r"evaluate_conditions: belongs to postgres.*") as caught:
            await check_installed(database)
        assert "run `secateur install`" in str(caught.value)
        assert "record_audit: belongs to postgres, not to secateur_audit" in str(caught.value)
        before = await inspect_installation(database)
        assert not before.files
        done = await install(database, author="nadia")
        assert done == before
        assert {Gap("role secateur_viewer", "is missing"), Gap("role secateur_sandbox", "is missing")} <= set(done.gaps)
        assert await rights_in(elsewhere.url) == await rights_in(embedded_url)
        await check_installed(database)
        assert (await install(database)).is_complete
        (entry,) = await database.fetch(
            "select author, details from secateur.audit where details ? 'mended' and action = 'install' and id > 1"
        )
        assert entry["author"] == "nadia"
        assert "role secateur_viewer: is missing" in entry["details"]
    async with secateur.connect(elsewhere.url) as queue:
        claimed = await queue.database.fetch("select id from secateur.claim('billing', null, 9, 'w', '1 min')")
        assert len(claimed) == 1, "the cancellation that was in force still is"
        (cancellation,) = await queue.cancellations.list()
        assert (await queue.undo(cancellation.id, wait=True)).state == "undone"


@pytest.mark.parametrize("options", [("--no-privileges",), ("--no-owner", "--no-privileges"), ("--no-owner",)])
async def test_a_restore_without_owners_or_grants(
    embedded_url: str, elsewhere: EmbeddedPostgres, dumped: Path, options: tuple[str, ...]
) -> None:
    """The roles are there; what they own and may do is not."""
    async with Database.connect(elsewhere.url) as database:
        await database.execute("create role secateur_viewer; create role secateur_audit; create role secateur_sandbox")
        restore(elsewhere, dumped, *options)
        assert (await install(database)).gaps
        assert (await install(database)).is_complete
    assert await rights_in(elsewhere.url) == await rights_in(embedded_url)


async def test_a_restore_by_somebody_else(elsewhere: EmbeddedPostgres, dumped: Path) -> None:
    """Whoever restored owns the schema from now on, and needs not be a superuser."""
    async with Database.connect(elsewhere.url) as superuser:
        await superuser.execute(
            "create role a_restorer login createrole; grant create on database postgres to a_restorer"
        )
        url = elsewhere.url.replace("postgres@", "a_restorer@")
        tool(elsewhere, "pg_restore", "--dbname", url, "--no-owner", str(dumped))
        async with Database.connect(url) as database:
            assert (await install(database)).gaps
            assert (await install(database)).is_complete
            await check_installed(database)
            with pytest.raises(PermissionDenied):
                await database.execute("delete from secateur.audit")
        owners = await superuser.fetch(
            "select distinct proowner::regrole::text as name from pg_proc where pronamespace = 'secateur'::regnamespace"
        )
        assert {row["name"] for row in owners} == {"a_restorer", "secateur_audit", "secateur_sandbox"}


ALTERED = [
    (
        "create or replace function secateur.require_read_committed() returns void language plpgsql as 'begin end'",
        "function secateur.require_read_committed()",
    ),
    (
        "alter function secateur.lock_app reset lock_timeout",
        "function secateur.lock_app(text,interval)",
    ),
    ("alter function secateur_cel.upper_v1 volatile", "function secateur_cel.upper_v1(text)"),
    (
        "drop view secateur.cancelling_runs; create view secateur.cancelling_runs as select 1 as one",
        "view secateur.cancelling_runs",
    ),
    (
        "alter table secateur.apps drop constraint apps_app_id_check, add constraint apps_app_id_check check (true)",
        "constraint apps_app_id_check of secateur.apps",
    ),
    (
        "alter table secateur.functions drop constraint functions_app_id_fkey,"
        " add constraint functions_app_id_fkey foreign key (app_id) references secateur.apps on delete cascade",
        "constraint functions_app_id_fkey of secateur.functions",
    ),
    (
        "drop trigger refuse_odd_app on secateur.apps; create trigger refuse_odd_app after insert on secateur.apps"
        " for each row execute function secateur.refuse_odd_app()",
        "trigger refuse_odd_app of secateur.apps",
    ),
    (
        "alter table secateur.retention alter column finished set default '1 second'",
        "default of finished of secateur.retention",
    ),
    ("alter table secateur.runs alter column id set default gen_random_uuid()", "default of id of secateur.runs"),
    ("alter table secateur.runs alter column event drop not null", "nullability of event of secateur.runs"),
    ("alter table secateur.apps alter column created_at drop default", "default of created_at of secateur.apps"),
    ("alter table secateur.runs alter column step set not null", "nullability of step of secateur.runs"),
    (
        "drop index secateur.audit_by_id; create index audit_by_id on secateur.audit (at)",
        "index audit_by_id of secateur.audit",
    ),
    (
        "drop index secateur.cancellations_active;"
        " create index cancellations_active on secateur.cancellations (app_id, serial)",
        "index cancellations_active of secateur.cancellations",
    ),
]
"""What somebody may do by hand, and what it changes."""

SPOILT = [
    (
        "revoke usage on schema secateur from secateur_worker",
        "USAGE is not granted to secateur_worker",
    ),
    ("grant create on schema secateur to secateur_audit", "schema secateur: CREATE is granted to secateur_audit"),
    ("grant create on schema secateur to public", "schema secateur: CREATE is granted to PUBLIC"),
    ("revoke usage on schema secateur_cel from public", "schema secateur_cel: USAGE is not granted to PUBLIC"),
    (
        "alter function secateur.evaluate_conditions owner to postgres",
        "belongs to postgres, not to secateur_sandbox",
    ),
    ("alter function secateur.record_audit owner to postgres", "belongs to postgres, not to secateur_audit"),
    (
        "alter table secateur.audit owner to postgres",
        "secateur.audit: belongs to postgres, not to secateur_audit",
    ),
    ("alter table secateur.runs owner to a_passer_by", "table secateur.runs: belongs to a_passer_by, not to postgres"),
    ("alter view secateur.cancellation_tallies owner to a_passer_by", "belongs to a_passer_by, not to postgres"),
    ("alter type secateur.claimed_run owner to a_passer_by", "type secateur.claimed_run: belongs to a_passer_by"),
    ("alter schema secateur_cel owner to a_passer_by", "schema secateur_cel: belongs to a_passer_by, not to postgres"),
    ("alter function secateur.clock_of_tests() owner to a_passer_by", "belongs to a_passer_by, not to postgres"),
    ("grant execute on function secateur.all_apps() to public", "all_apps(): EXECUTE is granted to PUBLIC"),
    ("grant execute on function secateur.all_apps() to secateur_viewer", "EXECUTE is granted to secateur_viewer"),
    (
        "revoke execute on function secateur.all_apps() from secateur_worker",
        "EXECUTE is not granted to secateur_worker",
    ),
    ("revoke execute on function secateur_cel.double_v1 from public", "EXECUTE is not granted to PUBLIC"),
    (
        "grant insert on secateur.audit to secateur_operator",
        "INSERT is granted to secateur_operator",
    ),
    ("grant update (status) on secateur.runs to secateur_worker", "column secateur.runs.status: UPDATE is granted to"),
    ("grant all on secateur.runs to public", "table secateur.runs: INSERT is granted to PUBLIC"),
    (
        "revoke select on secateur.runs from secateur_viewer",
        "SELECT is not granted to secateur_viewer",
    ),
    ("revoke select on secateur.migrations from public", "SELECT is not granted to PUBLIC"),
    ("grant usage on sequence secateur.audit_id_seq to secateur_worker", "USAGE is granted to secateur_worker"),
    (
        "alter default privileges in schema secateur revoke select on tables from secateur_viewer",
        "tables to come in schema secateur: SELECT is not granted to secateur_viewer",
    ),
    ("alter role secateur_sandbox login superuser", "role secateur_sandbox: has superuser"),
    ("alter role secateur_operator login createrole", "role secateur_operator: has login"),
    ("grant secateur_audit to a_passer_by", "role a_passer_by: is a member of secateur_audit"),
    ("grant pg_monitor to secateur_sandbox", "role secateur_sandbox: is a member of pg_monitor"),
    ("drop function secateur.lock_app", "function secateur.lock_app: is missing"),
    ("drop function secateur_cel.upper_v1", "function secateur_cel.upper_v1: is missing"),
    ("drop function secateur.unrestored", "function secateur.unrestored: is missing"),
    ("drop view secateur.cancelling_runs", "view secateur.cancelling_runs: is missing"),
    *[(spoil, f"{what}: is not as secateur defines it") for spoil, what in ALTERED],
]


@pytest.fixture
async def spoilable(database_url: str) -> AsyncIterator[Database]:
    """As its owner; with somebody who has no business there."""
    async with Database.connect(database_url) as database:
        await database.execute("create role a_passer_by login")
        try:
            yield database
        finally:
            await database.execute("drop owned by a_passer_by cascade")
            await database.execute("drop role a_passer_by")
            # Roles are the whole server's.
            await install(database)


@pytest.mark.parametrize(("spoil", "said"), SPOILT, ids=[spoil[:60] for spoil, _ in SPOILT])
async def test_each_gap_is_found_told_and_mended(spoilable: Database, spoil: str, said: str) -> None:
    before = await rights_of(spoilable)
    await spoilable.execute("create function secateur.clock_of_tests() returns int language sql return 1")
    await spoilable.execute("revoke execute on function secateur.clock_of_tests() from public")
    await spoilable.execute(spoil)
    found = await inspect_installation(spoilable)
    assert said in "\n".join(map(str, found.gaps))
    assert await inspect_installation(spoilable) == found, "looking changes nothing"
    assert (await install(spoilable)) == found
    assert (await install(spoilable)).is_complete
    await spoilable.execute("drop function secateur.clock_of_tests()")
    assert await rights_of(spoilable) == before


async def test_an_upgrade_finds_what_was_altered_before_it(spoilable: Database) -> None:
    """An older program kept no description of what it had made."""
    await spoilable.execute("alter table secateur.migrations drop column objects")
    of_tables = [(spoil, what) for spoil, what in ALTERED if " of " in what]
    for spoil, _ in of_tables:
        await spoilable.execute(spoil)
    assert (await inspect_installation(spoilable)).is_complete, "nothing tells"
    await spoilable.execute("update secateur.migrations set checksum = 'of before' where name = 'locks.sql'")
    done = await install(spoilable)
    assert {*map(str, done.gaps)} == {f"{what}: is not as secateur defines it" for _, what in of_tables}
    assert (await install(spoilable)).is_complete


async def test_what_another_version_of_postgres_has_described_is_described_anew(spoilable: Database) -> None:
    await spoilable.execute("""
        update secateur.migrations set objects = jsonb_set(objects, '{server}', '13') where objects is not null""")
    for spoil, what in ALTERED:
        if not what.startswith("view"):
            await spoilable.execute(spoil)
    found = await inspect_installation(spoilable)
    assert [*map(str, found.gaps)] == ["secateur.migrations: describes the schema as Postgres 13 prints it"]
    done = await install(spoilable)
    of_tables = [f"{what}: is not as secateur defines it" for _, what in ALTERED if " of " in what]
    assert {*map(str, done.gaps)} == {*map(str, found.gaps), *of_tables}
    assert (await install(spoilable)).is_complete


async def test_the_type_of_a_column_is_told_with_the_statement_that_mends_it(spoilable: Database) -> None:
    """An install does not rewrite a table, and cannot know what becomes of its values."""
    await spoilable.execute("alter table secateur.restores alter column again_from type text")
    (gap,) = (await inspect_installation(spoilable)).gaps
    assert gap.what == "type of again_from of secateur.restores"
    assert gap.gap == "is not as secateur defines it"
    assert gap.statement is not None
    with pytest.raises(DatabaseError, match=r"cannot be mended: type of again_from of secateur\.restores"):
        await install(spoilable)
    await spoilable.execute(gap.statement)
    assert (await install(spoilable)).is_complete


async def test_what_needs_an_altered_view_keeps_it_from_being_put_back(spoilable: Database) -> None:
    await spoilable.execute("""
        create or replace view secateur.cancelling_runs as
          select 'a' as app_id, 'f' as function_id, 1::numeric as runs""")
    await spoilable.execute("create view own_view as select * from secateur.cancelling_runs")
    with pytest.raises(DatabaseError, match=r"cannot drop .*view"):
        await install(spoilable)
    await spoilable.execute("drop view own_view")
    done = await install(spoilable)
    assert [*map(str, done.gaps)] == ["view secateur.cancelling_runs: is not as secateur defines it"]


async def rights_of(database: Database) -> list[tuple[object, ...]]:
    return [tuple(row) for row in await database.fetch(RIGHTS)]


async def test_what_others_were_granted_stays(spoilable: Database) -> None:
    await spoilable.execute(
        "grant usage on schema secateur to a_passer_by; grant select on secateur.runs to a_passer_by"
    )
    await spoilable.execute("grant secateur_viewer to a_passer_by; grant pg_read_all_stats to secateur_viewer")
    try:
        assert (await install(spoilable)).is_complete
    finally:
        await spoilable.execute("revoke pg_read_all_stats from secateur_viewer")


async def test_who_may_not_mend_is_told_what_is_wrong(spoilable: Database, database_url: str) -> None:
    """Also a login that has lost all its rights with the roles."""
    async with Database.connect(database_url.replace("postgres@", "a_passer_by@")) as database:
        with pytest.raises(PermissionDenied):
            await inspect_installation(database)
        await spoilable.execute("grant execute on function secateur.all_apps() to public")
        for attempt in (inspect_installation, check_installed):
            with pytest.raises(NotInstalled, match=r"function secateur\.all_apps: EXECUTE is granted to PUBLIC"):
                await attempt(database)
        with pytest.raises(PermissionDenied, match="needs a role that may create schemas and roles"):
            await install(database)


async def test_installers_at_once_mend_once(spoilable: Database, database_url: str) -> None:
    await spoilable.execute("revoke execute on all functions in schema secateur from secateur_worker")

    async def one() -> int:
        async with Database.connect(database_url) as database:
            return len((await install(database)).gaps)

    assert sorted(await asyncio.gather(*(one() for _ in range(4))))[:3] == [0, 0, 0]
    assert (await inspect_installation(spoilable)).is_complete


async def do_nothing(run: secateur.ActiveRun) -> None:
    pass


class TestTheCommand:
    async def test_says_what_it_would_mend_and_what_it_mended(
        self, embedded_url: str, spoilable: Database, here: Here, database_url: str
    ) -> None:
        run = lambda *arguments: asyncio.to_thread(here, "install", *arguments, url=database_url)  # noqa: E731
        done = await run("--check")
        assert (done.code, done.err) == (0, "")
        assert done.out.endswith(" is up to date.\n")
        await spoilable.execute("grant execute on all functions in schema secateur to public")
        done = await run("--check", "--read-only")
        assert done.code == 1
        assert done.out.startswith("To be mended in local/")
        assert "\n  EXECUTE is granted to PUBLIC: function secateur.adopt, function secateur." in done.out
        document = (await run("--check", "--json")).json
        assert document["to_apply"] == []
        gap = {"object": "function secateur.all_apps()", "problem": "EXECUTE is granted to PUBLIC", "statement": None}
        assert gap in document["to_mend"]
        done = await run()
        assert done.code == 0
        assert done.out.startswith("Mended in local/")
        assert (await run("--json")).json["mended"] == []
        assert (await run("--check")).code == 0
        audited = (await asyncio.to_thread(here, "audit", "--json", url=database_url)).json
        assert "function secateur.all_apps(): EXECUTE is granted to PUBLIC" in str(audited)

    async def test_tells_the_statement_that_an_install_does_not_execute(
        self, spoilable: Database, here: Here, database_url: str
    ) -> None:
        await spoilable.execute("alter table secateur.restores alter column again_from type text")
        run = lambda *arguments: asyncio.to_thread(here, "install", "--check", *arguments, url=database_url)  # noqa: E731
        (gap,) = (await run("--json")).json["to_mend"]
        assert gap["object"] == "type of again_from of secateur.restores"
        said = f"  {gap['problem']}: {gap['object']}; as the schema's owner: {gap['statement']}\n"
        assert (await run()).out.endswith(said)
        await spoilable.execute(gap["statement"])
        assert (await run()).code == 0

    async def test_without_a_schema(self, empty_database_url: str, here: Here) -> None:
        done = await asyncio.to_thread(here, "install", "--check", url=empty_database_url)
        assert done.code == 1
        assert "has no secateur schema: run `secateur install`" in done.err

    async def test_of_an_older_schema(self, database: Database, database_url: str, here: Here) -> None:
        await database.execute("update secateur.migrations set checksum = '' where name = 'apps.sql'")
        done = await asyncio.to_thread(here, "install", "--check", url=database_url)
        assert done.code == 1
        assert "To be applied to local/" in done.out
        assert "apps.sql" in done.out

    async def test_every_other_command_refuses_what_is_dangerous(
        self, database: Database, database_url: str, here: Here
    ) -> None:
        billing = secateur.App("billing")
        billing.function(id="sync")(do_nothing)
        await database.execute("alter function secateur.evaluate_conditions owner to postgres")
        with pytest.raises(NotInstalled, match="evaluate_conditions: belongs to postgres"):
            await secateur.Worker(database_url, apps=[billing]).run()
        for command in (("depth",), ("history",), ("serve", "--port", "0")):
            done = await asyncio.to_thread(here, *command, url=database_url)
            assert done.code == 1
            assert "run `secateur install`" in done.err
            assert "evaluate_conditions: belongs to postgres, not to secateur_sandbox" in done.err
