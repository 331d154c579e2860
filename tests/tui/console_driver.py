"""Driving a console as a person does: keys in, text out."""

from __future__ import annotations

import asyncio
import difflib
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

from textual import events
from textual.geometry import Region
from textual.keys import _character_to_key, key_to_character
from textual.pilot import Pilot
from textual.widget import Widget

from patience import PATIENCE
from secateur.postgres.database import Database
from secateur_tui.app import ConsoleApp
from secateur_tui.frame.depth_plot import DepthPlot
from secateur_tui.frame.question import QuestionScreen
from secateur_tui.queues.detail import DepthDetail
from secateur_tui.review.consent import CommitButton
from secateur_tui.review.pressing import FRESH_SECONDS

SNAPSHOTS = Path(__file__).parent / "snapshots"
UPDATE = bool(os.environ.get("UPDATE_SNAPSHOTS"))
"""Set it to write what the screens show now; then read the difference before committing it."""

_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.01, 0.1
"""Seconds between two looks at a screen, which cost its processor more than the console does: more and more."""
_MOST_WORK = 0.5
"""Seconds of the processor's time, more than any key needs; in a window of one cell, Textual arranges some screens for
ever."""

STILL_SECONDS = 1.0
"""How long a screen stays as it is before it is written down as the one to compare with."""

_VARYING = (
    (re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)? UTC *"), "YYYY-MM-DD HH:MM:SS UTC "),
    (re.compile(r"\d\d:\d\d:\d\d UTC"), "HH:MM:SS UTC"),
    (re.compile(r"\b\d\d:\d\d:\d\d(?! UTC)\b"), "HH:MM:SS"),
    (re.compile(r"202[4-9]-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z(?! ─)"), "YYYY-MM-DDTHH:MM:SSZ"),
    (
        re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"),
        "00000000-0000-0000-0000-000000000000",
    ),
    (re.compile(r"[0-9a-f]{8}(-[0-9a-f]{1,12})*…"), "00000000…"),
    (re.compile(r"(YYYY-MM[^\n]*?) +│\n"), r"\1 │\n"),
    (re.compile(r"─+ exact · [^\n·─]*ago( · F5 counts again)?|─+ exact · just now *"), "── exact · just now"),
    (re.compile(r"(just now|\d+ s ago|\dm \d\ds ago) *"), "just now "),
    (re.compile(r"(?<=▌ )\d+ s +(?=\w)"), "just now "),
    (re.compile(r"= \d+ \w{3} HH:MM:SS UTC, in [\dhms ]*[hms]"), "= DAY HH:MM:SS UTC, in a while"),
    (re.compile(r"(?<=since )\d\d:\d\d\b"), "HH:MM"),
    # Both ends of a histogram.
    (re.compile(r"(?<=  )\d\d:\d\d(?= [ ░▁▂▃▄▅▆▇█])"), "HH:MM"),
    (re.compile(r"(?<=[ ░▁▂▃▄▅▆▇█] )\d\d:\d\d(?=\n)"), "HH:MM"),
    # Every new key adds a command.
    (re.compile(r"(?<=\d of )\d\d(?= ─)"), "NN"),
    (re.compile(r"(?<=[▲▼=!–‖])[ ▁▂▃▄▅▆▇█]+(?=\n)"), ""),
)
"""What differs from run to run although nothing is wrong; a line keeps its width where it can."""


_PASSING = re.compile(r"looking…|counting|◌ waiting|◌ connecting|asking the database|opening the review")
"""What a screen says only until an answer is there, which may come before anybody compares it."""

_AGE = re.compile(r"\b(\d+)h (\d\d)m\b")
_LATER_MINUTES = 10
"""How much later than when its runs were made a screen may be looked at: their ages have grown since."""


def _as_young_as(expected: str, shown: str) -> str:
    """The screen with the ages of the stored one, where the clock alone explains the difference."""
    ages = iter(_AGE.findall(expected))

    def younger(found: re.Match[str]) -> str:
        hours, minutes = next(ages, found.groups())
        grown = (int(found[1]) - int(hours)) * 60 + int(found[2]) - int(minutes)
        young = f"{hours}h {minutes}m"
        return young if 0 <= grown <= _LATER_MINUTES and len(young) == len(found[0]) else found[0]

    return _AGE.sub(younger, shown)


