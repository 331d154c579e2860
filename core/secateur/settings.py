"""The settings and their defaults, and the database that they name: see `settings_loading` and `checked_settings`."""

from __future__ import annotations

import getpass
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import tzinfo
from difflib import get_close_matches
from typing import TYPE_CHECKING

from secateur.errors import SettingsError
from secateur.places import choose
from secateur.times import find_zone
from secateur.words.redaction import quoted, redact

if TYPE_CHECKING:
    from secateur.checked_settings import Context
    from secateur.watch_settings import WatchSettings


@dataclass(frozen=True, slots=True)
class Target:
    """The database to work with, and how."""

    url: str | None = field(repr=False)
    """None: use libpq's environment variables."""
    read_only: bool
    context: str | None = None
    production: bool = False
    engine: str | None = None
    """None: the only queue there is."""
    replica: str | None = field(default=None, repr=False)
    budget: int | None = None


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All settings, with their defaults. Made by `load_settings`."""

    default_context: str | None = None
    """The context to use if neither a flag nor the environment names a database."""
    read_only: bool = False
    """Never write, in any context."""
    author: str | None = None
    """The author recorded with cancellations and in the audit; by default, the operating system's user."""
    timezone: str = "local"
    """The time zone for times you type, and shown beside UTC: `local`, `UTC` or a name like `Europe/Berlin`."""
    refresh_seconds: float = 1.0
    """How often the console refreshes the depth of the queues."""
    query_timeout_seconds: float = 30.0
    """The timeout of a count or any other query."""
    confirm_above: int = 1000
    """To cancel more runs than this, you must type the function's name or the number of runs."""
    sweep_batch: int = 10_000
    """The number of runs that the sweep of a cancellation rewrites in one transaction."""
    theme: str | None = None
    """The console's colours; by default, chosen to suit the terminal."""
    ascii: bool = False
    """Draw the console with ASCII characters only; without UTF-8 it does so by itself."""
    connections: int = 5
    """The most connections that a command, the console or `secateur serve` opens."""
    worker_concurrency: int = 10
    """The number of runs that `secateur worker` executes at a time."""
    worker_lease_seconds: float = 30.0
    """How long a worker holds a run without a heartbeat: if the worker dies, the run is retried after this time."""
    worker_grace_seconds: float = 20.0
    """How long a running run gets to finish by itself when it is cancelled or its worker stops."""
    worker_connections: int | None = None
    """The most connections that a worker opens; by default, as many as its concurrency can use."""
    contexts: dict[str, Context] = field(default_factory=dict)
    """Databases by name, for `--context`."""
    keys: dict[str, dict[str, str | list[str]]] = field(default_factory=dict)
    """The console's keys that differ from its own: place → action → key or keys."""
    themes: dict[str, dict[str, str]] = field(default_factory=dict)
    """Further themes of the console: name → colour's name → colour."""
    watch: WatchSettings | None = None
    """The rules of `secateur watch` and `secateur serve`, and where they post."""

    @property
    def zone(self) -> tzinfo:
        return find_zone(self.timezone)

    @property
    def author_name(self) -> str:
        if self.author:
            return self.author
        try:
            return getpass.getuser()
        except (OSError, KeyError):  # a container's user without a name
            return f"uid {os.getuid()}"

    def target(
        self,
        *,
        database: str | None = None,
        context: str | None = None,
        engine: str | None = None,
        read_only: bool = False,
        environment: Mapping[str, str] | None = None,
    ) -> Target:
        """The database named by the flags, else by the environment, else by the file. Raises `SettingsError`."""
        environment = os.environ if environment is None else environment
        read_only = read_only or self.read_only
        database, context = choose(database, context, self.default_context, environment)
        if context:
            chosen = self._context(context)
            read_only = read_only or chosen.read_only
            return Target(
                chosen.database,
                read_only,
                context,
                chosen.production,
                engine or chosen.engine,
                chosen.replica,
                chosen.budget,
            )
        return Target(database, read_only, engine=engine)

    def _context(self, name: str) -> Context:
        if name not in self.contexts:
            raise SettingsError(unknown_context(name, self.contexts))
        return self.contexts[name]


def unknown_context(name: str, known: Iterable[str]) -> str:
    names = ", ".join(map(redact, sorted(known))) or "none; add [contexts.NAME] to the configuration file"
    return f"there is no context {quoted(name)}{suggestion(name, known)}; known contexts: {names}"


def suggestion(name: str, known: Iterable[str]) -> str:
    close = get_close_matches(name, list(known), n=1)
    return f"; did you mean `{close[0]}`?" if close else ""
