"""What the tables of each part must have, as their files tell."""

from __future__ import annotations

import re
from collections.abc import Collection

from secateur.schema.migrations import Part, bundled

_INDEX = re.compile(r"^create (?:unique )?index (\w+) on secateur\.[^;]+", re.MULTILINE)
_TRIGGER = re.compile(r"^create trigger (\w+) [^;]+", re.MULTILINE)


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
