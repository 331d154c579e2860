"""A database where the functions can be paused at every `-- point:`, mutated, and are watched by a ledger."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import asyncpg

from secateur.schema import REPEATABLE, definition

LEDGER = Path(__file__).with_name("ledger.sql").read_text(encoding="utf-8")

_FUNCTION = re.compile(r"^create or replace (?:function|procedure) secateur\.(\w+)\(", re.MULTILINE)
_POINT = re.compile(r"^( *)-- point: (.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Mutation:
    """One fault, as a replacement of text that must be in the function exactly `times` times."""

    old: str
    new: str
    function: str
    times: int = 1


@cache
def protocol() -> str:
    """The functions of the lock protocol: every file that an upgrade replaces, but the expression language's."""
    return "\n".join(definition(name) for name in REPEATABLE if not name.startswith("cel_"))


@lru_cache(8)
def functions(sql: str) -> dict[str, str]:
    """Each function's text, header comments excluded."""
    starts = [(found[1], found.start()) for found in _FUNCTION.finditer(sql)]
    return {name: sql[start : sql.index("$$;", start) + 3] for name, start in starts}


def points(function: str) -> list[str]:
    """The places between two statements of a deciding function, in order, and the one before its transaction's end."""
    return [found[2] for found in _POINT.finditer(functions(protocol())[function])] + ["returned"]


def mutated(mutations: Sequence[Mutation]) -> list[str]:
    """The functions that the mutations change, with their faults."""
    known, changed = functions(protocol()), {}
    for mutation in mutations:
        text = changed.get(mutation.function, known[mutation.function])
        found = text.count(mutation.old)
        assert found == mutation.times, f"{mutation.old!r} is there {found} times, not {mutation.times}"
        changed[mutation.function] = text.replace(mutation.old, mutation.new)
    return [*changed.values()]


def with_pauses(sql: str) -> str:
    """The same functions with a place to pause where a point is."""
    for name, text in functions(sql).items():
        sql = sql.replace(text, _POINT.sub(rf"\1perform secateur_test.reach('{name}: \2');", text))
    return sql


async def prepare(url: str) -> None:
    """Turn a database with the schema into an arena."""
    await _execute(url, LEDGER, with_pauses(protocol()))


async def build_in(url: str, mutations: Sequence[Mutation]) -> None:
    """The faults, into an arena."""
    await _execute(url, *map(with_pauses, mutated(mutations)))


async def _execute(url: str, *scripts: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        for script in scripts:
            await connection.execute(script)
    finally:
        await connection.close()
