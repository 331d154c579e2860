"""Listing runs: what may be asked for, and how a run is written."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from secateur import bounds
from secateur.bounds import optional, problem_of_named
from secateur.errors import Problem, RequestError
from secateur.instants import utc
from secateur.runs import LISTED, Run, RunStatus, Scope


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


def run_json(run: Run) -> dict[str, Any]:
    """A run as the CLI and the API write it, to the letter."""
    return {
        "id": run.id,
        "app_id": run.app_id,
        "function_id": run.function_id,
        "status": str(run.status),
        "priority": run.priority,
        "attempt": run.attempt,
        "started_at": utc(run.started_at),
        "scheduled_for": _instant(run.scheduled_for),
        "worker": run.worker,
        "claimed_at": _instant(run.claimed_at),
        "lease_expires_at": _instant(run.lease_expires_at),
        "lost": run.lost,
        "step": run.step,
        "step_at": _instant(run.step_at),
        "finished_at": _instant(run.finished_at),
        "error": run.error,
        "cancellation_id": run.cancellation_id,
        "idempotency_key": run.idempotency_key,
        "event": run.event,
    }


def _instant(moment: datetime | None) -> str | None:
    return None if moment is None else utc(moment)
