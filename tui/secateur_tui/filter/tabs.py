"""The tabs of Filter's lower area, in its rules: what stands out, the examples by their verdicts, the payload."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from textual import events
from textual.app import RenderResult
from textual.content import Content
from textual.message import Message

from secateur.words.figures import number
from secateur_tui.frame.rule import Rule
from secateur_tui.themes import toned


class Tab(Enum):
    """The signs are those of the rows' verdicts everywhere."""

    STANDS_OUT = "What stands out"
    MATCH = "✓"
    NEAR = "≈"
    ERROR = "!"
    NO_MATCH = "✗"
    PAYLOAD = "payload"


EXAMPLES = (Tab.MATCH, Tab.NEAR, Tab.ERROR, Tab.NO_MATCH)
"""The tabs of examples, in their order."""

_TONES = {Tab.MATCH: "good", Tab.ERROR: "warn"}

_WORDS = {Tab.MATCH: " match", Tab.NEAR: " almost", Tab.ERROR: " in error", Tab.NO_MATCH: " no match"}
"""What the signs mean, where there is room to say it."""

_AROUND = 3
"""Cells of the rule beside its title."""


class TabStrip(Rule):
    """A rule whose title are tabs, one of them chosen; a click chooses another."""

    @dataclass
    class Clicked(Message):
        tab: Tab

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._tabs: tuple[Tab, ...] = EXAMPLES
        self._chosen = Tab.MATCH
        self._counts: Mapping[Tab, str] = {}
        self._ends: list[tuple[int, Tab]] = []
        """Where each tab ends, in cells."""

    def show_tabs(self, tabs: tuple[Tab, ...], chosen: Tab, counts: Mapping[Tab, str]) -> None:
        """A tab of examples without a count is still being looked for."""
        if (tabs, chosen, counts) != (self._tabs, self._chosen, self._counts):
            self._tabs, self._chosen, self._counts = tabs, chosen, counts
            self.refresh()

    def render(self) -> RenderResult:
        self._title = self._titled(_WORDS)
        if self._title.cell_length > self.size.width - _AROUND or Tab.STANDS_OUT in self._tabs:
            self._title = self._titled({})
        return super().render()

    def _titled(self, words: Mapping[Tab, str]) -> Content:
        self._ends = []
        title = Content("")
        for tab in self._tabs:
            title += Content(" │ " if title else "") + self._label(tab, words.get(tab, ""))
            self._ends.append((title.cell_length + 2, tab))
        return title

    def _label(self, tab: Tab, word: str) -> Content:
        text = f"{tab.value} {self._counts.get(tab, '…')}{word}" if tab in EXAMPLES else tab.value
        if tab is self._chosen:
            return Content.styled(f" {text} ", "bold reverse $foreground")
        return toned((text, _TONES.get(tab, "plain")))

    def on_click(self, event: events.Click) -> None:
        for end, tab in self._ends:
            if event.x < end:
                self.post_message(self.Clicked(tab))
                return


def counted(amount: int, *, exact: bool) -> str:
    """The count of a tab."""
    return number(amount) if exact else f"~{number(amount)}"
