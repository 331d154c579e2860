"""What a review knows of the count: what the filter showed, what was counted since, and an upper bound."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import datetime

from secateur.looking.timed_counting import Seen
from secateur.requests import CancellationRequest
from secateur.runs import Count, FunctionDepth, RunStatus


@dataclass(slots=True)
class Figures:
    """`newest` is the best figure at every moment; there need not be any."""

    shown: Count | None
    """What the filter showed when it was left."""
    at_most: int | None
    """How many runs of the scope the depth knows of; None if it does not know."""
    found: Seen = field(default_factory=lambda: Seen(None, under_way=True))
    """What was counted since."""
    began: float = field(default_factory=time.monotonic)
    """When the count began, by the monotonic clock."""
    numbers: set[int] = field(default_factory=set)
    """The exact figures that were on the screen; typing any of them confirms."""

    @property
    def newest(self) -> Count | None:
        """An exact figure is better than an estimate, even if it is slightly older."""
        found = self.found.count
        if found is not None and (found.exact or self.shown is None or not self.shown.exact):
            return found
        return self.shown

    @property
    def exact(self) -> Count | None:
        return self.newest if self.newest is not None and self.newest.exact else None

    @property
    def is_certain(self) -> bool:
        """Whether the number is known: it was counted, and no later count has failed."""
        return self.exact is not None and self.found.why is None

    @property
    def seconds(self) -> float:
        """How long the count has taken so far."""
        return time.monotonic() - self.began

    def painted(self) -> None:
        """Remember what may be typed now."""
        if self.exact is not None:
            self.numbers.add(self.exact.matched)

    def outdated(self) -> None:
        """The request has changed: what was counted for the old one is only a guess at the new one."""
        self.found = Seen(None, under_way=True)
        self.numbers.clear()
        self.shown = None

    def age(self, now: datetime) -> float:
        """Seconds since the newest figure was counted."""
        return 0.0 if self.newest is None else max(0.0, (now - self.newest.as_of).total_seconds())


def at_most(request: CancellationRequest, depths: tuple[FunctionDepth, ...]) -> int | None:
    """How many runs of the request's scope there are, whatever its condition and window."""
    if RunStatus.CANCELLED in request.statuses:
        return None  # those are in no depth
    its = [each for each in depths if any(scope.covers(each.app_id, each.function_id) for scope in request.scopes)]
    if not its:
        return None
    if RunStatus.FAILED in request.statuses:
        failed = [each.failed for each in its if each.failed is not None]
        return sum(failed) if len(failed) == len(its) else None
    return sum(each.queued + each.scheduled + each.running for each in its)
