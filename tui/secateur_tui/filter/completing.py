"""A list of completions beside the cursor."""

from __future__ import annotations

from textual.content import Content
from textual.geometry import Offset
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from secateur.cel.authoring.completion import Candidate, Completion
from secateur.words.lines import one_line
from secateur_tui.themes import toned

_ROWS = 8
_LABEL_WIDTH, _DETAIL_WIDTH = 34, 30
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

    def __init__(self) -> None:
        super().__init__(id="completions", markup=False)
        self.completion: Completion | None = None
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
        """Show the candidates below that position on the screen; nothing if there are none."""
        if not completion.candidates:
            self.close()
            return
        self.completion = completion
        label = min(_LABEL_WIDTH, max(len(each.label) for each in completion.candidates))
        detail = min(_DETAIL_WIDTH, max(len(each.detail) for each in completion.candidates))
        self.set_options([Option(_line(each, label, detail)) for each in completion.candidates])
        self.highlighted = 0
        self.styles.width = label + detail + 7
        self.styles.height = min(_ROWS, len(completion.candidates)) + 2
        self.absolute_offset = place + Offset(-2, 1)
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
