"""What a request selects, what several counts add up to, and why a filter fails on a run."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from secateur.engines.base import Selection
from secateur.runs import Count, Run

if TYPE_CHECKING:
    from secateur.cel import Filter
    from secateur.requests import CancellationRequest


def select(request: CancellationRequest) -> Selection:
    """What a request for one function or a whole app selects. Raises `secateur.cel.ExpressionError` for its `if`."""
    return Selection(request.scope, request.window, request.compile(), statuses=request.statuses)


def selections(request: CancellationRequest) -> list[Selection]:
    """The request's selections, one for each cancellation that it makes. Raises like `select`."""
    compiled = request.compile()
    return [Selection(scope, request.window, compiled, statuses=request.statuses) for scope in request.scopes]


def added(counts: Sequence[Count]) -> Count:
    """The sum of counts of different functions; as old as the oldest of them, and an estimate if one is."""
    if len(counts) == 1:
        return counts[0]
    errors = [count.errors for count in counts]
    exact = all(count.exact for count in counts)
    return Count(
        matched=sum(count.matched for count in counts),
        total=sum(count.total for count in counts),
        exact=exact,
        errors=None if None in errors else sum(error or 0 for error in errors),
        as_of=min(count.as_of for count in counts),
        by_status={
            status: sum(count.by_status.get(status, 0) for count in counts)
            for status in dict.fromkeys(status for count in counts for status in count.by_status)
        },
        by_function={name: matched for count in counts for name, matched in count.by_function.items()},
        low=None if exact else sum(count.matched if count.low is None else count.low for count in counts),
        high=None if exact else sum(count.matched if count.high is None else count.high for count in counts),
        # If one of them was the replica's, the sum is as good as that.
        source=max(count.source for count in counts),
        replica_failed=next((count.replica_failed for count in counts if count.replica_failed), None),
        evaluated_here=any(count.evaluated_here for count in counts),
    )


def why_failing(filter: Filter, run: Run, now: datetime) -> str:
    """Why the filter could not be evaluated on the run."""
    from secateur.cel.diagnostics import EvaluationError

    try:
        filter.matches(run, now)
    except EvaluationError as error:
        return str(error)
    return "could not be evaluated"
