"""Whether a cancellation is what it says.

Whoever may commit by SQL hands over the condition that is executed beside the `if` and the request that people
read. The database checks that such a condition is harmless, and cannot know what it means. So whoever shows a
record compiles its `if` again, and compares.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from secateur.cel import CANCEL_ON, CANCELLATION, COMPILER_VERSION, ExpressionError, compile
from secateur.states import Kind

if TYPE_CHECKING:
    from secateur.cel import Filter
    from secateur.records import Cancellation

LONGEST_SOURCE = 100_000
"""Characters of an `if` that is compiled again; the API takes no longer body."""

_MATCH = re.compile(
    r"""event(?P<path>(?:\.[A-Za-z_][A-Za-z0-9_]*|\["(?:[^"\\]|\\.)*"\])+)\ ==\ async(?P=path)
        (?:\ &&\ \((?P<rest>.*)\n\))?""",
    re.DOTALL | re.VERBOSE,
)
"""The comparison that `declare_cancel_on` puts before a function's own `if` when the function declares a `match`."""

_KEY = re.compile(r'\.([A-Za-z_][A-Za-z0-9_]*)|(\["(?:[^"\\]|\\.)*"\])')


class Compiled(StrEnum):
    """The result of a comparison with our own compiler."""

    VERIFIED = "verified"
    """The cancellation executes what `if` and the request say."""
    UNVERIFIED = "unverified"
    """It executes something else. It was not committed with secateur, or another version wrote it."""
    OTHER_VERSION = "other_version"
    """The record says that another version of the compiler wrote what this one would not, so it cannot tell."""


@dataclass(frozen=True, slots=True)
class Verification:
    """Whether a record is what it says, and the names of its parts that are not."""

    compiled: Compiled
    differing: tuple[str, ...] = ()

    def in_words(self) -> str | None:
        """The warning for people, or None if the record is verified."""
        match self.compiled:
            case Compiled.UNVERIFIED:
                return f"not compiled by secateur: it does not execute what it says ({', '.join(self.differing)})"
            case Compiled.OTHER_VERSION:
                return "compiled by another version of secateur: this one cannot tell what it executes"
        return None


def verify(cancellation: Cancellation) -> Verification:
    """Compiles `if` again, which takes about a millisecond the first time."""
    differing = tuple(_differing_request(cancellation))
    if cancellation.kind == Kind.RUN:
        differing += ("condition",) if cancellation.condition is not None else ()
    else:
        executed = tuple(_differing_execution(cancellation))
        by_another = cancellation.compiler != COMPILER_VERSION and cancellation.condition is not None
        if executed and by_another:
            return Verification(Compiled.UNVERIFIED if differing else Compiled.OTHER_VERSION, differing)
        differing += executed
    return Verification(Compiled.UNVERIFIED if differing else Compiled.VERIFIED, differing)


def _differing_execution(cancellation: Cancellation) -> Iterator[str]:
    """Condition, parameters and requirement, against what they would be."""
    given = _Execution(cancellation.condition, _numbered(cancellation.parameters))
    wanted = list(_executions(cancellation))
    if given not in wanted:
        same_condition = any(given.condition == each.condition for each in wanted)
        yield "parameters" if same_condition else "condition"
    if cancellation.kind == Kind.EVENT:
        return  # `send` makes the requirement itself, of the event
    requirement = None
    if cancellation.if_ is not None and (filter := _filter(cancellation.if_, of_event=False)) is not None:
        requirement = filter.requirement
    if cancellation.requires is None and not cancellation.requires_suffices:
        return  # a claim only takes longer without it
    if (
        requirement is None
        or requirement.suffices != cancellation.requires_suffices
        or _canonical([json.loads(each) for each in requirement.stored()]) != _canonical(cancellation.requires)
    ):
        yield "requires"


@dataclass(frozen=True, slots=True)
class _Execution:
    condition: str | None
    parameters: dict[str, str | None]


def _numbered(parameters: Mapping[str, str | None]) -> dict[str, str | None]:
    """The parameters without those that the database adds at the commit."""
    return {name: value for name, value in parameters.items() if name not in ("now", "async")}


def _executions(cancellation: Cancellation) -> Iterator[_Execution]:
    """The conditions that `if` can have become. A declaration with a `match` combines two of them."""
    if cancellation.if_ is None:
        yield _Execution(None, {})
        return
    of_event = cancellation.kind == Kind.EVENT
    filter = _filter(cancellation.if_, of_event=of_event)
    if filter is not None:
        yield _Execution(*filter.condition.stored())
    if of_event and (found := _MATCH.fullmatch(cancellation.if_)):
        rest = found["rest"]
        own = None if rest is None else _filter(rest, of_event=True)
        if rest is None or own is not None:
            condition, parameters = own.condition.stored() if own else (None, {})
            keys = [json.loads(bracket)[0] if bracket else name for name, bracket in _KEY.findall(found["path"])]
            matching, more = _matching(keys, 1 + len(parameters))
            yield _Execution(matching + (f" and ({condition})" if condition else ""), {**parameters, **more})


def _matching(keys: list[str], first: int) -> tuple[str, dict[str, str]]:
    """The condition that `matching_condition` in declaring.sql makes of these keys."""
    parameters = {str(first + place): key for place, key in enumerate(keys)}
    path = "".join(f" -> ${number}::text" for number in parameters)
    run, sent = f"run.event{path}", f"$async::text::jsonb{path}"
    condition = (
        f"case when jsonb_typeof({run}) in ('string', 'boolean', 'null') then {run} = {sent} "
        f"else secateur_cel.equal_v1(secateur_cel.box_json_v1({run}), secateur_cel.box_json_v1({sent})) end"
    )
    return condition, parameters


def compiled(cancellation: Cancellation) -> Filter | None:
    """Its `if`, compiled again; None if it has none, or if this program's compiler refuses it."""
    if cancellation.if_ is None:
        return None
    return _filter(cancellation.if_, of_event=cancellation.kind == Kind.EVENT)


@lru_cache(maxsize=1024)
def _filter(source: str, *, of_event: bool) -> Filter | None:
    """The compiled filter, or None if our compiler refuses it. One odd record must not hide the others."""
    if len(source) > LONGEST_SOURCE:
        return None
    try:
        return compile(source, CANCEL_ON if of_event else CANCELLATION)
    except (ExpressionError, RecursionError):
        return None


def _differing_request(cancellation: Cancellation) -> Iterator[str]:
    """Fields of the request that are not what the record has, which is what is executed."""
    request = cancellation.request
    if cancellation.kind == Kind.RUN:
        wanted: dict[str, Any] = {"run_id": cancellation.run_id}
    else:
        wanted = {"app_id": cancellation.app_id, "if": cancellation.if_}
    if cancellation.kind in (Kind.BULK, Kind.RETRY):
        wanted |= {"rate": cancellation.rate, "standing": cancellation.standing or None}
        wanted |= {"with_cancelled": cancellation.with_cancelled or None}
        names = request.get("function_ids")
        if not (isinstance(names, list) and cancellation.function_id in names and "function_id" not in request):
            wanted["function_id"] = cancellation.function_id
        if not _same_time(request.get("started_after"), cancellation.started_after):
            yield "started_after"
        # A request without `started_before` ends its window at the time of the commit.
        if not _same_time(request.get("started_before"), cancellation.started_before) and not (
            "started_before" not in request and cancellation.started_before == cancellation.created_at
        ):
            yield "started_before"
    for name, value in wanted.items():
        if request.get(name) != value:
            yield name


def _same_time(given: object, kept: datetime | None) -> bool:
    if given is None or kept is None:
        return given is kept
    try:
        return isinstance(given, str) and datetime.fromisoformat(given) == kept
    except (ValueError, TypeError):
        return False


def _canonical(value: Any) -> Any:
    """Equal where Postgres finds two documents equal: `true` is no 1, and 1.0 is."""
    match value:
        case bool() | None | str():
            return type(value).__name__, value
        case dict():
            return {name: _canonical(part) for name, part in value.items()}
        case list():
            return [_canonical(part) for part in value]
    return "number", Decimal(repr(value))
