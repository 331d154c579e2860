"""What an expression may name and combine: variables, macros and operators. Functions are in `library/`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache

from secateur.cel import messages as say
from secateur.cel.types import (
    BOOL,
    BYTES,
    DOUBLE,
    DURATION,
    INT,
    JSON_OBJECT,
    LIST,
    STRING,
    TIMESTAMP,
    UINT,
    Type,
    list_of,
)
from secateur.cel.words import QueueWords


@dataclass(frozen=True, slots=True)
class Variable:
    type: Type
    about: str = ""
    optional: bool = False
    """It may be absent; reading it is then an error, and `has` tells."""
    json: bool = False
    """Its value is plain JSON, as it stands in a jsonb column."""


@dataclass(frozen=True, slots=True, eq=False)
class Declarations:
    """Variables by their whole, possibly dotted name. Equal only to itself, so that compiled filters can be kept.

    `refused` are names that people will try and that are refused, each with the reason.
    """

    variables: Mapping[str, Variable]
    refused: Mapping[str, str] = field(default_factory=dict)
    word: str | None = None
    """What the queue's own users call `event.data`, such as `args`. It names nothing, but is understood in help."""
    words: Mapping[str, str] = field(default_factory=dict)
    """What they call its other names, such as `queue_name` for `run.queue`. These are understood in help as well."""
    of_all: Declarations | None = None
    """Those of all queues, where these are of one: it only lacks some of them."""

    def is_namespace(self, name: str) -> bool:
        """Whether `name` is only the first half of dotted names."""
        return any(known.startswith(f"{name}.") for known in (*self.variables, *self.refused))

    def fields(self, namespace: str) -> list[str]:
        prefix = f"{namespace}."
        return [known.removeprefix(prefix) for known in self.variables if known.startswith(prefix)]

    def names(self) -> list[str]:
        """The first halves: what can begin a path."""
        return list(dict.fromkeys(known.split(".")[0] for known in self.variables))

    def extended(self, variables: Mapping[str, Variable]) -> Declarations:
        return replace(self, variables={**self.variables, **variables})

    def of_queue(self, words: QueueWords) -> Declarations:
        """What can be named in one queue: always the same ones for the same words."""
        return _of_queue(self, words)


RUN_FIELDS: Mapping[str, Variable] = {
    "queue": Variable(STRING, "the queue that the run is in", optional=True),
    "tags": Variable(list_of(STRING), "the run's tags", optional=True),
    "unique_key": Variable(STRING, "the key of which only one run may wait", optional=True),
    "concurrency_key": Variable(STRING, "the key of which only so many runs go on at once", optional=True),
}
"""Fields of `run` that some queues have, in addition to those of all: text, or JSON where they are lists.

They can be absent in a single run. Like all that a cancellation may read, they stay the same while a run waits.
"""


@lru_cache
def _of_queue(declarations: Declarations, words: QueueWords) -> Declarations:
    has = dict(words.fields)
    lacking = {f"run.{name}" for name in RUN_FIELDS if name not in has}
    known = [f"run.{name}" for name in has]
    refused = {
        f"run.{name}": say.not_in_this_queue(f"run.{name}", words.queue, known, queues)
        for name, queues in words.elsewhere
    }
    return replace(
        declarations,
        variables={name: each for name, each in declarations.variables.items() if name not in lacking},
        refused={**declarations.refused, **refused},
        word=words.data,
        of_all=declarations,
        words={word: f"run.{name}" for name, own in has.items() for word in (name, own)},
    )


_FIXED = {
    "event": Variable(JSON_OBJECT, "the run's event: name, id, ts, data, user", json=True),
    "run.id": Variable(STRING, "the run's id"),
    "run.app": Variable(STRING, "the run's app"),
    "run.function": Variable(STRING, "the run's function"),
    "run.started_at": Variable(TIMESTAMP, "when the run entered the queue"),
    "run.priority": Variable(INT, "the run's priority"),
    "now": Variable(TIMESTAMP, "the time of the preview or the commit, frozen into the cancellation"),
}
_OWN = {f"run.{name}": variable for name, variable in RUN_FIELDS.items()}
_CHANGING = {
    "run.status": Variable(STRING, "where the run is in its life"),
    "run.attempt": Variable(INT, "how often the run was claimed"),
    "run.scheduled_for": Variable(TIMESTAMP, "when a delayed run becomes due", optional=True),
}

_REFUSED = {name: say.changes_while_waiting(name) for name in _CHANGING}
_ELSEWHERE = {"async": say.NEWLY_ARRIVED}

CANCELLATION = Declarations({**_FIXED, **_OWN}, {**_REFUSED, **_ELSEWHERE})
"""Only what never changes while a run waits, in any queue: see `Declarations.of_queue`."""

CANCEL_ON = Declarations(
    {**_FIXED, "async": Variable(JSON_OBJECT, "the event that has just arrived", json=True)}, _REFUSED
)
"""For what a function declares: an event that arrives cancels the runs of which it is true."""

SEARCH = Declarations({**_FIXED, **_OWN, **_CHANGING}, _ELSEWHERE)
"""For previews and searches, which look at one moment."""


_PREDICATE = (("x", "condition"),)

MACROS: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "all": _PREDICATE,
    "exists": _PREDICATE,
    "exists_one": _PREDICATE,
    "filter": _PREDICATE,
    "map": (("x", "value"), ("x", "condition", "value")),
}
"""What a list or a map can be asked of each element, or key, `x`: the arguments of each way to write it."""


MACROS_MEANT: Mapping[str, str] = {
    **dict.fromkeys(("any", "some"), "exists"),
    **dict.fromkeys(("every", "forAll"), "all"),
    **dict.fromkeys(("where", "find", "select"), "filter"),
}
"""Macros as other languages call them."""


def macro_usages(macro: str) -> list[str]:
    return [f"list.{macro}({', '.join(arguments)})" for arguments in MACROS[macro]]


ARITHMETIC: Mapping[str, tuple[tuple[Type, Type, Type], ...]] = {
    "+": (
        (INT, INT, INT),
        (UINT, UINT, UINT),
        (DOUBLE, DOUBLE, DOUBLE),
        (STRING, STRING, STRING),
        (BYTES, BYTES, BYTES),
        (LIST, LIST, LIST),
        (TIMESTAMP, DURATION, TIMESTAMP),
        (DURATION, TIMESTAMP, TIMESTAMP),
        (DURATION, DURATION, DURATION),
    ),
    "-": (
        (INT, INT, INT),
        (UINT, UINT, UINT),
        (DOUBLE, DOUBLE, DOUBLE),
        (TIMESTAMP, TIMESTAMP, DURATION),
        (TIMESTAMP, DURATION, TIMESTAMP),
        (DURATION, DURATION, DURATION),
    ),
    "*": ((INT, INT, INT), (UINT, UINT, UINT), (DOUBLE, DOUBLE, DOUBLE)),
    "/": ((INT, INT, INT), (UINT, UINT, UINT), (DOUBLE, DOUBLE, DOUBLE)),
    "%": ((INT, INT, INT), (UINT, UINT, UINT)),
}
"""Operand and result types of each operator."""

ORDERED = (BOOL, INT, UINT, DOUBLE, STRING, BYTES, TIMESTAMP, DURATION)
"""What `<` compares: two of the same type, or any two numbers."""
