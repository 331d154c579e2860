"""Checks searches for runs and for cancellations, in the same way at every entrance."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from secateur import bounds
from secateur.bounds import optional, problem_of_instant, problem_of_named, problem_of_number
from secateur.cel import SEARCH, ExpressionError, compile
from secateur.engines.searching import RunSearch
from secateur.errors import Problem, RequestError
from secateur.ledger.steps import CancellationSearch
from secateur.runs import MOST_FUNCTIONS, RunStatus, Scope, Window
from secateur.states import State

ANY = "any"
"""The status of a search for runs of any status."""

STATUSES = (*(str(each) for each in RunStatus), ANY)

STATES = (State.ACTIVE, State.RETRYING, State.COMPLETE, State.STOPPED, State.UNDONE)
"""The states that the record of a cancellation can have."""

LONGEST_SEARCH_PAGE = 1_000
"""The most runs of one page; each comes with its event."""


def read_scope(app_id: str, function_id: str | None) -> Scope:
    """The scope with these names. Raises `RequestError` for what cannot be a name."""
    bounds.require(
        {"app_id": problem_of_named(app_id), "function_id": optional(problem_of_named(function_id), function_id)}
    )
    return Scope(app_id, function_id)


def read_search(
    app_id: str,
    function_ids: str | Sequence[str] | None = None,
    *,
    status: str | Sequence[str] = RunStatus.FAILED,
    if_: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    limit: int = 50,
    before: str | None = None,
    newest: bool = True,
) -> RunSearch:
    """A checked search. Raises `RequestError` with every problem at once, each under the name of its field.

    `status` may name several, also separated by commas. The search then examines every run, as it does for a condition.
    """
    statuses = _statuses(status)
    names = _names(function_ids)
    problems = {
        "app_id": problem_of_named(app_id),
        "function_id": next((problem for each in names if (problem := problem_of_named(each))), None),
        "status": None if statuses else f"must be one of {', '.join(STATUSES)}, or several of them",
        "since": optional(problem_of_instant(since), since),
        "until": optional(problem_of_instant(until), until),
        "limit": problem_of_number(limit, 1, LONGEST_SEARCH_PAGE),
    }
    if len(names) > MOST_FUNCTIONS:
        problems["function_id"] = f"must name at most {MOST_FUNCTIONS} functions"
    if problems["since"] is problems["until"] is None and since is not None and until is not None and since >= until:
        problems["since"] = "must be before `until`"
    if if_ is not None and not isinstance(if_, str):
        problems["if"] = "must be a string"
    found = [Problem(field, problem) for field, problem in problems.items() if problem is not None]
    filter = None
    if isinstance(if_, str):
        try:
            filter = compile(if_, SEARCH)
        except ExpressionError as error:
            found += error.problems
    if found:
        raise RequestError(found)
    if 1 < len(statuses) < len(RunStatus):
        listed = ", ".join(f"'{each}'" for each in statuses)
        filter = compile(f"run.status in [{listed}]" + (f" && ({if_}\n)" if if_ is not None else ""), SEARCH)
    return RunSearch(
        app_id,
        tuple(dict.fromkeys(names)),
        statuses[0] if len(statuses) == 1 else None,
        Window(since, until),
        filter,
        limit,
        before,
        newest,
    )


def read_cancellation_search(
    app_id: str | None = None,
    function_id: str | None = None,
    *,
    states: Sequence[str] = (),
    since: datetime | None = None,
    until: datetime | None = None,
) -> CancellationSearch:
    """A checked search of the history. Raises `RequestError` with every problem at once."""
    problems = {
        "app_id": optional(problem_of_named(app_id), app_id),
        "function_id": optional(problem_of_named(function_id), function_id),
        "state": None if set(states) <= set(STATES) else f"must be one of {', '.join(STATES)}",
        "since": optional(problem_of_instant(since), since),
        "until": optional(problem_of_instant(until), until),
    }
    if function_id is not None and app_id is None:
        problems["function_id"] = "needs `app_id`: an app has it"
    if problems["since"] is problems["until"] is None and since is not None and until is not None and since >= until:
        problems["since"] = "must be before `until`"
    bounds.require(problems)
    return CancellationSearch(app_id, function_id, tuple(map(State, states)), since, until)


def _statuses(given: object) -> list[RunStatus]:
    """Each once, and all of them for `any`; none if something is no status."""
    listed = given if isinstance(given, list | tuple) else [given]
    names = {name for each in listed for name in (each.split(",") if isinstance(each, str) else [None])}
    return [each for each in RunStatus if ANY in names or each in names] if names <= set(STATUSES) else []


def _names(function_ids: object) -> list[str]:
    """One name, or a list of names; anything else is refused like a wrong name."""
    if function_ids is None:
        return []
    return list(function_ids) if isinstance(function_ids, list | tuple) else [function_ids]  # type: ignore[list-item]
