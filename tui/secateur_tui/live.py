"""The console as a living process: it follows the depth, and takes its part in what every process of secateur does."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from importlib import import_module
from typing import TYPE_CHECKING
from uuid import UUID

from textual import work
from textual.reactive import Reactive, reactive
from textual.theme import Theme

from secateur.errors import SecateurError
from secateur.looking.aftermath import Aftermath, still_arriving
from secateur_tui.frame.place import PLACES_CSS
from secateur_tui.frame.terminal_app import TerminalApp
from secateur_tui.keymap import display_of
from secateur_tui.session import AFTERMATH_SECONDS, Feed, Session, as_allowed, pause_after
from secateur_tui.themes import THEMES

if TYPE_CHECKING:
    from secateur.ledger.proposals import ProposedCancellation

AWAY_SECONDS = 10.0
"""From one look to the next while the terminal does not have the focus: nobody is looking."""

NEWS_FOR = timedelta(minutes=30)
"""How long a commit or an undo is news."""

PROPOSALS_SECONDS = 10.0
"""From one look for new proposals to the next."""

_PALETTE_KEY = display_of("console.palette")

_SOON_SECONDS = 0.5
"""From one look at what still arrives to the next, until something is known."""

_FIRST_SECONDS = 0.15
"""How long the first screen waits for its figures."""

_SWITCH_SECONDS = 0.0005
"""How long a thread keeps the interpreter while another waits for it: a tenth of what is usual."""

_LATER = (
    "secateur.records",
    "secateur.ledger.proposals",
    "secateur.looking.suggesting",
    "secateur.looking.blast",
    "secateur.looking.facets",
    "secateur.looking.why",
    "secateur_tui.filter.screen",
    "secateur_tui.frame.help",
    "secateur_tui.frame.palette",
    "secateur_tui.history.screen",
    "secateur_tui.history.taking_back",
    "secateur_tui.queues.timeline",
    "secateur_tui.review.screen",
    "secateur_tui.runs.listing",
    "secateur_tui.runs.single",
)
"""Every place but Queues, and what they ask for."""

FOLLOWING = ("feed", "going-on", "aftermath", "arriving", "proposals", "sweep", "upkeep")
"""The groups of workers that follow one session."""


class LiveApp(TerminalApp):
    """`feed` is the newest depth; the screens and the header follow it."""

    feed: Reactive[Feed] = reactive(Feed(), always_update=True)

    def __init__(
        self,
        session: Session,
        *,
        theme: str | None = None,
        themes: Sequence[Theme] = THEMES,
        ascii_only: bool = False,
    ) -> None:
        super().__init__(theme=theme, themes=themes, ascii_only=ascii_only)
        self.session = session
        self._takes_part = False
        self._looked = asyncio.Event()
        """Once it has looked at the depth of this session, or has tried to."""
        self.looks = 0
        """How often it has looked at the depth: the second time also since when queues grow."""
        self._arriving: float | None = None
        """How many runs a second still match the newest cancellation and are not cancelled; None if nobody looked."""
        self.proposals: Sequence[ProposedCancellation] = ()
        """Those that wait for somebody's decision."""

    async def follow(self, *, takes_part: bool) -> None:
        """Follow the depth of the session from now on; with `takes_part`, sweep and clean up as well, if it may write.

        Mostly the first figures come at once: then a screen is laid out and painted once, with them. Whatever nobody
        looks at waits until `go_on`.
        """
        self._takes_part = takes_part
        self._looked.clear()
        self.follow_depth()
        self.session = await as_allowed(self.session)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._looked.wait(), _FIRST_SECONDS)

    @work(exclusive=True, group="going-on")
    async def go_on(self) -> None:
        """Do the rest once the first figures are painted."""
        await self._looked.wait()
        self.call_after_refresh(self._go_on)

    def _go_on(self) -> None:
        self.stylesheet.read(PLACES_CSS)
        self.stylesheet.parse()
        self.warm_up()
        self._load_expressions()
        self._follow_proposals()
        if self._takes_part and not self.session.read_only:
            self._sweep()
            self._keep_up()

    @work(exclusive=True, group="expressions")
    async def _load_expressions(self) -> None:
        """Whoever uses or saves a filter is told where that cannot be kept."""
        with suppress(SecateurError):
            await self.session.expressions.load()

    @work(exclusive=True, group="proposals")
    async def _follow_proposals(self) -> None:
        """Tells of each new proposal, once."""
        session, known = self.session, set[UUID]()
        while session.queue.cancellations.has_ledger:
            with suppress(SecateurError):
                self.proposals = await session.ask(session.proposals.newest())
                if new := {each.id for each in self.proposals} - known:
                    known |= new
                    what = "A proposal waits" if len(new) == 1 else f"{len(new)} proposals wait"
                    self.notify(f"{what}; {_PALETTE_KEY} shows {'it' if len(new) == 1 else 'them'}", markup=False)
            await asyncio.sleep(PROPOSALS_SECONDS)

    @property
    def _every(self) -> float:
        """Seconds from one look to the next."""
        return self.session.refresh_seconds if self.app_focus else max(AWAY_SECONDS, self.session.refresh_seconds)

    def watch_app_focus(self, has_focus: bool) -> None:
        """Terminals tell when they get and lose the focus: who comes back sees new figures at once."""
        if has_focus and self.feed.as_of is not None:
            self.follow_depth()

    @work(exclusive=True, group="feed")
    async def follow_depth(self) -> None:
        session = self.session
        while True:
            began, every = time.monotonic(), self._every
            # Nobody waits for the first figures longer than these need: since when they grow comes right after them.
            is_first = not self._looked.is_set() and self._takes_part
            try:
                depths = await session.ask(session.queue.reader.depth(with_growth=not is_first))
                as_of = depths[0].as_of if depths else await session.ask(session.queue.reader.clock())
                activity = await session.ask(session.queue.cancellations.activity())
            except SecateurError as error:
                self.feed = replace(self.feed, every=every, problem=error)
            else:
                taken, aftermath = time.monotonic(), self.feed.aftermath
                self.feed = Feed(tuple(depths), as_of, taken, activity, every, aftermath=aftermath)
            self.looks += 1
            self._looked.set()
            await asyncio.sleep(0.1 if is_first else max(0.1, every - (time.monotonic() - began)))

    @work(exclusive=True, group="aftermath")
    async def follow_aftermath(self) -> None:
        """Look what came of this console's newest cancellation, as long as that is news; as often as at the depth."""
        session = self.session
        self._arriving = None
        self._follow_arriving()
        while (newest := session.journal.newest) and self.feed.as_of is not None:
            began = time.monotonic()
            with suppress(SecateurError):
                found = [await session.ask(session.queue.cancellations.get(each)) for each in newest]
                now = self.feed.now()
                if all(now - (each.undone_at or each.created_at) >= NEWS_FOR for each in found):
                    self.feed = replace(self.feed, aftermath=None)
                    self.workers.cancel_group(self, "arriving")
                    return
                self.feed = replace(self.feed, aftermath=Aftermath.of(found, now, self._arriving))
            await asyncio.sleep(max(0.1, self._every - (time.monotonic() - began)))

    @work(exclusive=True, group="arriving")
    async def _follow_arriving(self) -> None:
        """Ask what still arrives beside the rest, which must not wait for it: this takes longer to find out."""
        session = self.session
        while True:
            began = time.monotonic()
            if (aftermath := self.feed.aftermath) is not None:
                counter, now = session.queue.reader.counter, self.feed.now()
                with suppress(SecateurError):
                    rates = [await session.ask(still_arriving(counter, each, now)) for each in aftermath.cancellations]
                    known = [each for each in rates if each is not None]
                    self._arriving = sum(known) if known else None
                    if (shown := self.feed.aftermath) is not None:
                        found = Aftermath.of(shown.cancellations, now, self._arriving)
                        self.feed = replace(self.feed, aftermath=found)
            soon = AFTERMATH_SECONDS if self._arriving is not None else _SOON_SECONDS
            await asyncio.sleep(pause_after(time.monotonic() - began, soon))

    @work(thread=True, group="warm-up")
    def warm_up(self) -> None:
        """Load in advance what Queues does without: a second of imports on a small machine.

        Meanwhile a pressed key gets its turn at once: it waits for this thread at each of its many steps.
        """
        before = sys.getswitchinterval()
        sys.setswitchinterval(_SWITCH_SECONDS)
        try:
            for module in _LATER:
                import_module(module)
            import_module("secateur.cel").compile("true")
        finally:
            sys.setswitchinterval(before)

    @work(exclusive=True, group="sweep")
    async def _sweep(self) -> None:
        """Every live process sweeps, including a console that may write."""
        await self.session.queue.cancellations.sweep_forever()

    @work(exclusive=True, group="upkeep")
    async def _keep_up(self) -> None:
        await self.session.queue.maintenance.keep_up_forever()
