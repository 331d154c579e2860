"""Counts what a request matches, in bounded time, because a commit waits for no figure."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import TypeVar

from secateur.errors import DatabaseError, QueryTimeout
from secateur.ledger.cancellations import Cancellations, Preview
from secateur.requests import CancellationRequest
from secateur.runs import Count

Result = TypeVar("Result")

ESTIMATE_SECONDS = 3.0
"""The time limit of the estimate that replaces an exact count."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What could be found out in time. An operator may commit in any case."""

    preview: Preview | None
    """Exact, or an estimate where the exact count was not to be had; None where there is neither."""
    why: str | None = None
    """Why there is no exact count; None where there is one."""

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
    cancellations: Cancellations, request: CancellationRequest, seconds: float, *, on_primary: bool = False
) -> Seen:
    """The exact count with its errors, or else an estimate, or else neither; `seconds` for the exact one.

    Raises `RequestError` for an app or function that is not known; every other failure is told in `why`.
    """
    end = time.monotonic() + seconds
    try:
        count = await within(seconds, cancellations.count(request, on_primary=on_primary))
    except DatabaseError as error:
        return Seen(await estimate_within(cancellations, request, min(seconds, ESTIMATE_SECONDS)), str(error))
    try:
        rest = max(0.1, end - time.monotonic())
        return Seen(await within(rest, cancellations.with_errors(request, count, on_primary=on_primary)))
    except DatabaseError:
        return Seen(Preview(count))


async def estimate_within(
    cancellations: Cancellations, request: CancellationRequest, seconds: float = ESTIMATE_SECONDS
) -> Preview | None:
    """A count from a sample; None if that fails too."""
    try:
        return await within(seconds, cancellations.estimate(request))
    except DatabaseError:
        return None
