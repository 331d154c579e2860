"""Where a cancellation is in its life, as the database writes it."""

from __future__ import annotations

from enum import StrEnum


class Kind(StrEnum):
    """How a cancellation came to be."""

    BULK = "bulk"
    """By expression and window."""
    RUN = "run"
    """Of a single run."""
    EVENT = "event"
    """Declared by its function, in `cancel_on`."""
    RETRY = "retry"
    """It is a retry: a record of the same form, which queues failed runs again."""


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
    """Undone, and runs are still coming back: so a sweeper sees it. Its record says `undone`."""


OPEN = frozenset({State.ACTIVE, State.RETRYING, State.RESTORING})
"""States in which a sweeper may have something left to do."""


class Guarantee(StrEnum):
    """What a cancellation promises now."""

    IN_FORCE = "in_force"
    """No matching run is claimed."""
    PENDING = "pending"
    """It is committed, but a transaction that had not seen it is still open."""
    ENDED = "ended"
    """It was stopped or undone, and matches nothing any more."""
    NONE = "none"
    """It is a retry."""
