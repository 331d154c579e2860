"""Brings a database's schema `secateur` to what this program needs.

`migrations.py` says which files that takes. Definitions, which each room keeps in its folder `sql`, replace functions.
All of them are applied again when one has changed or a function is missing: the lock protocol must never be of two
minds. Rights are put right at every install. All of that is one transaction.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from secateur import __version__
from secateur.backoff import Backoff, persist
from secateur.errors import DatabaseError, LockUnavailable, NotInstalled, PermissionDenied
from secateur.postgres.database import Database
from secateur.postgres.statements import Statements
from secateur.schema.alterations import (
    SchemaObject,
    altered,
    describe,
    described,
    drop_views,
    is_of_another_server,
    put_back,
)
from secateur.schema.migrations import (
    EVERYTHING,
    REPEATABLE,
    Applied,
    Migration,
    Part,
    bundled,
    current,
    definition,
    find_missing,
    parts_of,
    released_checksums,
    version_of,
)
from secateur.words.shell import command_line

__all__ = [
    "EVERYTHING",
    "OLDEST_POSTGRES",
    "REPEATABLE",
    "Gap",
    "InstallSteps",
    "Migration",
    "Part",
    "bundled",
    "by_owner",
    "check_installed",
    "definition",
    "inspect_installation",
    "install",
    "released_checksums",
]

OLDEST_POSTGRES = 14
GIVING_WAY = Backoff(0.5, 0.5, attempts=10)
"""An install that gets no lock lets the workers pass before it tries again."""

LOOK_SECONDS = 0.25
"""How often an install looks up whom it waits for."""

ALTERED = "is not as secateur defines it"

_DEFINITION = re.compile(r"^create(?: or replace)? (function|view) (secateur|secateur_cel)\.(\w+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Gap:
    """Something in the catalog that is not as it should be."""

    what: str
    """The object, such as `function secateur.claim(text,text[])`."""
    gap: str
    """What is wrong with it, such as `EXECUTE is granted to PUBLIC`."""
    statement: str | None = None
    """Mends it, if the schema's owner executes it. None where an install mends it."""

    def __str__(self) -> str:
        return f"{self.what}: {self.gap}{by_owner(self.statement, '; ')}"


def by_owner(statement: str | None, before: str = "") -> str:
    """Who has to execute the statement of a gap; empty if there is none."""
    return f"{before}as the schema's owner: {statement}" if statement else ""


@dataclass(frozen=True, slots=True)
class InstallSteps:
    """What an install did, or has yet to do."""

    files: list[str]
    """Names of the migrations, in order."""
    gaps: list[Gap]
    """What else was wrong in a schema that was there before."""
    noted: list[str] = field(default_factory=list)
    """Numbered files that are in the history without having been applied: the tables were made as they are now."""
    parts: frozenset[Part] = EVERYTHING
    """What the database had before."""
    is_older: bool = True
    """The files differ from those that it was made by; else they are only applied again, to mend something."""

    @property
    def is_complete(self) -> bool:
        return not self.files and not self.gaps

    def by_problem(self) -> dict[tuple[str, str | None], list[str]]:
        """What each gap is and its statement, with the objects that have it, without their parameters."""
        found: dict[tuple[str, str | None], dict[str, None]] = {}
        for each in self.gaps:
            found.setdefault((each.gap, each.statement), {})[each.what.partition("(")[0]] = None
        return {problem: [*objects] for problem, objects in found.items()}


async def install(
    database: Database,
    migrations: Sequence[Migration] | None = None,
    *,
    author: str | None = None,
    parts: frozenset[Part] = EVERYTHING,
) -> InstallSteps:
    """Apply and mend what is missing; `author` is for the audit. Nothing is written if nothing is missing.

    A part that is there already is brought up to date as well, whether it is one of `parts` or not.

    While somebody holds what a migration needs, it gives way after two seconds and tries again. Raises
    `LockUnavailable`, which names them, if they never let go; `PermissionDenied` with the rights it takes; and
    `DatabaseError` if the database belongs to a newer program or its Postgres is too old.
    """
    migrations = current() if migrations is None else migrations
    blockers: list[str] = []
    try:
        return await persist(
            lambda: _install_once(database, migrations, parts, author, blockers), GIVING_WAY, LockUnavailable
        )
    except LockUnavailable as error:
        raise LockUnavailable(_in_the_way(database, blockers)) from error
    except PermissionDenied as error:
        raise PermissionDenied(
            f"installing into {database.description} needs a role that may create schemas and roles "
            f"and, on an upgrade, owns the schema secateur ({error})"
        ) from error


