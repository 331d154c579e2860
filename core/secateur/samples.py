"""How the depth was at some moments of the past, as an engine keeps it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

RANGES = {
    "15m": (timedelta(minutes=15), timedelta(seconds=1)),
    "2h": (timedelta(hours=2), timedelta(seconds=10)),
    "48h": (timedelta(hours=48), timedelta(minutes=4)),
}
"""How far back a history may be asked for, and how far apart its points are then."""

DEFAULT_RANGE = "15m"


@dataclass(frozen=True, slots=True)
class SampleSteps:
    """Moments that are asked for: the end of every step of that length between `since` and `until`."""

    since: datetime
    until: datetime
    length: timedelta


@dataclass(frozen=True, slots=True)
class Sample:
    """The depth of a function, or of a whole app, as it was at `at`, by the database's clock."""

    at: datetime
    queued: int
    scheduled: int
    running: int
    failed: int | None
    """Runs that had failed for good and were kept; None where that is not known."""
    cancelling: int | None
    """Estimate: runs that a cancellation had matched and not yet reached; None where that is not known."""
    entered: int
    """Runs that had ever come in; what came in between two samples is the difference."""
    drained: int
    """Runs that had ever completed or failed for good."""

    @property
    def backlog(self) -> int:
        return self.queued + self.scheduled


@dataclass(frozen=True, eq=False)
class SampleTimes:
    """The times of many samples, in order. Functions that were sampled together share it."""

    at: Sequence[datetime]


@dataclass(frozen=True, slots=True)
class Backlogs:
    """Samples of one function in columns, as much as it takes to tell whether it grows. Objects would take longer."""

    times: SampleTimes
    backlogs: Sequence[int]
    """Queued and scheduled runs."""
    entered: Sequence[int]
    drained: Sequence[int]

    @classmethod
    def of(cls, samples: Sequence[Sample]) -> Backlogs:
        return cls(
            SampleTimes([sample.at for sample in samples]),
            [sample.backlog for sample in samples],
            [sample.entered for sample in samples],
            [sample.drained for sample in samples],
        )


@dataclass(frozen=True, slots=True)
class SampleGap:
    """A time of which nothing is known, because none of secateur's processes was alive."""

    since: datetime
    until: datetime


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that somebody did to the scope meanwhile, from the audit."""

    at: datetime
    action: str
    """As in the audit: `commit`, `stop`, `undo`, `pause`, `resume`, …"""
    function_id: str | None
    """None for the whole app."""
    cancellation_id: str | None
    author: str | None
