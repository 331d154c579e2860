"""The indexes and triggers that the migrations make: what a database must have besides the tables."""

from __future__ import annotations

import re
from collections.abc import Collection

from secateur.schema import bundled

_STATEMENT = re.compile(
    r"^create (?:unique )?index (?P<made>\w+) on secateur\.[^;]+|^drop index (?:if exists )?secateur\.(?P<dropped>\w+)"
    r"|^alter index secateur\.(?P<old>\w+) rename to (?P<new>\w+)",
    re.MULTILINE | re.IGNORECASE,
)


_TRIGGER = re.compile(r"^create trigger (?P<name>\w+) [^;]+", re.MULTILINE | re.IGNORECASE)


def expected_triggers(applied: Collection[str]) -> dict[str, str]:
    """Each trigger by its name, with the statement that creates it, once the files of these names are applied."""
    files = [migration for migration in bundled() if migration.once and migration.name in applied]
    return {each["name"]: " ".join(each[0].split()) for one in files for each in _TRIGGER.finditer(one.sql)}


def expected_indexes(applied: Collection[str]) -> dict[str, str]:
    """Each index by its name, with the statement that creates it, once the files of these names are applied.

    Without the indexes of constraints, which cannot get lost alone.
    """
    found: dict[str, str] = {}
    for migration in bundled():
        if not migration.once or migration.name not in applied:
            continue
        for each in _STATEMENT.finditer(migration.sql):
            if each["made"]:
                found[each["made"]] = " ".join(each[0].split())
            elif each["dropped"]:
                found.pop(each["dropped"], None)
            else:
                found[each["new"]] = found.pop(each["old"]).replace(each["old"], each["new"], 1)
    return found
