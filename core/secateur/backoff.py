"""Trying again what may work later."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

Result = TypeVar("Result")
Failure = TypeVar("Failure", bound=Exception)


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait between two attempts: twice as long each time, up to a limit; both in seconds."""

    first: float
    longest: float
    attempts: int | None = None
    """How many there are at most; None: until one succeeds."""

    def pauses(self) -> Iterator[float]:
        """One after each attempt but the last. They are spread, so that not everybody comes back at once."""
        pause, attempt = self.first, 1
        while self.attempts is None or attempt < self.attempts:
            yield pause * random.uniform(0.5, 1)  # noqa: S311 - no secret
            pause, attempt = min(pause * 2, self.longest), attempt + 1


async def persist(
    call: Callable[[], Awaitable[Result]],
    backoff: Backoff,
    failure: type[Failure],
    note: Callable[[Failure], object] = lambda _: None,
) -> Result:
    """What the first attempt that succeeds gives.

    `note` is told of each failure that another attempt follows, and may raise it if no repetition helps. The failure
    of the last attempt is raised, and so is every error of another class.
    """
    for pause in backoff.pauses():
        try:
            return await call()
        except failure as error:
            note(error)
        await asyncio.sleep(pause)
    return await call()
