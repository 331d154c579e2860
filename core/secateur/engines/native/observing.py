"""What a worker tells whoever measures it."""

from __future__ import annotations

from enum import StrEnum


class AttemptEnd(StrEnum):
    """How an attempt ended, as its worker saw it."""

    COMPLETED = "completed"
    RETRIED = "retried"
    """It failed, and will be tried again."""
    FAILED = "failed"
    """It failed for good."""
    INTERRUPTED = "interrupted"
    """The worker had to stop, or a cancellation did not wait for the next step."""
    STOPPED = "stopped"
    """It was cancelled, or another worker has it by now."""


class Observer:
    """Measures nothing; whoever measures overrides what it wants to know.

    Each method is called on the worker's event loop, must return at once and raise nothing.
    """

    def claimed(self, app_id: str, runs: int, seconds: float) -> None:
        """A claim brought so many runs, in so many seconds."""

    def claim_failed(self, app_id: str) -> None:
        """A claim was not answered, or refused."""

    def began(self, app_id: str) -> None:
        """A run is executing from now on."""

    def ended(self, app_id: str, function_id: str, end: AttemptEnd, seconds: float) -> None:
        """A run that had begun has ended, after so many seconds."""
