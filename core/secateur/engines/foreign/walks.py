"""The jobs that a sweep of another engine's queue has found, and takes batch by batch."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

MOST = 1_000
"""Runs that a batch cancels or puts back: it holds their rows, and a stop waits for it."""


@dataclass(slots=True)
class Walk:
    """What a sweep has found in its pass and not yet dealt with."""

    number: int
    found: deque[str] = field(default_factory=deque)
    passed: deque[str] = field(default_factory=deque)
    """Others held them when their turn came."""
    again: bool = False
    """Only those are left."""
    ended: bool = False
    """There was nothing else."""
    most: int = MOST
    """How many a batch takes: fewer where the condition takes long."""

    def extend(self, found: Sequence[str], *, ended: bool) -> None:
        self.found.extend(found)
        self.passed.clear()  # they are among these
        self.again, self.ended = False, ended

    def take(self, most: int) -> list[str]:
        """The next ones; those that were passed over come again at the end."""
        if not self.found:
            self.found, self.passed, self.again = self.passed, deque(), True
        return [self.found.popleft() for _ in range(min(most, self.most, len(self.found)))]

    def put_back(self, taken: Sequence[str]) -> None:
        """They took too long together: the next batches take fewer."""
        self.found.extendleft(reversed(taken))
        self.most = max(1, self.most // 8)

    @property
    def is_over(self) -> bool:
        return self.ended and not self.found and not self.passed
