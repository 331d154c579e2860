"""A list of completions beside the cursor."""

from __future__ import annotations

from collections.abc import Callable

from textual.content import Content
from textual.geometry import Offset, Region
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from secateur.cel.authoring.completion import Candidate, Completion
from secateur.words.lines import one_line
from secateur_tui.themes import toned

_ROWS = 8
_FRAME = 7
"""Cells beside label and detail: border, padding, scrollbar and the gap between both."""
READING = "reading the backlog for its fields and values…"
_TONES = {
    "field": "field",
    "variable": "plain",
    "value": "good",
    "function": "key",
    "macro": "key",
    "operator": "strong",
    "keyword": "strong",
}


class CompletionList(OptionList, can_focus=False):
    """Shows an answer of `complete`; the editor keeps the focus and moves the choice."""

    def __init__(self, area: Callable[[], Region] | None = None) -> None:
        """It opens at the top of the `area`, where it covers nothing that one looks at while typing."""
        super().__init__(id="completions", markup=False)
        self.completion: Completion | None = None
        self.reading = ""
        """What is to be said as long as there is no sample, by which fields and values are known."""
        self._area = area
        self.display = False

    @property
    def is_open(self) -> bool:
        return self.completion is not None

    @property
    def chosen(self) -> Candidate | None:
        if self.completion is None or self.highlighted is None:
            return None
        return self.completion.candidates[self.highlighted]

    def offer(self, completion: Completion, place: Offset) -> None:
        """Show the candidates for that position on the screen; nothing if there are none."""
        if not completion.candidates:
            self.close()
            return
        self.completion = completion
        area = self._area() if self._area is not None else None
        most = self.screen.size.width - _FRAME
        label = min(most * 3 // 5, max(len(each.label) for each in completion.candidates))
        detail = min(most - label, max(len(each.detail) for each in completion.candidates))
        detail = max(detail, min(most - label, len(self.reading) - label))
        self.border_subtitle = Content(_fitted(self.reading, label + detail))
        self.set_options([Option(_line(each, label, detail)) for each in completion.candidates])
        self.highlighted = 0
        room = _ROWS if area is None else max(3, min(_ROWS, area.height - 2))
        self.styles.width = label + detail + _FRAME
        self.styles.height = min(room, len(completion.candidates)) + 2
        top = place.y + 1 if area is None or area.y <= place.y else area.y
        self.absolute_offset = Offset(place.x - 2, top)
        self.display = True

    def close(self) -> None:
        self.completion = None
        self.display = False


def _line(candidate: Candidate, label: int, detail: int) -> Content:
    name, about = one_line(candidate.label), one_line(candidate.detail)
    return toned(
        (f"{_fitted(name, label):<{label}}", _TONES[candidate.kind]),
        (f"  {_fitted(about, detail):<{detail}}", "quiet"),
    )


def _fitted(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