def _pauses() -> Iterator[float]:
    pause = _SHORTEST_PAUSE
    while True:
        yield pause
        pause = min(_LONGEST_PAUSE, pause * 1.5)


NARROW, WIDE = (80, 24), (120, 36)
SIZES = ((60, 15), NARROW, WIDE, (200, 50))
"""Every screen is looked at in these."""


class Console:
    """A running console, its pilot, and a connection of the test's own."""

    def __init__(self, app: ConsoleApp, pilot: Pilot[None], database: Database) -> None:
        self.app, self.pilot, self.database = app, pilot, database

    @property
    def text(self) -> str:
        """The screen, line by line, without trailing blanks."""
        strips = self.app.screen._compositor.render_strips()
        return "\n".join(strip.text.rstrip() for strip in strips) + "\n"

    async def press(self, *keys: str) -> None:
        """Press keys by name, each when the one before has had its effect, and what is asked has been read."""
        for key in keys:
            if isinstance(question := self.app.screen, QuestionScreen):
                await self.until(lambda question=question: question.settles_at <= time.monotonic())
            opening_until = getattr(self.app.screen, "_opening_until", 0.0)
            if key == "enter" and opening_until > time.monotonic():
                # Until then it would be taken for the key that opened the filter.
                await self.until(lambda until=opening_until: until <= time.monotonic())
            self.burst(key)
            await self.at_rest()

    async def type(self, text: str) -> None:
        """Type text, character by character."""
        self.burst(*("enter" if character == "\n" else character for character in text))
        await self.at_rest()

    def burst(self, *keys: str) -> None:
        """Keys that arrive all at once, as over a link that stalled."""
        for key in keys:
            name = key if len(key) > 1 or key.isalnum() else _character_to_key(key)
            self.app.post_message(events.Key(name, key if len(key) == 1 else key_to_character(key)))

    async def at_rest(self) -> None:
        """Until every key has had its effect. A console that fell over takes no keys: leaving it shows why."""
        resting = asyncio.create_task(self._take_all_keys())
        fallen = asyncio.create_task(self.app._exception_event.wait())
        done, pending = await asyncio.wait((resting, fallen), timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        assert fallen not in done, "the console fell over"
        assert resting in done, f"keys had no effect for {PATIENCE} s; the screen shows:\n{self.text}"
        await self.painted()

    async def _take_all_keys(self) -> None:
        received = asyncio.Event()
        self.app.call_later(received.set)
        await received.wait()
        await self.app.type_ahead.done()

    async def painted(self) -> None:
        """Until all that has happened so far has had its effect and is painted.

        Textual's pilot waits until the process has used no time for a while, which takes a second where a screen is
        busy. Here nothing is left to do but to wait for the database, a thread or a moment: a test names those.
        """
        loop = asyncio.get_running_loop()
        end = time.process_time() + _MOST_WORK
        while time.process_time() < end:
            await asyncio.sleep(0)
            if loop._ready:  # type: ignore[attr-defined]  # there is no other way to see that it would sleep
                continue
            screen = self.app.screen
            if not (screen._layout_required or screen._repaint_required or screen._dirty_widgets or screen._callbacks):
                return
            screen._on_timer_update()

    async def until(self, condition: Callable[[], Any], seconds: float = PATIENCE) -> None:
        """Wait until it holds; shows the screen where it does not come to that."""
        deadline = time.monotonic() + seconds
        pauses = _pauses()
        while not condition():
            assert time.monotonic() < deadline, f"waited {seconds} s in vain; the screen shows:\n{self.text}"
            await asyncio.sleep(next(pauses))
        await self.painted()

    async def shows(self, *texts: str, seconds: float = PATIENCE) -> None:
        """Wait until the screen shows all these texts."""

        def all_shown() -> bool:
            screen = self.text
            return all(text in screen for text in texts)

        await self.until(all_shown, seconds)

    async def filter_for(self, find: str, expression: str = "", *, still_looking: bool = False) -> None:
        """From Queues to the filter of the function whose name contains `find`.

        With `still_looking` it may not be known yet what stands out.
        """
        await self.press("slash")
        await self.type(find)
        await self.press("enter", "down", "enter")
        await self.counted()
        # The examples show first what stands out, as far as that was known before anything was typed.
        await self.until(lambda: still_looking or not self.app.screen._suggesting.is_looking)
        await self.type(expression)

    async def counted(self) -> None:
        """Wait until the filter has its exact count and its examples."""
        await self.until(lambda: re.search(r" exact .*✓ [\d,]+( match)? *│", self.text, re.DOTALL))

    async def focus(self, kind: type[Widget]) -> None:
        """Go to a widget of that class by shift+tab, which, unlike tab, never takes a suggestion."""
        for _ in range(len(self.app.screen.focus_chain)):
            if isinstance(self.app.focused, kind):
                return
            await self.press("shift+tab")
        assert isinstance(self.app.focused, kind), f"shift+tab does not reach {kind.__name__}"

    async def settled(self) -> None:
        """Wait until the commit button has the focus and takes a press for a decision."""
        await self.until(lambda: isinstance(self.app.focused, CommitButton))
        await self.until(lambda: self._commit_button.settles_at <= time.monotonic() - FRESH_SECONDS)

    @property
    def _commit_button(self) -> CommitButton:
        return self.app.screen.query_one(CommitButton)

    async def refreshed(self) -> None:
        """Wait until the screen shows figures that were asked for after now."""
        for _ in range(2):
            before = self.app.feed.as_of
            await self.until(lambda before=before: self.app.feed.as_of != before)

    async def shows_stored(self, name: str) -> None:
        """Wait until the screen is the stored one of that name and size; shows the difference where it never is."""
        width, height = self.app.size
        stored = SNAPSHOTS / f"{name}-{width}x{height}.txt"
        if UPDATE:
            before = stored.read_text(encoding="utf-8") if stored.exists() else ""
            stored.write_text(_as_young_as(before, await self._still()), encoding="utf-8")
        expected = stored.read_text(encoding="utf-8")
        assert not (found := _PASSING.search(expected)), f"{stored.name} is of a moment: {found[0]}"
        deadline = time.monotonic() + PATIENCE
        pauses = _pauses()
        while (shown := _as_young_as(expected, self._lasting)) != expected:
            if time.monotonic() > deadline:
                both = expected.splitlines(), shown.splitlines()
                lines = difflib.unified_diff(*both, stored.name, "screen", lineterm="")
                raise AssertionError("the screen differs:\n" + "\n".join(lines))
            await asyncio.sleep(next(pauses))
        assert all(len(line) <= width for line in self.text.splitlines())

    @property
    def _lasting(self) -> str:
        """The screen without what differs from run to run."""
        shown = self._without_plots
        for pattern, replacement in _VARYING:
            shown = pattern.sub(replacement, shown)
        return shown

    @property
    def _without_plots(self) -> str:
        """The screen, blank where it shows plots of the last minutes."""
        lines = self.text.splitlines()
        screen = self.app.screen
        for plotted in (*screen.query(DepthDetail), *screen.query(DepthPlot), *screen.query("#plots")):
            region = plotted.region if plotted.display else Region()
            lines[region.y : region.bottom] = [""] * region.height
        return "\n".join(lines) + "\n"

    async def _still(self) -> str:
        """The screen once it has not changed for a while, and says nothing that passes."""
        shown, since = self._lasting, time.monotonic()
        deadline = since + PATIENCE
        while time.monotonic() - since < STILL_SECONDS:
            assert time.monotonic() < deadline, f"in {PATIENCE} s the screen was never still:\n{shown}"
            await asyncio.sleep(_LONGEST_PAUSE)
            if (now := self._lasting) != shown or _PASSING.search(now):
                shown, since = now, time.monotonic()
        return shown


Start = Callable[..., AbstractAsyncContextManager[Console]]
"""Starts a console over the database with a URL, in a size."""
