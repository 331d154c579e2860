"""Finds what somebody has altered by hand, and puts it back.

Only the server can say whether two definitions are the same, and each version prints them in its own way. So an
install keeps what the schema is made of, as that very server prints it, and this is what the catalog is compared with.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import Any

from secateur.postgres.statements import Statements
from secateur.schema.definitions import LAST

LAST_FILE = LAST[-1].rpartition("/")[2]
"""Its row in the database's history says what the schema is made of."""

_DEFINED_ANEW = ("function", "view")
"""The kinds of what the definitions make, at each install anew."""

_OF_COLUMNS = ("default", "nullability", "type")

_OF_TABLES = ("constraint", "index", "trigger", *_OF_COLUMNS)


@dataclass(frozen=True, slots=True)
class SchemaObject:
    kind: str
    relation: str
    """Its table, with the schema; empty where it is of no table."""
    name: str
    definition: str | None
    """As the server prints it, or its digest. None for a column without a default, or one that takes nulls."""

    def __str__(self) -> str:
        if not self.relation:
            return f"{self.kind} {self.name}"
        return f"{self.kind} {'of ' if self.kind in _OF_COLUMNS else ''}{self.name} of {self.relation}"

    def is_like(self, other: SchemaObject) -> bool:
        """Whether they are the same. What a dump has printed is printed in another way once it is restored: a view as
        one of its digests tells, the others with fewer parentheses."""
        if self.kind == "view":
            return not {*str(self.definition).split()}.isdisjoint(str(other.definition).split())
        return _bare(self.definition) == _bare(other.definition)

    @property
    def key(self) -> tuple[str, str, str]:
        return self.kind, self.relation, self.name

    @property
    def mending(self) -> str | None:
        """The statement that puts it back where an install does not: it rewrites the table, and values may be lost."""
        if self.kind != "type":
            return None
        column, type = f'"{self.name}"', self.definition
        return f"alter table {self.relation} alter column {column} type {type} using {column}::{type}"


@dataclass(frozen=True, slots=True)
class Description:
    """What the schema is made of after an install."""

    server: int
    """The major version that printed it."""
    objects: Sequence[SchemaObject]


async def described(connection: Any) -> Description | None:
    """What the last install kept; None if it was an older program's."""
    kept = await connection.fetchval(_sql()["described"], LAST_FILE)
    if kept is None:
        return None
    read = json.loads(kept)
    return Description(read["server"], [SchemaObject(*each) for each in read["objects"]])


async def altered(connection: Any, kept: Description) -> list[SchemaObject]:
    """What is not as it should be, as it should be. Nothing, if another version of Postgres described it."""
    if kept.server != await _server(connection):
        return []
    there = {each.key: each for each in await _objects(connection, *_DEFINED_ANEW, *_OF_TABLES)}
    return [each for each in kept.objects if not there.get(each.key, each).is_like(each)]


async def is_of_another_server(connection: Any, kept: Description) -> bool:
    return kept.server != await _server(connection)


async def describe(connection: Any, tables: Sequence[str], *, are_new: bool) -> Description:
    """Keep what the schema is made of, right after all definitions were applied.

    What belongs to tables that were there before may have been altered by then. Their files tell what it should be:
    they are applied beside it, and rolled back.
    """
    found = await _objects(connection, *_DEFINED_ANEW, *_OF_TABLES)
    async with _tried(connection):
        for view in await _printed(connection, "views"):
            await connection.execute(f"create or replace view {view['name']} as {view['definition']}")
        once_more = {each.key: each.definition for each in await _objects(connection, "view")}
    found = [
        replace(each, definition=f"{each.definition} {once_more[each.key]}") if each.kind == "view" else each
        for each in found
    ]
    if not are_new:
        async with _tried(connection):
            await connection.execute("alter schema secateur rename to secateur_while_installing")
            await connection.execute("create schema secateur")
            for sql in tables:
                await connection.execute(sql)
            should_be = await _objects(connection, *_OF_TABLES)
        there = {each.key for each in found}
        found = [each for each in found if each.kind in _DEFINED_ANEW]
        found += [each for each in should_be if each.key in there]
    kept = Description(await _server(connection), found)
    document = {"server": kept.server, "objects": [list(asdict(each).values()) for each in found]}
    await connection.execute(_sql()["add_objects"])
    await connection.execute(_sql()["describe"], LAST_FILE, json.dumps(document))
    return kept


async def drop_views(connection: Any, wrong: Collection[SchemaObject], kept: Description) -> None:
    """Make room for the definitions where a view was altered: its columns may be other ones, which no `create or
    replace` accepts. Raises the server's error if somebody's own view needs one of them."""
    if any(each.kind == "view" for each in wrong):
        views = ", ".join(each.name for each in kept.objects if each.kind == "view")
        await connection.execute(f"drop view if exists {views}")


async def put_back(connection: Any, wrong: Collection[SchemaObject]) -> None:
    """Make what belongs to tables what it should be, but for what has a `mending` statement. Rows that were written
    meanwhile are not looked at."""
    for each in wrong:
        name = await connection.fetchval("select quote_ident($1)", each.name)
        table = f"alter table {each.relation}"
        if each.kind == "constraint":
            later = " not valid" if str(each.definition).startswith(("CHECK", "FOREIGN")) else ""
            await connection.execute(f"{table} drop constraint {name}, add constraint {name} {each.definition}{later}")
        elif each.kind == "index":
            await connection.execute(f"drop index {each.relation.partition('.')[0]}.{name}")
            await connection.execute(str(each.definition))
        elif each.kind == "trigger":
            await connection.execute(f"drop trigger {name} on {each.relation}")
            await connection.execute(str(each.definition))
        elif each.kind == "default":
            what = "drop default" if each.definition is None else f"set default {each.definition}"
            await connection.execute(f"{table} alter column {name} {what}")
        elif each.kind == "nullability":
            what = "drop" if each.definition is None else "set"
            await connection.execute(f"{table} alter column {name} {what} not null")


async def _objects(connection: Any, *kinds: str) -> list[SchemaObject]:
    return [SchemaObject(**row) for row in await _printed(connection, "objects", kinds)]


async def _printed(connection: Any, what: str, *arguments: object) -> list[Any]:
    """All names with their schemas, whatever the session's search path is."""
    before = await connection.fetchval("select current_setting('search_path')")
    await connection.fetchval(_sql()["search_path"], "pg_catalog, pg_temp")
    rows: list[Any] = await connection.fetch(_sql()[what], *arguments)
    await connection.fetchval(_sql()["search_path"], before)
    return rows


async def _server(connection: Any) -> int:
    return int(await connection.fetchval("show server_version_num")) // 10000


def _bare(definition: str | None) -> str | None:
    return None if definition is None else re.sub(r"[()\s]", "", definition)


@cache
def _sql() -> Statements:
    return Statements.load(__package__, "runner.sql")


@asynccontextmanager
async def _tried(connection: Any) -> AsyncIterator[None]:
    """Nothing of what is done within this context remains."""
    savepoint = connection.transaction()
    await savepoint.start()
    try:
        yield
    finally:
        await savepoint.rollback()
