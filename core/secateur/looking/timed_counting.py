"""Counts what a request matches within a time limit, because a commit does not wait for figures."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from math import sqrt
from statistics import fmean
from typing import TYPE_CHECKING, Any, TypeVar

from secateur.errors import DatabaseError, QueryTimeout
from secateur.looking.counter import MatchCounter, Preview
from secateur.runs import Count

if TYPE_CHECKING:
    from secateur.requests import CancellationRequest

Result = TypeVar("Result")

ESTIMATE_SECONDS = 3.0
"""The time limit of an estimate that stands in for an exact count."""

ESTIMATE_AFTER = 0.3
"""Seconds that the exact count may take before the first sample is drawn beside it; also the time between two samples.
"""

MOST_SAMPLES = 30
"""Further samples would hardly narrow the interval."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What was found in time. An operator may commit in any case."""

    preview: Preview | None
    """Exact if possible, else an estimate; None if there is neither."""
    why: str | None = None
    """Why there is no exact count; None if there is one, or still may be."""
    under_way: bool = False
    """Whether a better figure is still to come."""

    @property
    def count(self) -> Count | None:
        return None if self.preview is None else self.preview.count


async def within(seconds: float, question: Awaitable[Result]) -> Result:
    """The answer, or `QueryTimeout` after `seconds`; the query is then cancelled."""
    try:
        async with asyncio.timeout(seconds):
            return await question
    except TimeoutError:
        raise QueryTimeout(f"the database did not answer within {seconds:g} s") from None


async def count_within(
    counter: MatchCounter, request: CancellationRequest, seconds: float, *, on_primary: bool = False
) -> Seen:
    """The last answer of `count_along`."""
    async with aclosing(count_along(counter, request, seconds, on_primary=on_primary)) as found:
        return [each async for each in found][-1]


async def count_along(
    counter: MatchCounter, request: CancellationRequest, seconds: float, *, on_primary: bool = False
) -> AsyncGenerator[Seen]:
    """Yields ever better counts.

    First come estimates, as long as the exact count takes; each further sample narrows the interval. Then comes the
    exact count, and last the exact count with its errors. After `seconds` it gives up the exact count; the last answer
    is then the estimate, or none. Raises `RequestError` for an unknown app or function; any other failure is told in
    `why`. Closing the generator cancels the queries.
    """
    end = time.monotonic() + seconds
    exact = asyncio.ensure_future(within(seconds, counter.count(request, on_primary=on_primary)))
    samples = _Samples(counter, request)
    try:
        while not exact.done():
            await asyncio.wait({exact}, timeout=ESTIMATE_AFTER)
            if not exact.done() and await samples.draw_beside(exact):
                yield Seen(Preview(samples.pooled()), under_way=True)
        try:
            count = exact.result()
        except DatabaseError as error:
            preview = Preview(samples.pooled()) if samples.drawn else await _estimate(counter, request, seconds)
            yield Seen(preview, str(error))
            return
        if request.if_ is None:
            yield Seen(Preview(replace(count, errors=0)))
            return
        yield Seen(Preview(count), under_way=True)
        rest = max(0.1, end - time.monotonic())
        try:
            yield Seen(await within(rest, counter.preview(request, on_primary=on_primary)))
        except DatabaseError:
            yield Seen(Preview(count))
    finally:
        if not exact.done():
            exact.cancel()
            await asyncio.wait({exact})


class _Samples:
    """Estimates of one request, each from a new sample."""

    def __init__(self, counter: MatchCounter, request: CancellationRequest) -> None:
        self._counter, self._request = counter, request
        self.drawn: list[Count] = []
        self._is_through = False

    async def draw_beside(self, exact: asyncio.Future[Count]) -> bool:
        """Draws another sample while the exact count runs; False if there is none. The exact count ends the drawing."""
        if self._is_through or len(self.drawn) == MOST_SAMPLES:
            await asyncio.wait({exact})
            return False
        drawing = asyncio.ensure_future(self._counter.guess(self._request))
        try:
            both: set[asyncio.Future[Any]] = {drawing, exact}
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            if not drawing.done() or exact.done():
                return False
            guess = None if isinstance(drawing.exception(), DatabaseError) else drawing.result()
        finally:
            if not drawing.done():
                drawing.cancel()
                await asyncio.wait({drawing})
        if guess is None:  # the exact count is as quick, or no sample can be had
            self._is_through = True
            return False
        self.drawn.append(guess)
        return True

    def pooled(self) -> Count:
        return pooled(self.drawn)


def pooled(estimates: Sequence[Count]) -> Count:
    """One estimate from several of the same selection, whose samples are independent and of one size."""
    last = estimates[-1]
    if len(estimates) == 1:
        return last
    matched = round(fmean(each.matched for each in estimates))
    below = fmean(each.matched - (each.matched if each.low is None else each.low) for each in estimates)
    above = fmean((each.matched if each.high is None else each.high) - each.matched for each in estimates)
    narrower = sqrt(len(estimates))
    return replace(
        last,
        matched=matched,
        low=max(0, round(matched - below / narrower)),
        high=min(last.total, round(matched + above / narrower)) if last.total else None,
        errors=min(round(fmean(each.errors or 0 for each in estimates)), max(0, last.total - matched)),
        by_status={status: round(fmean(each.by_status[status] for each in estimates)) for status in last.by_status},
    )


async def _estimate(counter: MatchCounter, request: CancellationRequest, seconds: float) -> Preview | None:
    """A count from a sample; None if that fails as well."""
    try:
        return await within(min(seconds, ESTIMATE_SECONDS), counter.estimate(request))
    except DatabaseError:
        return None
