"""The runner of migrations, on small migrations of the tests' own and then on the real ones."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

import secateur.schema
from patience import eventually
from secateur import __version__
from secateur.errors import DatabaseError, NotInstalled, PermissionDenied, ReadOnly
from secateur.postgres.database import Database
from secateur.schema import (
    REPEATABLE,
    Migration,
    bundled,
    check_installed,
    inspect_installation,
    install,
    released_checksums,
)

FILES = {
    "0001_schema.sql": "create table secateur.things (n int); insert into secateur.things values (1);",
    "0002_more.sql": "alter table secateur.things add column m int;",
    "apps.sql": "create or replace function secateur.f() returns int language sql as 'select 1';",
    "cel_zones.sql": "create or replace function secateur.c() returns int language sql as 'select 1';",
    "notes.txt": "not a migration",
}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.fixture
async def empty(empty_database_url: str) -> AsyncIterator[Database]:
    async with Database.connect(empty_database_url) as database:
        yield database


def read_migrations(directory: Path) -> list[Migration]:
    """The directory's numbered files, then its definitions."""
    numbered = sorted(path for path in directory.glob("*.sql") if path.name[:4].isdigit())
    defined = [directory / name for name in REPEATABLE if (directory / name).exists()]
    return [Migration(path.name, path.read_text(), once=path in numbered) for path in (*numbered, *defined)]


def all_names(directory: Path) -> list[str]:
    return [migration.name for migration in read_migrations(directory)]


def test_the_order(directory: Path) -> None:
    assert all_names(directory) == ["0001_schema.sql", "0002_more.sql", "cel_zones.sql", "apps.sql"]


async def test_installs_once(empty: Database, directory: Path) -> None:
    assert (await install(empty, read_migrations(directory))).files == all_names(directory)
    assert (await install(empty, read_migrations(directory))).is_complete
    assert await empty.fetchval("select count(*) from secateur.things") == 1
    await check_installed(empty, read_migrations(directory))


async def test_a_new_file_is_added(empty: Database, directory: Path) -> None:
    (directory / "0002_more.sql").unlink()
    await install(empty, read_migrations(directory))
    (directory / "0002_more.sql").write_text(FILES["0002_more.sql"])
    with pytest.raises(NotInstalled, match="older than this program: run `secateur install`"):
        await check_installed(empty, read_migrations(directory))
    assert (await install(empty, read_migrations(directory))).files == ["0002_more.sql"]


async def test_changed_functions_are_replaced_together(empty: Database, directory: Path) -> None:
    await install(empty, read_migrations(directory))
    (directory / "apps.sql").write_text(FILES["apps.sql"].replace("select 1", "select 2"))
    with pytest.raises(NotInstalled):
        await check_installed(empty, read_migrations(directory))
    assert (await install(empty, read_migrations(directory))).files == ["cel_zones.sql", "apps.sql"]
    assert await empty.fetchval("select secateur.f()") == 2
    await check_installed(empty, read_migrations(directory))


async def test_a_changed_migration_is_refused(empty: Database, directory: Path) -> None:
    await install(empty, read_migrations(directory))
    (directory / "0001_schema.sql").write_text("create table secateur.others ();")
    refusal = rf"was installed by secateur {__version__} with an unreleased form of 0001_schema\.sql.*Keep using"
    with pytest.raises(DatabaseError, match=refusal):
        await install(empty, read_migrations(directory))


async def test_a_newer_database_is_refused(empty: Database, directory: Path) -> None:
    await install(empty, read_migrations(directory))
    (directory / "0002_more.sql").unlink()
    for attempt in (install, check_installed):
        with pytest.raises(DatabaseError, match=r"newer than this program.*0002_more\.sql.*upgrade secateur"):
            await attempt(empty, read_migrations(directory))


