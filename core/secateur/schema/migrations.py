"""The files that make the schema, and which of them a database lacks.

A schema has one part or two: the ledger alone, for other engines' queues, or secateur's own queue as well. A database
that has nothing of a part gets the part's tables as they are now. The numbered files are for databases that have an
older form of them: each is a change, and is applied once, ever.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache, cached_property
from importlib.resources import files

from secateur import __version__
from secateur.errors import DatabaseError
from secateur.postgres.statements import Statements
from secateur.schema.definitions import DEFINITIONS, OF_THE_QUEUE, TABLES

REPEATABLE = tuple(path.rpartition("/")[2] for path in DEFINITIONS)
"""Their names in the database's history."""

RETIRED = frozenset({"functions.sql", "cel_v1.sql"})
"""Repeatable files of older programs, whose functions are in others by now."""

_PART = re.compile(r"^-- part: (\w+)$", re.MULTILINE)


class Part(StrEnum):
    """What can be installed."""

    LEDGER = "ledger"
    """What it takes to cancel in any queue."""
    QUEUE = "queue"
    """secateur's own queue."""


EVERYTHING = frozenset(Part)


@dataclass(frozen=True)
class Migration:
    name: str
    sql: str
    arguments: tuple[object, ...] = ()
    """For a single statement with placeholders."""
    once: bool = False
    part: Part = Part.LEDGER
    are_tables: bool = False
    """Tables of its part as they are now, for a database that has nothing of the part."""

    @property
    def is_numbered(self) -> bool:
        return self.once and not self.are_tables

    @cached_property
    def checksum(self) -> str:
        return hashlib.sha256(repr((self.sql, *self.arguments)).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Applied:
    """A migration as the database remembers it."""

    checksum: str
    program: str
    """The version that applied it."""


@dataclass(frozen=True, slots=True)
class Missing:
    """What a database lacks, each in its order."""

    to_apply: list[Migration]
    to_note: list[Migration]
    """Numbered files whose changes are in the tables that are to be applied."""


@cache
def bundled() -> Sequence[Migration]:
    """All files of this program, in the order in which they are applied."""
    own = files("secateur.schema")
    numbered = sorted(path.name for path in own.iterdir() if re.match(r"\d{4}_.*\.sql$", path.name))
    return (
        *(_numbered(name, own.joinpath(name).read_text(encoding="utf-8")) for name in numbered),
        *(
            Migration(
                name,
                own.joinpath(f"tables/{name}").read_text(encoding="utf-8"),
                once=True,
                part=part,
                are_tables=True,
            )
            for part in Part
            for name in TABLES[part]
        ),
        *(
            Migration(name, definition(name), part=Part.QUEUE if path in OF_THE_QUEUE else Part.LEDGER)
            for name, path in zip(REPEATABLE, DEFINITIONS, strict=True)
        ),
    )


def _numbered(name: str, sql: str) -> Migration:
    said = _PART.search(sql)
    return Migration(name, sql, once=True, part=Part(said[1]) if said else Part.LEDGER)


def definition(name: str) -> str:
    """The text of one of the files that are applied again whenever one of them has changed."""
    path = DEFINITIONS[REPEATABLE.index(name)]
    return files("secateur").joinpath(path).read_text(encoding="utf-8")


@cache
def current() -> Sequence[Migration]:
    """What this program needs: its files, and the vocabulary of its compiler."""
    from secateur.cel import VOCABULARY  # the compiler is not needed before

    vocabulary = Statements.load("secateur.schema", "runner.sql")["vocabulary"]
    return (*bundled(), Migration("vocabulary", vocabulary, (sorted(VOCABULARY),)))


def parts_of(applied: Collection[str]) -> frozenset[Part]:
    """The parts that a database with that history has. Before there were files of tables, both were always made."""
    if not applied:
        return frozenset()
    if TABLES[Part.LEDGER][0] not in applied:
        return EVERYTHING
    return frozenset(part for part in Part if TABLES[part][0] in applied)


def find_missing(
    migrations: Sequence[Migration],
    applied: Mapping[str, Applied],
    database: str,
    parts: frozenset[Part] = frozenset(),
    *,
    anew: bool = False,
) -> Missing:
    """What these parts lack, and those that the database has (of neither, all); with `anew`, every definition of them.

    Raises `DatabaseError` if the database's history is not this program's.
    """
    _require_own_history(migrations, applied, database)
    there = parts_of(applied)
    of_parts = [migration for migration in migrations if migration.part in ((parts | there) or EVERYTHING)]
    new = {migration.part for migration in of_parts if migration.are_tables} - there
    newer = [name for name, before in applied.items() if version_of(before.program) > version_of(__version__)]
    changed = anew or any(
        not migration.once
        and migration.name not in newer
        and (migration.name not in applied or applied[migration.name].checksum != migration.checksum)
        for migration in of_parts
    )

    def is_missing(migration: Migration) -> bool:
        if migration.are_tables:
            return migration.part in new
        if migration.once:
            return migration.name not in applied and migration.part not in new
        return changed and migration.name not in newer

    return Missing(
        [migration for migration in of_parts if is_missing(migration)],
        [one for one in of_parts if one.is_numbered and one.part in new and one.name not in applied],
    )


def _require_own_history(migrations: Sequence[Migration], applied: Mapping[str, Applied], database: str) -> None:
    known = {migration.name for migration in migrations}
    unknown = sorted(name for name in applied if name not in known | RETIRED)
    if unknown:
        raise DatabaseError(
            f"the secateur schema of {database} is newer than this program, {__version__} "
            f"(it has {', '.join(unknown)}): upgrade secateur"
        )
    for migration in migrations:
        before = applied.get(migration.name)
        if migration.is_numbered and before and before.checksum != migration.checksum:
            raise DatabaseError(_other_history(migration, before, database))


def _other_history(migration: Migration, before: Applied, database: str) -> str:
    released = released_checksums().get(before.program, {}).get(migration.name)
    form = "an unreleased form" if released not in {None, before.checksum} else "another form"
    return (
        f"{database} was installed by secateur {before.program} with {form} of {migration.name}, "
        f"which {__version__} cannot upgrade. Nothing was changed. Keep using the checkout that installed it; or let "
        "its workers empty the queue, drop the schemas secateur and secateur_cel, and install again"
    )


def released_checksums() -> dict[str, dict[str, str]]:
    """By version, the checksums of the numbered files that it was released with."""
    released: dict[str, dict[str, str]] = json.loads(files("secateur.schema").joinpath("released.json").read_text())
    return released


def version_of(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text))
