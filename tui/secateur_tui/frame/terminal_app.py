"""A terminal application for slow links, small windows, and keys that arrive in bursts."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from contextlib import suppress

from rich.console import RenderableType
from textual import events
from textual._compositor import CompositorUpdate
from textual.app import App
from textual.css.stylesheet import Stylesheet
from textual.dom import DOMNode
from textual.geometry import Size
from textual.notifications import SeverityLevel
from textual.screen import Screen
from textual.theme import Theme

from secateur_tui.frame.ascii_only import AsciiOnly
from secateur_tui.frame.painting import Canvas, Difference
from secateur_tui.frame.typeahead import TypeAhead
from secateur_tui.themes import THEMES, HighlightsReversed, is_colourless, themes_for

LEAVING_KEY = "ctrl+q"
"""Leaves from anywhere: no text field or question takes this key, and it hardly waits for earlier keys."""

REPAINTING_KEY = "ctrl+l"
"""Repaints from anywhere, even over a question."""

LEAVING_SECONDS = 0.5
"""How long earlier keys may still take."""

_READ_PER_SECOND = 15
"""How many characters of a message a tired person reads per second."""

LEAST = Size(60, 15)
"""A smaller window only says that it is too small, and takes no keys: they would act on things out of sight."""


class ColouredOnce(Stylesheet):
    """A stylesheet of which only what is new is parsed, or all of it for other colours. Textual asks for that at each
    start, where neither is new.

    The attributes are private (hence textual<9).
    """

    def set_variables(self, variables: dict[str, str]) -> None:
        if variables != self._variables:
            super().set_variables(variables)
            self._require_parse = True

    def reparse(self) -> None:
        if self._require_parse:
            self.parse()


class TerminalApp(App[None]):
    """Paints only what changed, takes keys one after the other, and has our themes."""

    ENABLE_COMMAND_PALETTE = False
    """Textual's, which has a look of its own."""

    def __init__(self, *, theme: str | None = None, themes: Sequence[Theme] = THEMES, ascii_only: bool = False) -> None:
        colourless = is_colourless(os.environ)
        super().__init__(ansi_color=colourless or None)
        self.type_ahead = TypeAhead(self, super().on_event)
        self._canvas = Canvas()
        for each in themes:
            self.register_theme(each)
        self._fitting = themes_for(self.console.color_system, colourless=colourless, themes=themes)
        """The themes that this terminal can show, by name, best first."""
        self.theme = theme if theme in self._fitting else self._fitting[0]
        self.stylesheet = ColouredOnce(variables=self.get_css_variables())
        if colourless:
            # Before Textual removes the colours, which would leave nothing of a highlight.
            self._filters.insert(0, HighlightsReversed())
        if ascii_only:
            self._filters.append(AsciiOnly())

    def notify(
        self,
        message: str,
        *,
        title: str = "",
        severity: SeverityLevel = "information",
        timeout: float | None = None,
        markup: bool = True,
    ) -> None:
        """Show only the newest message: over the header there is room for one, and more would cover figures.

        A long message stays for as long as it takes to read.
        """
        for each in [*self._notifications]:
            self._unnotify(each, refresh=False)
        if timeout is None:
            timeout = max(self.NOTIFICATION_TIMEOUT, len(message) / _READ_PER_SECOND)
        super().notify(message, title=title, severity=severity, timeout=timeout, markup=markup)

    @property
    def is_too_small(self) -> bool:
        return self.size.width < LEAST.width or self.size.height < LEAST.height

    def on_mount(self) -> None:
        self.run_worker(self.type_ahead.run(), group="keys", exclusive=True)

    async def on_event(self, event: events.Event) -> None:
        if isinstance(event, events.Resize):
            # The terminal has rearranged or lost what it showed, for example after a suspension.
            self._paint_all()
        if isinstance(event, events.Key | events.Paste) and not event.is_forwarded:
            if isinstance(event, events.Key) and event.key == LEAVING_KEY:
                self.run_worker(self._leave_soon(), group="leave")
            elif isinstance(event, events.Key) and event.key == REPAINTING_KEY:
                self._paint_all()
            elif not self.is_too_small:
                self.type_ahead.put(event)
        else:
            await super().on_event(event)

    def _paint_all(self) -> None:
        self._canvas.forget()
        self.refresh()

    def action_repaint(self) -> None:
        self._paint_all()

    def _display(self, screen: Screen[object], renderable: RenderableType | None) -> None:
        # All painting passes here. The hook is private (hence textual<9).
        if isinstance(renderable, CompositorUpdate) and not (self._batch_count or self.is_headless):
            painted = self._canvas.paint(renderable, self.console)
            cursor_moved = self.cursor_position != self._previous_cursor_position
            renderable = Difference(painted) if painted or cursor_moved else None
        super()._display(screen, renderable)

    def action_suspend(self) -> None:
        """Hand the terminal back to the shell; `fg` continues."""
        self.action_suspend_process()

    def action_help_quit(self) -> None:
        """Textual calls this on ctrl+c, which many people press to leave."""
        self.notify(f"{LEAVING_KEY} leaves secateur.", timeout=3, markup=False)

    async def leave(self) -> None:
        """End the application, after finishing work that must not be interrupted."""
        self.exit()

    async def action_quit(self) -> None:
        await self.leave()

    async def _leave_soon(self) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self.type_ahead.done(), LEAVING_SECONDS)
        self.type_ahead.forget()
        await self.leave()


def type_ahead_of(node: DOMNode) -> TypeAhead:
    """The `TypeAhead` of the node's app."""
    app = node.app
    assert isinstance(app, TerminalApp)  # noqa: S101
    return app.type_ahead
