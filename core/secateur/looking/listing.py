"""Listing runs: what may be asked for, and how a run is written."""

from __future__ import annotations

from secateur import bounds
from secateur.bounds import optional, problem_of_named
from secateur.errors import Problem, RequestError
from secateur.runs import LISTED, RunStatus, Scope


def read_scope(app_id: str, function_id: str | None) -> Scope:
    """What is asked for by its names. Raises `RequestError` for what cannot be one."""
    bounds.require(
        {"app_id": problem_of_named(app_id), "function_id": optional(problem_of_named(function_id), function_id)}
    )
    return Scope(app_id, function_id)


def read_status(text: str) -> RunStatus:
    """Raises `RequestError` for what is not one of `LISTED`."""
    if text not in LISTED:
        raise RequestError([Problem("status", f"must be one of {', '.join(LISTED)}")])
    return RunStatus(text)
