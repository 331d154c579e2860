"""A row with the canonical columns of a run, as a `Run`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from secateur.cel.values import decode_shown
from secateur.instants import read_instant
from secateur.runs import AttemptOutcome, Run, RunAttempt, RunStatus


def run_of(row: Mapping[str, Any]) -> Run:
    """A run from its canonical columns; those that an engine does not have are left at their defaults."""
    return Run(
        id=str(row["id"]),
        app_id=row["app_id"],
        function_id=row["function_id"],
        event=decode_shown(row["event"]),
        status=RunStatus(row["status"]),
        priority=row.get("priority") or 0,
        attempt=row.get("attempt") or 0,
        started_at=row["started_at"],
        scheduled_for=row.get("scheduled_for"),
        worker=row.get("worker"),
        lease_expires_at=row.get("lease_expires_at"),
        finished_at=row.get("finished_at"),
        cancellation_id=str(row["cancellation_id"]) if row.get("cancellation_id") else None,
        error=row.get("error"),
        claimed_at=row.get("claimed_at"),
        step=row.get("step"),
        step_at=row.get("step_at"),
        idempotency_key=row.get("idempotency_key"),
        lost=bool(row.get("lost")),
        past_attempts=tuple(_past_attempts(row.get("past_attempts"))),
        fields=decode_shown(row["fields"]) if row.get("fields") else {},
    )


def _past_attempts(text: str | None) -> Iterator[RunAttempt]:
    """As `with_attempt` writes them (attempts.sql); whatever has another form is left out."""
    kept = None if text is None else decode_shown(text)
    for each in kept if isinstance(kept, list) else ():
        try:
            yield RunAttempt(
                number=int(each["attempt"]),
                outcome=AttemptOutcome(each["outcome"]),
                began_at=read_instant(each["began_at"]) if each.get("began_at") else None,
                ended_at=read_instant(each["ended_at"]) if each.get("ended_at") else None,
                worker=each.get("worker"),
                error=each.get("error"),
            )
        except (AttributeError, KeyError, TypeError, ValueError):
            continue
