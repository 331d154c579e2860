"""Asks what stands out: in what arrives or, once there is a filter, in what it matches."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from secateur.cel import Filter
from secateur.errors import SecateurError
from secateur.looking.suggestions import Suggestions
from secateur.runs import Functions, Scope, Window
from secateur_tui.filter.stands_out import RECENT_SECONDS, StandsOut
from secateur_tui.frame.background import run_beside
from secateur_tui.frame.hot_rows import View
from secateur_tui.session import Attempts, Session, why_none

PATIENCE_SECONDS = 30.0
"""For an answer that nobody has to wait for."""
TYPING_PAUSE = 0.6
"""Seconds without a keystroke before anything is asked: a look at ten thousand events."""


@dataclass(frozen=True)
class Subject:
    """What is typed: no valid filter asks for what arrives. The window ends in the past, or is open."""

    filter: Filter | None
    window: Window

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Subject) and (self._source, self.window) == (other._source, other.window)

    def __hash__(self) -> int:
        return hash((self._source, self.window))

    @property
    def _source(self) -> str:
        return self.filter.source if self.filter else ""


class Suggesting:
    """Keeps the pane up to date for one subject at a time.

    `suggested` is called with what stands out in what arrives, or with None if that cannot be told.

    It asks in a worker of that pane. To cancel the worker is to cancel its query in the database.
    """

    def __init__(
        self,
        session: Session,
        scope: Scope | Functions,
        pane: StandsOut,
        suggested: Callable[[Suggestions | None], None],
    ) -> None:
        self._session, self._scope, self._pane, self._suggested = session, scope, pane, suggested
        self.is_looking = True
        """Whether there will be an answer about what arrives that is not there yet."""
        self._subject: Subject | None = None
        """The one that the pane answers, or is about to answer."""
        self._arrived: tuple[Subject, View, float] | None = None
        """The newest answer about what arrives, and when it came: it is wanted whenever a filter is unfinished."""

    def look_at(self, subject: Subject | None) -> None:
        """Ask about another subject, once the typing pauses; None: about what is typed, nothing can be asked."""
        if subject is None:
            self.is_looking = False
            self._pane.outdated()
        elif subject != self._subject:
            pause = TYPING_PAUSE if self._subject is not None else 0.0
            self._subject = subject
            self._start(subject, pause)

    def look_again(self) -> None:
        """Somebody looks again: ask at once, if anything was asked before."""
        if self._subject is not None:
            self._start(self._subject, 0.0)

    def stop(self) -> None:
        """Nobody looks now."""
        self._pane.workers.cancel_group(self._pane, "hot")

    def _start(self, subject: Subject, pause: float) -> None:
        # At once: the next key may be one that waits for the answer.
        self.is_looking = subject.filter is None and (self._arrived is None or self._arrived[0] != subject)
        run_beside(self._pane, "hot", self._follow, subject, pause)

    async def _follow(self, subject: Subject, pause: float) -> None:
        """Ask after a pause, and again from time to time while somebody may be looking, until the task is cancelled."""
        if self._arrived is not None and self._arrived[0] == subject:
            self._pane.show(*self._arrived[1:])
            pause = max(pause, RECENT_SECONDS - (time.monotonic() - self._arrived[2]))
        else:
            self._pane.outdated()
        await asyncio.sleep(pause)
        attempts = Attempts()
        while True:
            began, rest = time.monotonic(), RECENT_SECONDS
            if self._pane.app.app_focus and (subject.filter is None or self._pane.is_in_view):
                if await self._ask(subject):
                    attempts.answered()
                else:
                    rest = attempts.failed(time.monotonic() - began)
            await asyncio.sleep(rest)

    async def _ask(self, subject: Subject) -> bool:
        """Show the answer, or why there is none; returns whether there is one."""
        reader, window = self._session.queue.reader, subject.window
        try:
            if subject.filter is None:
                found = await self._session.ask(
                    reader.suggest(self._scope.each, window.started_after, window.started_before),
                    seconds=PATIENCE_SECONDS,
                )
                self.is_looking = False
                self._arrived = subject, View.of_arrivals(found, self._scope), time.monotonic()
                self._pane.show(*self._arrived[1:])
                self._suggested(found)
            else:
                radius = await self._session.ask(
                    reader.blast_radius(self._scope.each, subject.filter, window), seconds=PATIENCE_SECONDS
                )
                self._pane.show(View.of_matches(radius), time.monotonic())
        except SecateurError as error:
            self._pane.failed(why_none(error))
            if subject.filter is None:
                self.is_looking = False
                self._suggested(None)
            return False
        return True
