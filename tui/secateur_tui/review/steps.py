"""How far a review is."""

from __future__ import annotations

from enum import Enum, auto
from typing import Self

from secateur.errors import LockUnavailable, NotInstalled, PermissionDenied, ReadOnly, SecateurError, UsageError

_NOTHING_CHANGED = (LockUnavailable, PermissionDenied, ReadOnly, NotInstalled, UsageError)
"""Answers of the database itself; anything else, such as a lost connection, leaves the outcome open."""


class Step(Enum):
    OPENING = auto()
    """Nothing has been painted yet, and so nothing can have been read."""
    READY = auto()
    COMMITTING = auto()
    COMMITTED = auto()
    NOT_COMMITTED = auto()
    """The commit was refused; nothing changed."""
    UNKNOWN = auto()
    """The connection went while committing."""
    PENDING = auto()
    """Committed; an open transaction keeps it from being in force."""

    @classmethod
    def after(cls, error: SecateurError) -> Self:
        """Where a commit is that did not come back with a cancellation."""
        return cls.NOT_COMMITTED if isinstance(error, _NOTHING_CHANGED) else cls.UNKNOWN
