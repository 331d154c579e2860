"""Settings: flags override the environment, which overrides the configuration file, which overrides the defaults.

The file is TOML, at `--config`, else `$SECATEUR_CONFIG`, else `~/.config/secateur/config.toml` (or under
`$XDG_CONFIG_HOME`). Every setting `x` can be given as the variable `SECATEUR_X`.
"""

from __future__ import annotations

import getpass
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import tzinfo
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from secateur.bounds import optional, problem_of_name
from secateur.encodings import check_encodings
from secateur.errors import SettingsError, UsageError
from secateur.places import choose, default_path, read_config
from secateur.times import find_zone
from secateur.watch_settings import Guard, WatchRule, WatchSettings, WatchTarget
from secateur.words.redaction import quoted, redact

PREFIX = "SECATEUR_"
_READ = ("DATABASE_URL", "TZ", "LOGNAME", "USER", "LNAME", "USERNAME")
"""Other variables that are read; `getpass.getuser` reads the last four."""
_TABLES = ("contexts", "keys", "themes", "watch")
"""The settings that are neither a word nor a number: their variables hold JSON."""


class Context(BaseModel):
    """A database by name."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    database: str = Field(min_length=1, repr=False)
    """The URL; `postgresql://?service=billing` reads a service from pg_service.conf."""
    read_only: bool = False
    """Refuse every write to this database, whatever the flags say."""
    production: bool = False
    """Say PRODUCTION in the header, and confirm every cancellation by typing."""
    budget: int | None = Field(default=None, ge=0)
    """To cancel more runs than this, another login must approve it; by default, what the database says."""
    engine: str | None = None
    """Which job queue to work with, as `secateur engines` lists them; needed where there are several."""
    replica: str | None = Field(default=None, min_length=1, repr=False)
    """The URL of a streaming replica, used for counts, previews and samples."""


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


class Settings(BaseModel):
    """All settings, with their defaults. Made by `load_settings`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    default_context: str | None = None
    """The context to use if neither a flag nor the environment names a database."""
    read_only: bool = False
    """Never write, in any context."""
    author: str | None = None
    """The author recorded with cancellations and in the audit; by default, the operating system's user."""
    timezone: str = "local"
    """The time zone for times you type, and shown beside UTC: `local`, `UTC` or a name like `Europe/Berlin`."""
    refresh_seconds: float = Field(default=1.0, ge=0.1, le=3600)
    """How often the console refreshes the depth of the queues."""
    query_timeout_seconds: float = Field(default=30.0, ge=0.1, le=3600)
    """The timeout of a count or any other query."""
    confirm_above: int = Field(default=1000, ge=0)
    """To cancel more runs than this, you must type the function's name or the number of runs."""
    sweep_batch: int = Field(default=10_000, ge=1, le=100_000)
    """The number of runs that the sweep of a cancellation rewrites in one transaction."""
    theme: str | None = Field(default=None, min_length=1)
    """The console's colours; by default, chosen to suit the terminal."""
    ascii: bool = False
    """Draw the console with ASCII characters only; without UTF-8 it does so by itself."""
    connections: int = Field(default=5, ge=3, le=1000)
    """The most connections that a command, the console or `secateur serve` opens."""
    worker_concurrency: int = Field(default=10, ge=1, le=10_000)
    """The number of runs that `secateur worker` executes at a time."""
    worker_lease_seconds: float = Field(default=30.0, ge=1, le=86_400)
    """How long a worker holds a run without a heartbeat: if the worker dies, the run is retried after this time."""
    worker_grace_seconds: float = Field(default=20.0, ge=0, le=86_400)
    """How long a running run gets to finish by itself when it is cancelled or its worker stops."""
    worker_connections: int | None = Field(default=None, ge=2, le=1000)
    """The most connections that a worker opens; by default, as many as its concurrency can use."""
    contexts: dict[str, Context] = {}
    """Databases by name, for `--context`."""
    keys: dict[str, dict[str, str | list[str]]] = {}
    """The console's keys that differ from its own: place → action → key or keys."""
    themes: dict[str, dict[str, str]] = {}
    """Further themes of the console: name → colour's name → colour."""
    watch: WatchSettings = WatchSettings.model_construct()
    """The rules of `secateur watch` and `secateur serve`, and where they post."""

    @field_validator("author")
    @classmethod
    def _author_is_a_name(cls, author: str | None) -> str | None:
        problem = optional(problem_of_name(author), author)
        if problem is not None:
            raise ValueError(f"`author` {problem}")
        return author

    @field_validator("timezone")
    @classmethod
    def _zone_exists(cls, name: str) -> str:
        try:
            find_zone(name)
        except UsageError as error:
            raise ValueError(str(error)) from None
        return name

    @model_validator(mode="after")
    def _default_context_exists(self) -> Self:
        if self.default_context is not None and self.default_context not in self.contexts:
            raise ValueError(f"default_context: {_unknown_context(self.default_context, self.contexts)}")
        return self

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
            raise SettingsError(_unknown_context(name, self.contexts))
        return self.contexts[name]


