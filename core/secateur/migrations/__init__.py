"""Brings a database's schema `secateur` to what this program needs: the files beside this one, in order.

`0001_….sql` and the like are applied once, ever. The others replace functions and are applied again, all of
them together, when one has changed: the functions of the lock protocol must never be of two minds. Everything
happens in one transaction, so that an installation either is there or is not.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

from secateur import __version__
from secateur.database import Database
from secateur.errors import DatabaseError, LockUnavailable, NotInstalled, PermissionDenied
from secateur.statements import Statements

INSTALL_LOCKS = 7215
APP_LOCKS = 7216
SWEEP_LOCKS = 7217
UPKEEP_LOCKS = 7218
"""First integers of our advisory locks; the second is 0, an app's `lock_key`, a cancellation's `serial`, a task."""

REPEATABLE = (
    "cel_v1.sql",
    "roles.sql",
    "audit.sql",
    "bounds.sql",
    "apps.sql",
    "slots.sql",
    "levels.sql",
    "conditions.sql",
    "cancelling.sql",
    "enqueueing.sql",
    "keys.sql",
    "bulk.sql",
    "declaring.sql",
    "events.sql",
    "finding.sql",
    "claiming.sql",
    "performing.sql",
    "committing.sql",
    "single_runs.sql",
    "sweeping.sql",
    "undoing.sql",
    "depth.sql",
    "pruning.sql",
    "rights.sql",
)
"""In the order in which they need each other; rights come last."""

RETIRED = frozenset({"functions.sql"})
"""Repeatable files of older programs, whose functions are in others by now."""

OLDEST_POSTGRES = 14
ATTEMPTS = 10


@dataclass(frozen=True, slots=True)
class Migration:
    name: str
    sql: str
    arguments: tuple[object, ...] = ()
    """For a single statement with placeholders."""
    once: bool = False

    @property
    def checksum(self) -> str:
        return hashlib.sha256(repr((self.sql, *self.arguments)).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Applied:
    """A migration as the database remembers it."""

    checksum: str
    program: str
    """The version that applied it."""


async def install(
    database: Database, migrations: Sequence[Migration] | None = None, *, author: str | None = None
) -> list[str]:
    """Apply what is missing and return its names; none if the database was up to date. `author` is for the audit.

    While workers hold what a migration needs, it gives way after two seconds and tries again. Raises
    `LockUnavailable` if they never let go, `PermissionDenied` with the rights it takes, and `DatabaseError`
    if the database belongs to a newer program or its Postgres is too old.
    """
    migrations = _bundled() if migrations is None else migrations
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return await _install_once(database, migrations, author)
        except LockUnavailable:
            if attempt == ATTEMPTS:
                raise
            await asyncio.sleep(random.uniform(0.1, 0.5))  # noqa: S311 - lets workers pass
        except PermissionDenied as error:
            raise PermissionDenied(
                f"installing into {database.description} needs a role that may create schemas and roles "
                f"there, and that owns the schema secateur if there is one ({error})"
            ) from error
    raise AssertionError("unreachable")


async def check_installed(database: Database, migrations: Sequence[Migration] | None = None) -> None:
    """Raises `NotInstalled` if something is missing, `DatabaseError` if the schema is too new for us."""
    migrations = _bundled() if migrations is None else migrations
    if not await database.fetchval(_statements()["exists"], repeatable=True):
        raise NotInstalled(f"{database.description} has no secateur schema: run `secateur install`")
    rows = await database.fetch(_statements()["applied"], repeatable=True)
    if _missing(migrations, _by_name(rows), database.description):
        raise NotInstalled(f"the secateur schema of {database.description} is older: run `secateur install`")


def read_migrations(directory: Traversable) -> list[Migration]:
    """The directory's migrations in the order in which they are applied."""
    numbered = sorted(path.name for path in directory.iterdir() if re.match(r"\d{4}_.*\.sql$", path.name))
    repeatable = [name for name in REPEATABLE if directory.joinpath(name).is_file()]
    return [
        Migration(name, directory.joinpath(name).read_text(encoding="utf-8"), once=name in numbered)
        for name in (*numbered, *repeatable)
    ]


def _bundled() -> list[Migration]:
    from secateur.cel import VOCABULARY  # the compiler is not needed before

    vocabulary = Migration("vocabulary", _statements()["vocabulary"], (sorted(VOCABULARY),))
    return [*read_migrations(files(__name__)), vocabulary]


def _statements() -> Statements:
    return Statements.load(__name__, "runner.sql")


async def _install_once(database: Database, migrations: Sequence[Migration], author: str | None) -> list[str]:
    statements = _statements()
    async with database.transaction() as connection:
        version = int(await connection.fetchval("show server_version_num")) // 10000
        if version < OLDEST_POSTGRES:
            raise DatabaseError(f"secateur needs Postgres {OLDEST_POSTGRES} or newer; this is {version}")
        await connection.execute(statements["patience"])
        await connection.execute(statements["lock"], INSTALL_LOCKS)
        await _prepare(connection, statements)
        applied = _by_name(await connection.fetch(statements["applied"]))
        missing = _missing(migrations, applied, database.description)
        for migration in missing:
            await connection.execute(migration.sql, *migration.arguments)
            await connection.execute(statements["record"], migration.name, migration.checksum, __version__)
        if missing and await connection.fetchval(statements["is_audited"]):
            await connection.execute(statements["audit"], author, __version__, [one.name for one in missing])
    return [migration.name for migration in missing]


async def _prepare(connection: Any, statements: Statements) -> None:
    """Looks first: `create … if not exists` asks for the right to create even where nothing is to do."""
    if await connection.fetchval(statements["exists"]):
        return
    if not await connection.fetchval(statements["schema_exists"]):
        await connection.execute(statements["create_schema"])
    await connection.execute(statements["create_migrations"])
    await connection.execute(statements["grant_migrations"])


def _missing(migrations: Sequence[Migration], applied: dict[str, Applied], database: str) -> list[Migration]:
    """What is to be applied. Raises `DatabaseError` if the database's history is not this program's."""
    known = {migration.name for migration in migrations}
    unknown = sorted(name for name in applied if name not in known | RETIRED)
    if unknown:
        raise DatabaseError(
            f"the secateur schema of {database} is newer than this program, {__version__} "
            f"(it has {', '.join(unknown)}): upgrade secateur"
        )
    for migration in migrations:
        before = applied.get(migration.name)
        if migration.once and before and before.checksum != migration.checksum:
            raise DatabaseError(
                f"{migration.name} is not what was applied to {database}: "
                "a migration must never change afterwards; use the program that installed it"
            )
    newer = [name for name, before in applied.items() if _version(before.program) > _version(__version__)]
    changed = any(
        not migration.once
        and migration.name not in newer
        and (migration.name not in applied or applied[migration.name].checksum != migration.checksum)
        for migration in migrations
    )
    return [
        migration
        for migration in migrations
        if (migration.name not in applied if migration.once else changed and migration.name not in newer)
    ]


def _by_name(rows: Sequence[Any]) -> dict[str, Applied]:
    return {row["name"]: Applied(row["checksum"], row["program"]) for row in rows}


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text))
