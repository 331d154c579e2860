"""The commits that the ledger takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from secateur.backoff import Backoff
from secateur.engines.base import Selection
from secateur.runs import UNFINISHED, Count

COMMITTING = Backoff(0.5, 2.0, attempts=4)
"""How to repeat a commit whose answer was lost. Its key makes sure that it happens at most once."""


@dataclass(frozen=True, slots=True)
class Commit:
    """A cancellation or a retry about to be committed; `id` is made by the caller, before sending."""

    id: UUID
    selection: Selection
    request: dict[str, Any]
    """The request as given. It distinguishes a repeated commit from a different one under the same key."""
    standing: bool
    author: str
    source: str
    """`tui`, `cli`, `api`, `python` or `watch`."""
    reason: str | None = None
    idempotency_key: str | None = None
    expected: Count | None = None
    """The count that the operator saw, exact or not; recorded, never used to decide. None: nothing was counted."""
    rate: int | None = None
    """How many runs per second the sweep, and later a restore, may rewrite."""

    @property
    def is_retry(self) -> bool:
        """Whether it selects runs that have ended, and queues them again."""
        return self.selection.statuses is not UNFINISHED


@dataclass(frozen=True, slots=True)
class RunCancellation:
    """The cancellation of a single run, about to be committed; `id` is made by the caller."""

    id: UUID
    run_id: str
    author: str
    source: str
    reason: str | None = None
    idempotency_key: str | None = None