def load_settings(config: Path | None = None, **flags: object) -> Settings:
    """The settings from the file, the environment and the flags that are not None.

    `config` is the file named by a flag; it must exist. Raises `SettingsError` with every problem at once.
    """
    prefixed = [name for name in os.environ if name.startswith(PREFIX)]
    check_encodings(os.environ, [*prefixed, *_READ])
    in_file = read_config(config)
    in_flags = {name: value for name, value in flags.items() if value is not None}
    in_environment = _in_environment()
    try:
        return Settings(**{**in_file, **in_environment, **in_flags})
    except ValidationError as error:
        origins = {
            **dict.fromkeys(in_file, f"{config or default_path()}: "),
            **{name: f"{PREFIX}{name.upper()}: " for name in in_environment},
            **{name: f"--{name.replace('_', '-')}: " for name in in_flags},
        }
        raise SettingsError("\n".join(_explain(one, origins) for one in error.errors())) from None


def _in_environment() -> dict[str, Any]:
    """What the variables say; an empty one says nothing."""
    variables = {name.upper(): value for name, value in os.environ.items() if value}
    found: dict[str, Any] = {}
    for name in Settings.model_fields:
        variable = PREFIX + name.upper()
        if variable not in variables:
            continue
        try:
            found[name] = json.loads(variables[variable]) if name in _TABLES else variables[variable]
        except ValueError as error:
            raise SettingsError(f"{variable} is not valid JSON: {error}") from None
    return found


def _explain(error: ErrorDetails, origins: Mapping[str, str]) -> str:
    """What is wrong with a setting, where it was set, and what would be valid."""
    place = [str(part) for part in error["loc"] if part != "[key]"]
    origin = origins.get(place[0], "") if place else origins.get("default_context", "")
    *parents, name = place or [""]
    match error["type"]:
        case "extra_forbidden":
            known = _fields_at(parents)
            return f"{origin}there is no setting `{redact('.'.join(place))}`{_suggestion(name, known)}"
        case "missing":
            return f"{origin}`{redact('.'.join(parents))}` needs `{name}`"
        case "value_error":
            return f"{origin}{redact(error['msg'].removeprefix('Value error, '))}"
    wish = error["msg"].removeprefix("Input ").rstrip(".")
    # A value in a context or a target, or a list, may be a password.
    is_secret = place[:1] == ["contexts"] or place[:2] == ["watch", "targets"]
    is_shown = not is_secret and isinstance(error["input"], str | int | float)
    got = f", not {redact(repr(error['input']))}" if is_shown else ""
    return f"{origin}`{redact('.'.join(place))}` {wish[0].lower()}{wish[1:]}{got}"


def _fields_at(parents: Sequence[str]) -> Iterable[str]:
    """The settings of that table, as the file calls them."""
    model: type[BaseModel]
    match parents:
        case []:
            model = Settings
        case ["watch"]:
            model = WatchSettings
        case ["watch", "targets", _]:
            model = WatchTarget
        case ["watch", "rules", _]:
            model = WatchRule
        case ["watch", "rules", _, "guard"]:
            model = Guard
        case _:
            model = Context
    return [field.alias or name for name, field in model.model_fields.items()]


def _unknown_context(name: str, known: Iterable[str]) -> str:
    names = ", ".join(map(redact, sorted(known))) or "none; add [contexts.NAME] to the configuration file"
    return f"there is no context {quoted(name)}{_suggestion(name, known)}; known contexts: {names}"


def _suggestion(name: str, known: Iterable[str]) -> str:
    close = get_close_matches(name, list(known), n=1)
    return f"; did you mean `{close[0]}`?" if close else ""
