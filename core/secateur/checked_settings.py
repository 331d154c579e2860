"""Checks settings that somebody has made: their types, their limits, and what goes together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, fields
from typing import Any, Self, get_type_hints

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    create_model,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails

from secateur.bounds import optional, problem_of_name
from secateur.errors import SettingsError, UsageError
from secateur.settings import Settings, suggestion, unknown_context
from secateur.times import find_zone
from secateur.watch_settings import Guard, WatchRule, WatchSettings, WatchTarget
from secateur.words.redaction import redact


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


_LIMITS: dict[str, dict[str, Any]] = {
    "refresh_seconds": {"ge": 0.1, "le": 3600},
    "query_timeout_seconds": {"ge": 0.1, "le": 3600},
    "confirm_above": {"ge": 0},
    "sweep_batch": {"ge": 1, "le": 100_000},
    "theme": {"min_length": 1},
    "connections": {"ge": 3, "le": 1000},
    "worker_concurrency": {"ge": 1, "le": 10_000},
    "worker_lease_seconds": {"ge": 1, "le": 86_400},
    "worker_grace_seconds": {"ge": 0, "le": 86_400},
    "worker_connections": {"ge": 2, "le": 1000},
}


class _GoTogether(BaseModel):
    """What a type and limits do not say."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @field_validator("author", check_fields=False)
    @classmethod
    def _author_is_a_name(cls, author: str | None) -> str | None:
        problem = optional(problem_of_name(author), author)
        if problem is not None:
            raise ValueError(f"`author` {problem}")
        return author

    @field_validator("timezone", check_fields=False)
    @classmethod
    def _zone_exists(cls, name: str) -> str:
        try:
            find_zone(name)
        except UsageError as error:
            raise ValueError(str(error)) from None
        return name

    @model_validator(mode="after")
    def _default_context_exists(self) -> Self:
        chosen, contexts = self.default_context, self.contexts  # type: ignore[attr-defined]
        if chosen is not None and chosen not in contexts:
            raise ValueError(f"default_context: {unknown_context(chosen, contexts)}")
        return self


def _model() -> type[_GoTogether]:
    """The fields of `Settings`, within their limits."""
    types = get_type_hints(Settings, localns={"Context": Context, "WatchSettings": WatchSettings})
    made: dict[str, Any] = {}
    for each in fields(Settings):
        default = {} if each.default is MISSING else each.default
        made[each.name] = (types[each.name], Field(default, **_LIMITS.get(each.name, {})))
    return create_model("CheckedSettings", __base__=_GoTogether, **made)


CheckedSettings = _model()


def checked(given: Mapping[str, Any], origins: Mapping[str, str]) -> Settings:
    """The settings with these values. Raises `SettingsError` with every problem at once, and where it comes from."""
    try:
        found = CheckedSettings(**given)
    except ValidationError as error:
        raise SettingsError("\n".join(_explain(one, origins) for one in error.errors())) from None
    return Settings(**{each.name: getattr(found, each.name) for each in fields(Settings)})


def _explain(error: ErrorDetails, origins: Mapping[str, str]) -> str:
    """What is wrong with a setting, where it was set, and what would be valid."""
    place = [str(part) for part in error["loc"] if part != "[key]"]
    origin = origins.get(place[0], "") if place else origins.get("default_context", "")
    *parents, name = place or [""]
    match error["type"]:
        case "extra_forbidden":
            known = _fields_at(parents)
            return f"{origin}there is no setting `{redact('.'.join(place))}`{suggestion(name, known)}"
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
            model = CheckedSettings
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