async def inspect_installation(
    database: Database, migrations: Sequence[Migration] | None = None, *, parts: frozenset[Part] = frozenset()
) -> InstallSteps:
    """What `install` would do; changes nothing. For any of secateur's roles, and whoever installed.

    Without `parts`, it looks only at those that the database has.

    Raises `NotInstalled` if there is no schema, and `DatabaseError` if it is too new for us. Who has no right in the
    schema gets `NotInstalled` if its rights are dangerous, else `PermissionDenied`.
    """
    migrations = current() if migrations is None else migrations
    await _require_schema(database)
    async with database.transaction() as connection:
        if not await connection.fetchval(_statements()["may_look"]):
            _refuse_dangers(await connection.fetch(_statements()["dangers"]), database.description)
        return await _inspect(connection, migrations, parts, database.description)


async def check_installed(
    database: Database, migrations: Sequence[Migration] | None = None, *, part: Part = Part.LEDGER
) -> str:
    """The version of secateur that the schema was brought up to last.

    Raises `NotInstalled` if the part or something of it is missing, or something is dangerous; `DatabaseError` if the
    schema is too new for us.
    """
    migrations = current() if migrations is None else migrations
    await _require_schema(database)
    _refuse_dangers(await database.fetch(_statements()["dangers"], repeatable=True), database.description)
    applied = _by_name(await database.fetch(_statements()["applied"], repeatable=True))
    missing = find_missing(migrations, applied, database.description)
    if applied and part not in parts_of(applied):
        raise NotInstalled(
            f"{database.description} has secateur's ledger for other queues, and not its own queue: "
            f"run `{command_line('install')}`"
        )
    if missing.to_apply:
        raise NotInstalled(
            f"the secateur schema of {database.description} is older than this program: run `{upgrading(applied)}`"
        )
    return max((each.program for each in applied.values()), key=version_of)


def upgrading(applied: Collection[str]) -> str:
    """The command that upgrades what a database with that history has, and adds nothing to it."""
    only_ledger = bool(applied) and Part.QUEUE not in parts_of(applied)
    return command_line("install", flags=[("--engine", "NAME")] if only_ledger else [])


async def _require_schema(database: Database) -> None:
    if not await database.fetchval(_statements()["exists"], repeatable=True):
        raise NotInstalled(f"{database.description} has no secateur schema: run `{command_line('install')}`")


def _refuse_dangers(rows: Sequence[Any], database: str) -> None:
    if rows:
        raise NotInstalled(
            f"the secateur schema of {database} has unsafe owners or rights, as after a restore "
            f"without its roles: run `{command_line('install')}` ({'; '.join(str(Gap(**row)) for row in rows)})"
        )


@cache
def _statements() -> Statements:
    return Statements.load(__name__, "runner.sql")


def _in_the_way(database: Database, blockers: Sequence[str]) -> str:
    who = ", ".join(blockers) or "somebody's open transaction"
    return (
        f"cannot install into {database.description}: {who} holds a lock; nothing was changed. "
        "Try again when that transaction has ended, or end it: select pg_terminate_backend(PROCESS)"
    )


async def _install_once(
    database: Database,
    migrations: Sequence[Migration],
    parts: frozenset[Part],
    author: str | None,
    blockers: list[str],
) -> InstallSteps:
    statements = _statements()
    async with database.transaction() as connection:
        version = int(await connection.fetchval("show server_version_num")) // 10000
        if version < OLDEST_POSTGRES:
            raise DatabaseError(f"secateur needs Postgres {OLDEST_POSTGRES} or newer; this is {version}")
        await connection.execute(statements["patience"])
        session = await connection.fetchval(statements["session"])
        async with _noting_blockers(database, session, blockers):
            if await connection.fetchval(statements["exists"]):
                needed = await _inspect(connection, migrations, parts, database.description)
                if needed.is_complete:
                    return needed
            return await _apply(connection, migrations, parts, database.description, author)


@asynccontextmanager
async def _noting_blockers(database: Database, session: int, blockers: list[str]) -> AsyncIterator[None]:
    """Keeps in `blockers` whom the session waited for last."""

    async def look() -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if found := await database.fetch(_statements()["blockers"], session):
                blockers[:] = [row["blocker"] for row in found]

    looking = asyncio.create_task(look())
    try:
        yield
    finally:
        looking.cancel()
        # An install does not fail because nobody can be named.
        with suppress(asyncio.CancelledError, DatabaseError):
            await looking


