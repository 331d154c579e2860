"""Command lines that a shell reads back as they were meant, whatever the values are."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable

Flags = Iterable[tuple[str, str | None]]
"""Flags with their values; those whose value is None are left out."""


def command_line(name: str, *positionals: str, flags: Flags = (), switches: Iterable[str] = ()) -> str:
    """`secateur NAME …`, to be copied into bash, zsh or ksh.

    A value that looks like a flag is joined to its own by `=`, or comes behind `--`. What does not print is written as
    an escape, so that it neither breaks the line nor steers the terminal.
    """
    words = ["secateur", name]
    for flag, value in flags:
        if value is not None:
            words += [f"{flag}={quoted(value)}"] if value.startswith("-") else [flag, quoted(value)]
    words += switches
    if any(value.startswith("-") for value in positionals):
        words.append("--")
    return " ".join([*words, *map(quoted, positionals)])


def quoted(value: str) -> str:
    """One word of a command line."""
    if value.isprintable():
        return shlex.quote(value)
    return "$'" + re.sub(r"[\\']|[^ -~]", _escaped, value) + "'"


def _escaped(found: re.Match[str]) -> str:
    character = found[0]
    if character in "\\'":
        return f"\\{character}"
    if character.isprintable():
        return character
    code = ord(character)
    return f"\\{code:03o}" if code < 0x80 else f"\\U{code:08x}"
