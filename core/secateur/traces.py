"""What an engine knows of one run besides the run itself: what holds it up, and how far it has come."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class FinishedStep:
    name: str
    finished_at: datetime
    size: int
    """Bytes that the result takes in the database."""
    result: Any = None
    """As decoded JSON; None for one that is too large to be shown."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Since when nothing of the function, or of its app, is claimed, and who wanted that."""

    function_id: str | None
    """None is the whole app."""
    since: datetime
    by: str | None


@dataclass(frozen=True, slots=True)
class Undecided:
    """A cancellation that does not know yet whether it matches the run; until it does, the run is not claimed."""

    cancellation_id: str
    tries: int
    next_at: datetime | None


@dataclass(frozen=True, slots=True)
class StopRequest:
    """A cancellation that asked the run to stop while it was running."""

    cancellation_id: str
    requested_at: datetime
    outcome: str | None
    """None while it is open; `cancelled`, `finished_first` or `withdrawn`."""


@dataclass(frozen=True, slots=True)
class RunTrace:
    """As of the moment of the question."""

    as_of: datetime
    max_attempts: int
    steps: tuple[FinishedStep, ...] = ()
    """In the order in which they finished; the first thousand."""
    pauses: tuple[Pause, ...] = ()
    concurrency: int | None = None
    """How many runs of the function may run at once; None is no limit."""
    slots_taken: int = 0
    """Of these, how many do."""
    undecided: tuple[Undecided, ...] = ()
    stop_requests: tuple[StopRequest, ...] = ()
    interruptions: int = 0
    retry_id: str | None = None
    """The retry that queued the run last."""
    handed_over_from: str | None = None
    """The undone cancellation that had the run before the one that has it now."""
    key_taken_by: str | None = None
    """The run that has this one's idempotency key now."""
    ahead: int = 0
    """Queued runs of the function that are claimed before this one; counted up to `MOST_AHEAD`."""
    workers: int = 0
    """Workers that hold a run of the app."""
    listening: int = 0
    """Workers of secateur's own that are connected to the database, whatever their apps are."""


MOST_AHEAD = 10_000
"""Runs that are counted; of more, it is said that there are as many at least."""
