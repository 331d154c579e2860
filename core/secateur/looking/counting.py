"""Counts what a request matches, in bounded time, because a commit waits for no figure."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from math import sqrt
from statistics import fmean
from typing import Any, TypeVar

from secateur.errors import DatabaseError, QueryTimeout
from secateur.looking.counter import MatchCounter, Preview
from secateur.requests import CancellationRequest
from secateur.runs import Count

Result = TypeVar("Result")

ESTIMATE_SECONDS = 3.0
"""The time limit of the estimate that replaces an exact count."""

ESTIMATE_AFTER = 0.3
"""Seconds that the exact count may take before the first sample is drawn meanwhile, and then between two of them."""

MOST_SAMPLES = 30
"""More of them narrow the interval by little."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What could be found out in time. An operator may commit in any case."""

    preview: Preview | None
    """Exact, or an estimate where the exact count was not to be had; None where there is neither."""
    why: str | None = None
    """Why there is no exact count; None where there is one, or may still be."""
    under_way: bool = False
    """A better figure is on its way."""

    @property
    def count(self) -> Count | None:
        return None if self.preview is None else self.preview.count


async def within(seconds: float, question: Awaitable[Result]) -> Result:
    """The answer, or `QueryTimeout`; cancels the query in the database."""
    try:
        async with asyncio.timeout(seconds):
            return await question
    except TimeoutError:
        raise QueryTimeout(f"the database did not answer within {seconds:g} s") from None


async def count_within(
    counter: MatchCounter, request: CancellationRequest, seconds: float, *, on_primary: bool = False
) -> Seen:
    """The last of `count_along`: the exact count, or else an estimate, or else neither."""
    async with aclosing(count_along(counter, request, seconds, on_primary=on_primary)) as found:
        return [each async for each in found][-1]


async def count_along(
    counter: MatchCounter, request: CancellationRequest, seconds: float, *, on_primary: bool = False
) -> AsyncGenerator[Seen]:
    """What is known of the count, ever better: estimates while the exact count takes long, with an interval that every
    further sample narrows; then the exact count, and last the same with its errors.

    After `seconds` the exact count is given up: the last answer is the estimate then, or none. Raises `RequestError`
    for an app or function that is not known; every other failure is told in `why`. Closing it cancels the queries.
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
    """Estimates of one request, each from a sample of its own."""

    def __init__(self, counter: MatchCounter, request: CancellationRequest) -> None:
        self._counter, self._request = counter, request
        self.drawn: list[Count] = []
        self._is_through = False

    async def draw_beside(self, exact: asyncio.Future[Count]) -> bool:
        """Whether there is another one; None is drawn to the end once the exact count is there."""
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
    """One estimate from several of the same selection: samples that know nothing of each other, of one size."""
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
    """A count from a sample; None if that fails too."""
    try:
        return await within(min(seconds, ESTIMATE_SECONDS), counter.estimate(request))
    except DatabaseError:
        return None