async def _inspect(
    connection: Any, migrations: Sequence[Migration], parts: frozenset[Part], database: str
) -> InstallSteps:
    applied = _by_name(await connection.fetch(_statements()["applied"]))
    gaps = await _gaps(connection, migrations, applied)
    older = find_missing(migrations, applied, database, parts)
    missing = find_missing(migrations, applied, database, parts, anew=True) if _lacks_definitions(gaps) else older
    return InstallSteps(
        [one.name for one in missing.to_apply],
        gaps,
        [one.name for one in missing.to_note],
        parts_of(applied),
        is_older=bool(older.to_apply),
    )


async def _apply(
    connection: Any, migrations: Sequence[Migration], parts: frozenset[Part], database: str, author: str | None
) -> InstallSteps:
    """Looks again under the installers' lock: another one may have done it."""
    statements = _statements()
    await _prepare(connection, statements)
    await connection.execute(statements["lock"])
    needed = await _inspect(connection, migrations, parts, database)
    if (before := await described(connection)) is not None:
        await drop_views(connection, await altered(connection, before), before)
    for migration in (one for one in migrations if one.name in {*needed.files, *needed.noted}):
        if migration.name in needed.files:
            await connection.execute(migration.sql, *migration.arguments)
        await connection.execute(statements["record"], migration.name, migration.checksum, __version__)
    needed = await _put_back(connection, migrations, parts | needed.parts, needed)
    if needed.gaps:
        if "rights.sql" not in needed.files:
            await connection.execute(statements["mend"])
        left = (await _inspect(connection, migrations, parts, database)).gaps
        if left:
            raise DatabaseError(f"some of {database} cannot be mended: {'; '.join(map(str, left))}")
    if not needed.is_complete and await connection.fetchval(statements["is_audited"]):
        mended = [str(gap) for gap in needed.gaps]
        details = {"version": __version__, "applied": needed.files, "mended": mended}
        await connection.execute(statements["audit"], author, json.dumps(details))
    return needed


async def _put_back(
    connection: Any, migrations: Sequence[Migration], parts: frozenset[Part], needed: InstallSteps
) -> InstallSteps:
    """What belongs to tables and is not as it should be; what is found only now is a gap, too."""
    if "rights.sql" in needed.files:
        tables = [one.sql for one in migrations if one.are_tables and one.part in parts]
        kept = await describe(connection, tables, are_new=not needed.parts)
        if not needed.parts:
            return needed  # the description is of what has just been made
    elif (before := await described(connection)) is not None:
        kept = before
    else:
        return needed
    wrong = await altered(connection, kept)
    await put_back(connection, wrong)
    return replace(needed, gaps=list(dict.fromkeys([*needed.gaps, *map(_altered_gap, wrong)])))


def _altered_gap(wrong: SchemaObject) -> Gap:
    return Gap(str(wrong), ALTERED, wrong.mending)


async def _gaps(connection: Any, migrations: Sequence[Migration], applied: Mapping[str, Applied]) -> list[Gap]:
    """What is wrong in a schema that was installed before; only the dangers where the database cannot say more."""
    if not applied:
        return []
    statements = _statements()
    current = [one for one in migrations if one.name in applied and applied[one.name].checksum == one.checksum]
    defined = [found for one in current if not one.once for found in _DEFINITION.findall(one.sql)]
    kinds, schemas, names = zip(*defined, strict=True) if defined else ((), (), ())
    lost = await connection.fetch(statements["lost"], kinds, schemas, names)
    # Without all of its functions, the schema may be unable to tell.
    asked = "rights" if not lost and await connection.fetchval(statements["tells_rights"]) else "dangers"
    gaps = [Gap(**row) for row in (*lost, *await connection.fetch(statements[asked]))]
    if (kept := await described(connection)) is not None:
        if await is_of_another_server(connection, kept):
            gaps.append(Gap("secateur.migrations", f"describes the schema as Postgres {kept.server} prints it"))
        gaps += map(_altered_gap, await altered(connection, kept))
    return list(dict.fromkeys(gaps))


def _lacks_definitions(gaps: Sequence[Gap]) -> bool:
    """Whether to apply the definitions anew."""
    anew = {"is missing": ("function ", "view "), ALTERED: ("function ", "view ")}
    return any(gap.what.startswith(anew.get(gap.gap, ())) or gap.what == "secateur.migrations" for gap in gaps)


async def _prepare(connection: Any, statements: Statements) -> None:
    """Looks first: `create … if not exists` asks for the right to create even where nothing is to do."""
    if await connection.fetchval(statements["exists"]):
        return
    if not await connection.fetchval(statements["schema_exists"]):
        await connection.execute(statements["create_schema"])
    await connection.execute(statements["create_migrations"])


def _by_name(rows: Sequence[Any]) -> dict[str, Applied]:
    return {row["name"]: Applied(row["checksum"], row["program"]) for row in rows}
