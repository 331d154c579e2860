"""What an expression may name: variables, functions and their overloads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from secateur.cel import messages as say
from secateur.cel.types import (
    BOOL,
    BYTES,
    DOUBLE,
    DURATION,
    DYN,
    INT,
    JSON_OBJECT,
    LIST,
    MAP,
    STRING,
    TIMESTAMP,
    TYPE,
    UINT,
    Type,
    list_of,
)


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
        return Declarations({**self.variables, **variables}, self.refused)


_FIXED = {
    "event": Variable(JSON_OBJECT, "the run's event: name, id, ts, data, user", json=True),
    "run.id": Variable(STRING, "the run's id"),
    "run.app": Variable(STRING, "the run's app"),
    "run.function": Variable(STRING, "the run's function"),
    "run.started_at": Variable(TIMESTAMP, "when the run entered the queue"),
    "run.priority": Variable(INT, "the run's priority"),
    "now": Variable(TIMESTAMP, "the time of the preview or the commit, frozen into the cancellation"),
}
_CHANGING = {
    "run.status": Variable(STRING, "where the run is in its life"),
    "run.attempt": Variable(INT, "how often the run was claimed"),
    "run.scheduled_for": Variable(TIMESTAMP, "when a delayed run becomes due", optional=True),
}

_REFUSED = {name: say.changes_while_waiting(name) for name in _CHANGING}
_ELSEWHERE = {"async": say.NEWLY_ARRIVED}

CANCELLATION = Declarations(_FIXED, {**_REFUSED, **_ELSEWHERE})
"""Only what never changes while a run waits."""

CANCEL_ON = Declarations(
    {**_FIXED, "async": Variable(JSON_OBJECT, "the event that has just arrived", json=True)}, _REFUSED
)
"""For what a function declares: an event that arrives cancels the runs of which it is true."""

SEARCH = Declarations({**_FIXED, **_CHANGING}, _ELSEWHERE)
"""For previews and searches, which look at one moment."""


@dataclass(frozen=True, slots=True)
class Overload:
    """One way to call a function; `parameters` begin with the receiver if there is one."""

    parameters: tuple[Type, ...]
    result: Type
    member: bool = False


def usages(function: str, overloads: Iterable[Overload]) -> list[str]:
    """How to call it, one line for overloads that differ in the first operand only."""
    firsts: dict[tuple[bool, tuple[Type, ...]], list[str]] = {}
    for overload in overloads:
        firsts.setdefault((overload.member, overload.parameters[1:]), []).append(str(overload.parameters[0]))
    found = []
    for (member, rest), names in firsts.items():
        first, others = "|".join(names), list(map(str, rest))
        if member:
            receiver = f"({first})" if len(names) > 1 else first
            found.append(f"{receiver}.{function}({', '.join(others)})")
        else:
            found.append(f"{function}({', '.join([first, *others])})")
    return found


def _globals(result: Type, parameters: Iterable[Type]) -> tuple[Overload, ...]:
    return tuple(Overload((parameter,), result) for parameter in parameters)


def _members(result: Type, *parameters: tuple[Type, ...]) -> tuple[Overload, ...]:
    return tuple(Overload(given, result, member=True) for given in parameters)


CALENDAR = ("FullYear", "Month", "Date", "DayOfMonth", "DayOfWeek", "DayOfYear")
"""Of a timestamp, in UTC or in a time zone; `getDate` counts from 1, the others from 0."""

CLOCK = ("Hours", "Minutes", "Seconds", "Milliseconds")
"""Of a timestamp; of a duration, how many whole ones there are in it, but only the milliseconds below a second."""

ZONED = frozenset(f"get{part}" for part in (*CALENDAR, *CLOCK))

_ON_STRINGS = (Overload((STRING, STRING), BOOL, member=True),)
_SIZED = (STRING, BYTES, LIST, MAP)

FUNCTIONS: Mapping[str, tuple[Overload, ...]] = {
    "startsWith": _ON_STRINGS,
    "endsWith": _ON_STRINGS,
    "contains": _ON_STRINGS,
    "matches": (*_ON_STRINGS, Overload((STRING, STRING), BOOL)),
    "size": (
        *(Overload((sized,), INT, member=True) for sized in _SIZED),
        *_globals(INT, _SIZED),
    ),
    "timestamp": _globals(TIMESTAMP, (STRING, INT, TIMESTAMP)),
    "duration": _globals(DURATION, (STRING, DURATION)),
    "int": _globals(INT, (INT, UINT, DOUBLE, STRING, TIMESTAMP)),
    "uint": _globals(UINT, (UINT, INT, DOUBLE, STRING)),
    "double": _globals(DOUBLE, (DOUBLE, INT, UINT, STRING)),
    "string": _globals(STRING, (STRING, BOOL, INT, UINT, DOUBLE, BYTES, TIMESTAMP, DURATION)),
    "bytes": _globals(BYTES, (BYTES, STRING)),
    "bool": _globals(BOOL, (BOOL, STRING)),
    "type": _globals(TYPE, (DYN,)),
    "dyn": _globals(DYN, (DYN,)),
    "lowerAscii": _members(STRING, (STRING,)),
    "upperAscii": _members(STRING, (STRING,)),
    "trim": _members(STRING, (STRING,)),
    "charAt": _members(STRING, (STRING, INT)),
    "indexOf": _members(INT, (STRING, STRING), (STRING, STRING, INT)),
    "lastIndexOf": _members(INT, (STRING, STRING), (STRING, STRING, INT)),
    "substring": _members(STRING, (STRING, INT), (STRING, INT, INT)),
    "replace": _members(STRING, (STRING, STRING, STRING), (STRING, STRING, STRING, INT)),
    "split": _members(list_of(STRING), (STRING, STRING), (STRING, STRING, INT)),
    "join": _members(STRING, (list_of(STRING),), (list_of(STRING), STRING)),
    **{f"get{part}": _members(INT, (TIMESTAMP,), (TIMESTAMP, STRING)) for part in CALENDAR},
    **{f"get{part}": _members(INT, (TIMESTAMP,), (TIMESTAMP, STRING), (DURATION,)) for part in CLOCK},
}

_PREDICATE = (("x", "condition"),)

MACROS: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "all": _PREDICATE,
    "exists": _PREDICATE,
    "exists_one": _PREDICATE,
    "filter": _PREDICATE,
    "map": (("x", "value"), ("x", "condition", "value")),
}
"""What a list or a map can be asked of each element, or key, `x`: the arguments of each way to write it."""


MEANT: Mapping[str, str] = {
    **dict.fromkeys(("any", "some"), "exists"),
    **dict.fromkeys(("every", "forAll"), "all"),
    **dict.fromkeys(("where", "find", "select"), "filter"),
    **dict.fromkeys(("length", "len", "count"), "size"),
    **dict.fromkeys(("lower", "toLower", "toLowerCase", "tolower"), "lowerAscii"),
    **dict.fromkeys(("upper", "toUpper", "toUpperCase", "toupper"), "upperAscii"),
    **dict.fromkeys(("includes", "has_substring"), "contains"),
    **dict.fromkeys(("strip", "trimSpace"), "trim"),
    **dict.fromkeys(("substr", "slice"), "substring"),
    **dict.fromkeys(("regex", "match", "test"), "matches"),
    **dict.fromkeys(("getYear", "year"), "getFullYear"),
}
"""Functions as other languages call them, whose spelling does not tell which of ours it is."""


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
