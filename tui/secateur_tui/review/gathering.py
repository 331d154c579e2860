"""What a review finds out while it is open: the count, what still arrives, and whether the matches are of one piece."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import aclosing, suppress
from datetime import timedelta

from textual.content import Content

from secateur.engines.base import Verdict
from secateur.errors import SecateurError
from secateur.looking.aftermath import STANDING_FOR
from secateur.looking.timed_counting import Seen, count_along
from secateur.looking.wording import of_several
from secateur.requests import CancellationRequest
from secateur.runs import Run
from secateur_tui.review.figures import Figures
from secateur_tui.session import Attempts, Session
from secateur_tui.themes import toned


class Gathering:
    """Calls `changed` with every answer. A task that is cancelled cancels its query in the database."""

    def __init__(self, session: Session, figures: Figures, changed: Callable[[], None]) -> None:
        self._session, self._changed = session, changed
        self.figures = figures
        self.arrivals: float | None = None
        """Matching runs that arrive per second; None if that is not known."""
        self.longest: timedelta = STANDING_FOR
        """How far ahead the retention lets a window end."""
        self.several = Content("")
        """What the matches are made of, where that is not one thing."""
        self.examples: Sequence[Run] = ()
        """A few of the matching runs."""

    async def count(self, request: CancellationRequest) -> None:
        """Yields better and better figures, until the exact one is there. What fails is counted again, ever later."""
        attempts = Attempts()
        began = self.figures.began = time.monotonic()
        try:
            while not await self._has_counted(request):
                await asyncio.sleep(attempts.failed(time.monotonic() - began))
                began = time.monotonic()
        except SecateurError as error:
            self.figures.found = Seen(None, str(error))
            self._changed()

    async def _has_counted(self, request: CancellationRequest) -> bool:
        """Count once; returns whether it came to an exact figure. Until it does, what is asked for stays the same."""
        is_again = self.figures.found.why is not None
        counting = count_along(
            self._session.queue.reader.counter, request, self._session.query_timeout_seconds, on_primary=True
        )
        async with aclosing(counting) as found:
            async for each in found:
                if not is_again or (each.count is not None and each.count.exact):
                    self.figures.found = each
                    self._changed()
        return self.figures.found.why is None

    async def what_arrives(self, request: CancellationRequest) -> None:
        """How much arrives. Nothing does for a retry, which takes runs that have ended."""
        if request.verb == "retry":
            return
        queue = self._session.queue
        with suppress(SecateurError):  # what arrives is worth telling without it
            self.longest = (await self._session.ask(queue.controls.retention())).standing
        self.arrivals = await self._session.ask_until_answered(lambda: queue.reader.counter.arrival_rate(request))
        self._changed()

    async def make_ready(self) -> None:
        """Whoever is at the button waits for the commit alone, not for what a session loads before its first one."""
        with suppress(SecateurError):
            await self._session.ask(self._session.queue.cancellations.make_ready())

    async def whether_of_one_piece(self, request: CancellationRequest) -> None:
        """Whether a filter on one field hits several values of another. Nobody has to wait for this answer."""
        reader = self._session.queue.reader
        if request.verb == "retry" or not reader.can_suggest or (filter_ := request.compile()) is None:
            return
        radius = await self._session.ask_until_answered(
            lambda: reader.blast_radius(request.scopes, filter_, request.window)
        )
        if radius.mixed is not None:
            self.several = toned(("! not of one piece: ", "warn"), (of_several(radius.mixed) + "\n", "plain"))
            self._changed()

    async def some(self, request: CancellationRequest, most: int) -> None:
        """A few of the runs themselves: a figure does not show that they are the right ones."""
        counter = self._session.queue.reader.counter
        self.examples = await self._session.ask_until_answered(lambda: counter.examples(request, Verdict.MATCH, most))
        self._changed()
