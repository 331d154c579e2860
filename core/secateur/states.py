"""The states of a cancellation, as the database writes them."""

from __future__ import annotations

from enum import StrEnum


class Kind(StrEnum):
    """How a cancellation came to be."""

    BULK = "bulk"
    """By expression and window."""
    RUN = "run"
    """A single run, by its id."""
    EVENT = "event"
    """Declared in a function's `cancel_on`."""
    RETRY = "retry"
    """A retry: a record of the same form, which queues failed runs again."""


class State(StrEnum):
    """What a cancellation, or a retry, is doing."""

    ACTIVE = "active"
    """A cancellation that matches runs: none of them is claimed, and their rows are being rewritten."""
    RETRYING = "retrying"
    """A retry that is queueing runs again."""
    COMPLETE = "complete"
    STOPPED = "stopped"
    UNDONE = "undone"
    RESTORING = "restoring"
    """Undone, and runs are still coming back: only sweepers see this state. The record says `undone`."""
    ENDING = "ending"
    """Stopped or undone, while an open transaction may still act for it: only sweepers see this state. The record says
    `stopped` or `undone`."""


OPEN = frozenset({State.ACTIVE, State.RETRYING, State.RESTORING, State.ENDING})
"""States in which a sweeper may have something left to do."""


class Guarantee(StrEnum):
    """What a cancellation promises now."""

    IN_FORCE = "in_force"
    """No matching run is claimed."""
    SWEPT = "swept"
    """Nothing keeps runs from being claimed: those that the sweep has not reached may still start."""
    PENDING = "pending"
    """It is committed, stopped or undone, but a transaction that does not see that is still open."""
    ENDED = "ended"
    """It was stopped or undone, and no longer matches anything."""
    NONE = "none"
    """It is a retry."""
