"""Declarations of the events that cancel a function's runs; checked and compiled when the function is declared.

    CancelOn(event="user/deleted", match="data.user_id", timeout=timedelta(hours=1))

An event `user/deleted` cancels the function's runs whose own event has the same `data.user_id` and which were enqueued
at most an hour before it. Without `match` and `if_` it cancels all of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from secateur.bounds import problem_of_name
from secateur.cel import CANCEL_ON, COMPILER_VERSION, ExpressionError, compile
from secateur.engines.native.events import OWN_EVENT
from secateur.errors import UsageError

MOST = 5
"""The most declarations that one function may have."""

LONGEST_PATH = 1000
LONGEST_TIMEOUT = timedelta(days=36_500)


@dataclass(frozen=True, slots=True)
class CancelOn:
    """An event that cancels earlier runs, if both `match` and `if_` hold."""

    event: str
    """The event's name."""
    match: str | None = None
    """The path of a field that must be equal in both events, such as `data.user_id`."""
    if_: str | None = None
    """An expression over `event` (the run's) and `async` (the one that arrived), as in `async.data.hard == true`."""
    timeout: timedelta | None = None
    """Cancel only runs that were enqueued at most this long before the event; None is no limit."""

    def problems(self) -> Iterator[str]:
        """What is wrong with the declaration; each message starts with the field's name."""
        if not isinstance(self.event, str) or not self.event:
            yield "event: must be the name of an event"
        elif problem := problem_of_name(self.event):
            yield f"event: {problem}"
        elif self.event == OWN_EVENT:
            yield f"event: {OWN_EVENT} can only trigger functions; it cannot cancel runs"
        if self.match is not None:
            if not isinstance(self.match, str) or len(self.match) > LONGEST_PATH or "" in self.match.split("."):
                yield "match: must be the path of a field of the event, such as data.user_id"
            elif found := re.match(r"(event|async)\.", self.match):
                yield f"match: must be a path inside the event, without the prefix {found[1]}"
        if self.timeout is not None and (
            not isinstance(self.timeout, timedelta) or not timedelta(0) < self.timeout <= LONGEST_TIMEOUT
        ):
            yield "timeout: must be a timedelta above zero and at most 100 years"
        if self.if_ is not None:
            if not isinstance(self.if_, str):
                yield 'if: must be an expression, such as "async.data.hard == true"'
                return
            try:
                compile(self.if_, CANCEL_ON)
            except ExpressionError as error:
                yield f"if:\n{error.render()}"

    def stored(self) -> dict[str, Any]:
        """The argument of `secateur.declare_cancel_on`, with `if_` compiled."""
        declared: dict[str, Any] = {"event": self.event}
        if self.match is not None:
            declared["match"] = self.match
        if self.timeout is not None:
            # The unit is not days, because a day of an interval is not always 24 hours.
            declared["timeout"] = f"{self.timeout // timedelta(microseconds=1)} microseconds"
        if self.if_ is not None:
            condition, parameters = compile(self.if_, CANCEL_ON).condition.stored()
            declared |= {
                "if": self.if_,
                "condition": condition,
                "parameters": parameters,
                "compiler": COMPILER_VERSION,
            }
        return declared


def checked(name: str, declarations: Sequence[CancelOn]) -> tuple[CancelOn, ...]:
    """Check the declarations of the function `name`. Raises `UsageError` with every problem."""
    is_list = isinstance(declarations, list | tuple)
    if not is_list or not all(isinstance(one, CancelOn) for one in declarations):
        raise UsageError(f'{name}: cancel_on must be a list, as in cancel_on=[CancelOn(event="user/deleted")]')
    problems = [
        f"{name}: cancel_on {place}, {problem}"
        for place, one in enumerate(declarations, 1)
        for problem in one.problems()
    ]
    if len(declarations) > MOST:
        problems.insert(0, f"{name}: cancel_on must have at most {MOST} declarations, not {len(declarations)}")
    if problems:
        raise UsageError("\n".join(problems))
    return tuple(declarations)
