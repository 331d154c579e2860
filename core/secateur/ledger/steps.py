"""What is left to do for a cancellation, and what a batch of it did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from secateur.runs import Scope
from secateur.states import State


@dataclass(frozen=True, slots=True)
class CancellationSearch:
    """Which cancellations of a history are meant; whatever is None or empty leaves none out."""

    app_id: str | None = None
    function_id: str | None = None
    """Those of its whole app reach it, too."""
    states: tuple[State, ...] = ()
    since: datetime | None = None
    """Committed at this moment or later."""
    until: datetime | None = None
    """Committed before this moment."""


EVERY_CANCELLATION = CancellationSearch()


@dataclass(frozen=True, slots=True)
class Unrestored:
    """A run that an undo did not put back into the queue, and why."""

    run_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class OpenCancellation:
    """One that a sweeper has to look after: its state is one of `secateur.states.OPEN`."""

    app_id: str
    id: UUID
    state: str


@dataclass(frozen=True, slots=True)
class SweepProblem:
    """An open cancellation whose sweep or restore fails, or that nobody has swept for a while."""

    id: UUID
    error: str
    since: datetime


@dataclass(frozen=True, slots=True)
class InForce:
    """Claims of this function, or of the whole app (None), obey cancellations that are active."""

    app_id: str
    function_id: str | None
    count: int
    standing_until: datetime | None
    """Until when one of them also cancels what arrives; None if none does."""

    @property
    def scope(self) -> Scope:
        return Scope(self.app_id, self.function_id)


@dataclass(frozen=True, slots=True)
class Activity:
    """What cancellations do now."""

    in_force: tuple[InForce, ...] = ()
    """The functions and apps with active cancellations, not counting those of single runs."""
    problems: tuple[SweepProblem, ...] = ()
    """Oldest commit first; twenty at most."""


@dataclass(frozen=True, slots=True)
class LedgerFigures:
    """All cancellations and retries of a queue, in figures."""

    states: Mapping[str, int]
    """How many there are, by `secateur.states.State`."""
    pending: int
    """Active ones whose guarantee is not given yet."""
    pending_seconds: float
    """How long the oldest of these has waited; 0 if there is none."""
    sweep_lag_seconds: float
    """The longest time for which one that is open was not swept or restored; 0 if none is open."""
    failing: int
    """Open ones whose last batches failed."""
    matched: int
    """Runs that they ever reached: cancelled, or asked to stop and ended first."""
    cancelled: int
    """The part of `matched` that they ever cancelled."""
    restored: int
    """Runs that undos ever put back."""

    def __add__(self, other: LedgerFigures) -> LedgerFigures:
        """Of two queues."""
        return LedgerFigures(
            states={
                state: self.states.get(state, 0) + other.states.get(state, 0) for state in (*self.states, *other.states)
            },
            pending=self.pending + other.pending,
            pending_seconds=max(self.pending_seconds, other.pending_seconds),
            sweep_lag_seconds=max(self.sweep_lag_seconds, other.sweep_lag_seconds),
            failing=self.failing + other.failing,
            matched=self.matched + other.matched,
            cancelled=self.cancelled + other.cancelled,
            restored=self.restored + other.restored,
        )


@dataclass(frozen=True, slots=True)
class SweepStep:
    """What one batch of a sweep or a restore did. `busy` says that another process is at this cancellation."""

    state: str
    """The cancellation's state after the batch; `restoring` while the runs of an undone one are still coming back."""
    cancelled: int = 0
    busy: bool = False
    idle: bool = False
    """Nothing to do right now, but not complete: a transaction or a running run is still open."""
    restored: int = 0
    """Runs that a batch of a restore put back, or one of a retry queued again."""
    wait: float | None = None
    """Seconds until there is something to do again, where that is known."""
    undecided: int = 0
    """Runs, a thousand at most, that the condition took too long on, and that `decide` can look at now."""
    held_up: str | None = None
    """Why nothing could be done, in words: others have locked what is left."""
