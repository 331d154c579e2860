"""What the tables of each part must have, as their files tell.

The files are written for this: a statement begins a line, and a column or a constraint does so after two spaces.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from secateur.schema.migrations import Part, bundled

_INDEX = re.compile(r"^create (?:unique )?index (\w+) on secateur\.[^;]+", re.MULTILINE)
_TRIGGER = re.compile(r"^create trigger (\w+) [^;]+", re.MULTILINE)
_TABLE = re.compile(r"^create table secateur\.(\w+) \(\n(.*?)^\)", re.MULTILINE | re.DOTALL)
_ADDED = re.compile(r"^alter table secateur\.(\w+) add ([^;]+);", re.MULTILINE)
"""A key that is made after some of the table's indexes."""
_COMMENT = re.compile(r"^ *--.*\n", re.MULTILINE)
_MEMBER = re.compile(r"^  (?=[^\s)])", re.MULTILINE)
_OF_TABLE = {"constraint", "primary", "unique", "foreign"}
_KEYS = re.compile(r"^(primary key|unique|foreign key) \(([^)]*)\)")


@dataclass(frozen=True, slots=True)
class TableParts:
    """What a table is made of, by name, each with the SQL that says what it is."""

    columns: dict[str, str]
    constraints: dict[str, str]
    """Without NOT NULL."""


def expected_tables(parts: Collection[Part]) -> dict[str, TableParts]:
    tables = {
        found[1]: _table_parts(found[1], _COMMENT.sub("", found[2]))
        for sql in _tables(parts)
        for found in _TABLE.finditer(sql)
    }
    for sql in _tables(parts):
        for added in _ADDED.finditer(sql):
            tables[added[1]].constraints.update(_of_table(added[1], added[2]))
    return tables


def expected_triggers(parts: Collection[Part]) -> dict[str, str]:
    """Each trigger by its name, with the statement that creates it."""
    return {found[1]: " ".join(found[0].split()) for sql in _tables(parts) for found in _TRIGGER.finditer(sql)}


def expected_indexes(parts: Collection[Part]) -> dict[str, str]:
    """Each index by its name, with the statement that creates it.

    Without the indexes of constraints, which cannot get lost alone.
    """
    return {found[1]: " ".join(found[0].split()) for sql in _tables(parts) for found in _INDEX.finditer(sql)}


def _tables(parts: Collection[Part]) -> list[str]:
    return [one.sql for one in bundled() if one.are_tables and one.part in parts]


def _table_parts(table: str, body: str) -> TableParts:
    columns: dict[str, str] = {}
    constraints: dict[str, str] = {}
    for member in _MEMBER.split(body):
        words = " ".join(member.split()).removesuffix(",")
        first = words.partition(" ")[0]
        if not words:
            continue
        if first in _OF_TABLE:
            constraints |= _of_table(table, words)
        else:
            columns[first.strip('"')] = words
            constraints |= {f"{table}_{name}": sql for name, sql in _of_column(first.strip('"'), words)}
    return TableParts(columns, constraints)


def _of_table(table: str, words: str) -> dict[str, str]:
    """A constraint of the table by its name, which Postgres gives it where the file does not."""
    if words.startswith("constraint "):
        _, name, sql = words.split(" ", 2)
        return {name: sql}
    keys = _KEYS.match(words)
    assert keys is not None, words  # noqa: S101 - a test reads all files
    kind = {"primary key": "pkey", "unique": "key", "foreign key": "fkey"}[keys[1]]
    columns = [] if kind == "pkey" else [name.strip() for name in keys[2].split(",")]
    return {"_".join([table, *columns, kind]): words}


def _of_column(column: str, words: str) -> Iterator[tuple[str, str]]:
    """The constraints that a column's definition contains."""
    if " primary key" in words:
        yield "pkey", f"primary key ({column})"
    if " unique" in words:
        yield f"{column}_key", f"unique ({column})"
    if (reference := re.search(r" references (\S+)", words)) is not None:
        yield f"{column}_fkey", f"foreign key ({column}) references {reference[1]}"
    if (start := words.find(" check (")) >= 0:
        yield f"{column}_check", words[start + 1 : _closing(words, start + 7) + 1]


def _closing(words: str, opening: int) -> int:
    """Where the parenthesis closes that opens there."""
    depth = 0
    for place in range(opening, len(words)):
        depth += {"(": 1, ")": -1}.get(words[place], 0)
        if depth == 0:
            return place
    raise ValueError(words)
