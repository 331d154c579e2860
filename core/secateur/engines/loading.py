"""Finds engines by their names, among all that are installed."""

from __future__ import annotations

from importlib.metadata import entry_points

from secateur.engines.base import Source
from secateur.errors import UsageError
from secateur.postgres.database import Database


def find_engine(name: str) -> type[Source]:
    """The class registered under `name` in the entry point group `secateur.engines`. Raises `UsageError`."""
    found = {entry.name: entry for entry in entry_points(group="secateur.engines")}
    if name not in found:
        raise UsageError(f"there is no engine {name!r}; known engines: {', '.join(sorted(found))}")
    engine: type[Source] = found[name].load()
    return engine


def load_engine(name: str, database: Database, replica: Database | None = None) -> Source:
    """The engine registered under `name`, over this database. Raises like `find_engine`."""
    return find_engine(name)(database, replica)