async def test_newer_functions_are_left_alone(
    empty: Database, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as newer:
        newer.setattr(secateur.schema, "__version__", "999.0")
        await install(empty, read_migrations(directory))
    (directory / "apps.sql").write_text(FILES["apps.sql"].replace("select 1", "select 0"))
    assert (await install(empty, read_migrations(directory))).is_complete
    assert await empty.fetchval("select secateur.f()") == 1


async def test_all_or_nothing(empty: Database, directory: Path) -> None:
    (directory / "apps.sql").write_text("create or replace nonsense")
    with pytest.raises(DatabaseError, match="syntax error"):
        await install(empty, read_migrations(directory))
    assert await empty.fetchval("select to_regnamespace('secateur')") is None
    with pytest.raises(NotInstalled, match="no secateur schema: run `secateur install`"):
        await check_installed(empty, read_migrations(directory))


async def test_many_installers_at_once(empty_database_url: str, empty: Database, directory: Path) -> None:
    async def one() -> list[str]:
        async with Database.connect(empty_database_url) as database:
            return (await install(database, read_migrations(directory))).files

    answers = await asyncio.gather(*(one() for _ in range(8)))
    assert sorted(answers, key=len) == [[]] * 7 + [all_names(directory)]
    assert await empty.fetchval("select count(*) from secateur.things") == 1


async def test_gives_way_to_workers_and_comes_back(empty: Database, directory: Path) -> None:
    (directory / "0002_more.sql").unlink()
    await install(empty, read_migrations(directory))
    (directory / "0002_more.sql").write_text(FILES["0002_more.sql"])
    async with empty.transaction() as worker:
        await worker.execute("select * from secateur.things")
        installing = asyncio.create_task(install(empty, read_migrations(directory)))
        gave_way = "select coalesce(sum(xact_rollback), 0) from pg_stat_database where datname = current_database()"
        before = await empty.fetchval(gave_way)
        await eventually(lambda: empty.fetchval(f"select ({gave_way}) > $1", before), "the installer to give way")
        assert not installing.done()
        # A second reader is not stuck behind the installer for long.
        await empty.fetchval("select count(*) from secateur.things", timeout=4)
    assert (await installing).files == ["0002_more.sql"]


async def test_a_read_only_session_cannot_install(empty_database_url: str, directory: Path) -> None:
    async with Database.connect(empty_database_url, read_only=True) as database:
        with pytest.raises(ReadOnly):
            await install(database, read_migrations(directory))


class TestWithoutSuperuser:
    @pytest.fixture
    async def installer_url(self, empty: Database, empty_database_url: str) -> AsyncIterator[str]:
        """Of a role that may create schemas in this database, and roles."""
        await empty.execute("create role an_installer login createrole")
        await empty.execute(
            "do $$ begin execute format('grant create on database %I to an_installer', current_database()); end $$"
        )
        yield empty_database_url.replace("postgres@", "an_installer@")
        await empty.execute("drop owned by an_installer cascade")
        await empty.execute("drop role an_installer")

    async def test_installs(self, installer_url: str, directory: Path) -> None:
        async with Database.connect(installer_url) as database:
            assert (await install(database, read_migrations(directory))).files == all_names(directory)
            assert (await install(database, read_migrations(directory))).files == []

    async def test_anybody_may_ask_whether_it_is_installed(
        self, empty: Database, empty_database_url: str, directory: Path
    ) -> None:
        await install(empty, [*read_migrations(directory), grant_usage()])
        await empty.execute("create role a_reader login")
        try:
            url = empty_database_url.replace("postgres@", "a_reader@")
            async with Database.connect(url) as database:
                await check_installed(database, [*read_migrations(directory), grant_usage()])
        finally:
            await empty.execute("drop role a_reader")

    async def test_says_which_rights_it_takes(self, empty: Database, empty_database_url: str, directory: Path) -> None:
        await empty.execute("create role a_nobody login")
        try:
            url = empty_database_url.replace("postgres@", "a_nobody@")
            async with Database.connect(url) as database:
                with pytest.raises(PermissionDenied, match="needs a role that may create schemas"):
                    await install(database, read_migrations(directory))
        finally:
            await empty.execute("drop role a_nobody")


def grant_usage() -> Migration:
    return Migration("usage", "grant usage on schema secateur to public")


def test_released_migrations_never_change() -> None:
    """A change would shut every database out that has them: write a new file instead."""
    now = {one.name: one.checksum for one in bundled() if one.is_numbered}
    released = released_checksums()
    assert "0.1.0" in released
    for version, checksums in released.items():
        assert checksums.items() <= now.items(), f"released with {version}"


async def test_a_form_from_before_the_release_is_named(database: Database) -> None:
    """By a checkout whose migration was still being written."""
    await database.execute(
        "update secateur.migrations set checksum = 'other', program = '0.1.0' where name = '0008_by_app.sql'"
    )
    for attempt in (install, check_installed, inspect_installation):
        with pytest.raises(DatabaseError, match=r"installed by secateur 0\.1\.0 with an unreleased form of 0008"):
            await attempt(database)


def test_the_checksum_covers_arguments() -> None:
    migration = Migration("m", "insert …", (["a"],))
    assert migration.checksum != replace(migration, arguments=(["b"],)).checksum


class TestBundled:
    async def test_installs_and_is_found(self, empty: Database) -> None:
        installed = (await install(empty)).files
        assert installed[0] == "ledger.sql"
        assert installed[-1] == "vocabulary"
        assert (await install(empty)).is_complete
        await check_installed(empty)

    async def test_can_be_replaced(self, database: Database) -> None:
        """Each repeatable file can be applied over itself."""
        await database.execute("update secateur.migrations set checksum = '' where name = 'apps.sql'")
        with pytest.raises(NotInstalled):
            await check_installed(database)
        assert set((await install(database)).files) >= {*REPEATABLE, "vocabulary"}

    async def test_an_older_programs_files_may_be_gone(self, database: Database) -> None:
        await database.execute(
            "insert into secateur.migrations (name, checksum, program) values ('functions.sql', '', '0')"
        )
        await check_installed(database)
        assert (await install(database)).is_complete

    def test_every_file_is_known_to_the_runner(self) -> None:
        directory = Path(secateur.schema.__file__).parent
        assert {path.name for path in directory.glob("*.sql")} - {"runner.sql"} == set(all_names(directory))

    async def test_is_installed_without_a_superuser(self, empty: Database, empty_database_url: str) -> None:
        await empty.execute("create role an_owner login createrole")
        await empty.execute(
            "do $$ begin execute format('grant create on database %I to an_owner', current_database()); end $$"
        )
        if await empty.fetchval("select true from pg_roles where rolname = 'secateur_audit'"):
            newer = await empty.fetchval("select current_setting('server_version_num')::int >= 160000")
            option = "admin true, inherit false, set false" if newer else "admin option"
            await empty.execute(f"grant secateur_sandbox, secateur_audit to an_owner with {option}")
        try:
            async with Database.connect(empty_database_url.replace("postgres@", "an_owner@")) as database:
                await install(database)
                await database.execute("update secateur.migrations set checksum = '' where name = 'apps.sql'")
                await install(database)
                await database.execute("select secateur.enqueue('billing', 'sync', '{}')")
                await database.execute("select secateur.claim('billing', null, 1, 'w', '1 s')")
                for forbidden in ("delete from secateur.audit", "insert into secateur.audit (action) values ('stop')"):
                    with pytest.raises(PermissionDenied):
                        await database.execute(forbidden)
            entries = await empty.fetch("select action, role, details ->> 'version' as version from secateur.audit")
            assert [tuple(entry) for entry in entries] == [("install", "an_owner", __version__)] * 2
        finally:
            await empty.execute("drop schema if exists secateur, secateur_cel, secateur_locks cascade")
            await empty.execute("drop owned by an_owner cascade")
            await empty.execute("drop role an_owner")
