"""The tabs of Filter's lower area, in its rules: what stands out, the examples by their verdicts, the payload."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from textual import events
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

_BETWEEN = " │ "
_BEFORE, _AROUND = 1, 3
"""Cells of the rule before its title, and beside it."""


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

    def show_tabs(self, tabs: tuple[Tab, ...], chosen: Tab, counts: Mapping[Tab, str]) -> None:
        """A tab of examples without a count is still being looked for."""
        if (tabs, chosen, counts) != (self._tabs, self._chosen, self._counts):
            self._tabs, self._chosen, self._counts = tabs, chosen, counts
            self.refresh()

    @property
    def heading(self) -> Content:
        return Content(_BETWEEN).join(self._labels)

    @property
    def _labels(self) -> list[Content]:
        """The tabs, with words beside their signs where there is room for all of them."""
        labels = [self._label(tab, _WORDS.get(tab, "")) for tab in self._tabs]
        fits = Content(_BETWEEN).join(labels).cell_length <= self.size.width - _AROUND
        if fits and Tab.STANDS_OUT not in self._tabs:
            return labels
        return [self._label(tab, "") for tab in self._tabs]

    def _label(self, tab: Tab, word: str) -> Content:
        text = f"{tab.value} {self._counts.get(tab, '…')}{word}" if tab in EXAMPLES else tab.value
        if tab is self._chosen:
            return Content.styled(f" {text} ", "bold reverse $foreground")
        return toned((text, _TONES.get(tab, "plain")))

    def on_click(self, event: events.Click) -> None:
        end = _BEFORE
        for tab, label in zip(self._tabs, self._labels, strict=True):
            end += label.cell_length
            if event.x <= end:
                self.post_message(self.Clicked(tab))
                return
            end += len(_BETWEEN)


def counted(amount: int, *, exact: bool) -> str:
    """The count of a tab."""
    return number(amount) if exact else f"~{number(amount)}"
