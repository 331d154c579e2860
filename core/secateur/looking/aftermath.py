"""What came of a commit: how much it cancelled, and how many matching runs still arrive that it does not reach."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from secateur.engines.base import RATE_SECONDS
from secateur.looking.counter import MatchCounter
from secateur.looking.depth import NEGLIGIBLE
from secateur.states import Kind

if TYPE_CHECKING:
    from secateur.records import Cancellation
    from secateur.requests import CancellationRequest

STANDING_FOR = timedelta(hours=2)
"""How long a cancellation of runs that still arrive lasts, unless the retention allows less."""

_SOONEST = 2.0
"""Seconds after the commit until a rate means anything."""


@dataclass(frozen=True, slots=True)
class Aftermath:
    """A commit some time later: one cancellation, or one for each of several functions."""

    cancellations: tuple[Cancellation, ...]
    as_of: datetime
    """The database's time."""
    arriving: float | None
    """Matching runs per second that start after its window. None if that is not known, or if none can come: after a
    retry, the cancellation of a single run, one that still stands, or one that was stopped or undone."""

    @classmethod
    def of(cls, cancellations: Iterable[Cancellation], now: datetime, arriving: float | None) -> Aftermath:
        """`arriving` is what `still_arriving` found last, of all; it is dropped where nothing can arrive any more."""
        found = tuple(cancellations)
        return cls(found, now, arriving if any(leaves_arrivals(each, now) for each in found) else None)

    @property
    def newest(self) -> Cancellation:
        """The one that changed last."""
        return max(self.cancellations, key=_changed_at)

    @property
    def goes_on(self) -> bool:
        """Whether matching runs still arrive that it does not cancel."""
        return self.arriving is not None and self.arriving >= NEGLIGIBLE


def _changed_at(cancellation: Cancellation) -> datetime:
    return cancellation.undone_at or cancellation.stopped_at or cancellation.created_at


async def still_arriving(counter: MatchCounter, cancellation: Cancellation, now: datetime) -> float | None:
    """See `Aftermath.arriving`; `now` is by the database's clock. Raises `NotFound` and `DatabaseError`."""
    if not leaves_arrivals(cancellation, now):
        return None
    seconds = min(RATE_SECONDS, (now - cancellation.started_before).total_seconds())
    if seconds < _SOONEST:
        return None
    later = _selecting(cancellation, {"started_after": cancellation.started_before})
    return await counter.arrival_rate(later) * RATE_SECONDS / seconds


def leaves_arrivals(cancellation: Cancellation, now: datetime) -> bool:
    """Whether matching runs may arrive that it does not cancel."""
    if cancellation.kind != Kind.BULK or cancellation.is_over:
        return False
    return cancellation.started_before <= now


def also_arriving(
    request: CancellationRequest, now: datetime, longest: timedelta = STANDING_FOR
) -> CancellationRequest:
    """The same request as a standing one: it also cancels what arrives in the two hours after `now`, or for `longest`
    if that is less.
    """
    until = (now + min(STANDING_FOR, longest)).replace(microsecond=0)
    return request.model_copy(update={"standing": True, "started_before": until})


def again(cancellations: Sequence[Cancellation], now: datetime) -> CancellationRequest:
    """A request that repeats the cancellations, or the retries, of one commit: functions, condition and window.

    Raises `RequestError` for a record that no request can express.
    """
    cancellation = cancellations[0]
    several = sorted(each.function_id for each in cancellations if each.function_id is not None)
    return _selecting(
        cancellation,
        {
            "function_id": cancellation.function_id if len(cancellations) == 1 else None,
            "function_ids": several if len(cancellations) > 1 else None,
            "started_after": cancellation.started_after,
            "started_before": cancellation.started_before,
            "standing": cancellation.standing and cancellation.started_before > now,
            "rate": cancellation.rate,
            "reason": cancellation.reason,
        },
    )


def _selecting(cancellation: Cancellation, fields: dict[str, Any]) -> CancellationRequest:
    from secateur.requests import CancellationRequest, RetryRequest

    kind = RetryRequest if cancellation.is_retry else CancellationRequest
    body = {
        "app_id": cancellation.app_id,
        "function_id": cancellation.function_id,
        "if": cancellation.if_,
        "with_cancelled": cancellation.with_cancelled or None,
        **fields,
    }
    return kind.parse({field: value for field, value in body.items() if value})
