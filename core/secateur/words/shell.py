"""Writes command lines that a shell reads back correctly, whatever the values are."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable

from secateur.words.redaction import keep, without_password

Flags = Iterable[tuple[str, str | None]]
"""Flags with their values; those whose value is None are left out."""

_EXPANDED = re.compile(r'["$`\\!]')
"""What means something within double quotes; `!` where a person types."""

_place: list[tuple[str, str | None]] = []
"""The flags that named this program's database; every command that it prints repeats them."""


def work_at(
    *,
    database: str | None = None,
    context: str | None = None,
    config: str | None = None,
    engine: str | None = None,
) -> None:
    """Record the flags that name this process's database. Without any, a printed command finds it as this one did."""
    shown = None if database is None else without_password(database)
    _place[:] = [("--config", config), ("--context", context), ("--database", shown), ("--engine", engine)]
    keep(shown)


def move_to(*, database: str | None = None, context: str | None = None) -> None:
    """Printed commands name this database from now on, whatever this process was started with."""
    config = next((value for flag, value in _place if flag == "--config"), None)
    work_at(database=database, context=context, config=config)


def command_line(name: str, *positionals: str, flags: Flags = (), switches: Iterable[str] = ()) -> str:
    """`secateur NAME …`, for copying into bash, zsh or ksh; it works on the same database as this process.

    One of `flags` takes the place of what names the database. A value that looks like a flag is joined to its flag by
    `=`, or put after `--`. Unprintable characters are written as escapes, so that they neither break the line nor
    control the terminal.
    """
    words = ["secateur", name]
    given = list(flags)
    for flag, value in (*(each for each in _place if each[0] not in dict(given)), *given):
        if value is not None:
            words += [f"{flag}={quoted(value)}"] if value.startswith("-") else [flag, quoted(value)]
    words += switches
    if any(value.startswith("-") for value in positionals):
        words.append("--")
    return " ".join([*words, *map(quoted, positionals)])


def quoted(value: str) -> str:
    """One word of a command line; in double quotes if it contains single ones, and nothing that those would expand."""
    if value.isprintable():
        return f'"{value}"' if "'" in value and not _EXPANDED.search(value) else shlex.quote(value)
    return "$'" + re.sub(r"[\\']|[^ -~]", _escaped, value) + "'"


def _escaped(found: re.Match[str]) -> str:
    character = found[0]
    if character in "\\'":
        return f"\\{character}"
    if character.isprintable():
        return character
    code = ord(character)
    return f"\\{code:03o}" if code < 0x80 else f"\\U{code:08x}"
