"""Everything that is known about one run: how it failed, how far it got, and its event."""

from __future__ import annotations

from datetime import datetime

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from secateur.instants import readable
from secateur.runs import Run, RunStatus
from secateur.words.figures import ago
from secateur.words.lines import one_line
from secateur_tui.frame.chrome import KeyBar
from secateur_tui.frame.payload_tree import json_text
from secateur_tui.frame.place import Dialog
from secateur_tui.keymap import bindings_of
from secateur_tui.session import Session
from secateur_tui.themes import toned

_LONGEST_EVENT = 2_000
_LONGEST_ERROR = 10_000
_LABEL = 10


class RunDialog(Dialog[None]):
    """One run, shown over the place where it was chosen; esc closes it."""

    place = "explain"
    BINDINGS = bindings_of("explain")

    def __init__(self, session: Session, run: Run, now: datetime) -> None:
        super().__init__(session)
        self._run, self._now = run, now

    def compose(self) -> ComposeResult:
        with VerticalScroll(id="explanation", classes="panel"):
            yield Static(Content("\n").join(self.lines()), markup=False)
        yield KeyBar()

    def on_mount(self) -> None:
        panel = self.query_one("#explanation")
        panel.border_title = Content(f"{self.title_of_run}: run {one_line(self._run.id)}")
        panel.focus()

    def on_resize(self) -> None:
        self.call_after_refresh(self._tell_of_more)

    def _tell_of_more(self) -> None:
        panel = self.query_one("#explanation")
        panel.border_subtitle = "↑ ↓ scroll" if panel.max_scroll_y > 0 else ""

    @property
    def title_of_run(self) -> str:
        return self._run.status.value.capitalize()

    def lines(self) -> list[Content]:
        return [*life(self._run, self._now), Content(""), event(self._run)]

    def action_close(self) -> None:
        self.dismiss()


def life(run: Run, now: datetime) -> list[Content]:
    """What has happened to the run so far, its error first."""
    lines = [*_error(run)]
    ended = run.finished_at
    lines.append(_labelled(run.status.value, f"{ago(ended, now)}, {readable(ended, digits=0)}" if ended else ""))
    lines.append(_labelled("started", f"{ago(run.started_at, now)}, {readable(run.started_at, digits=0)}"))
    lines.append(_labelled("attempts", f"{run.attempt:,}"))
    if run.step:
        when = f", begun {ago(run.step_at, now)}" if run.step_at else ""
        lines.append(_labelled("last step", f"{one_line(run.step)}{when}"))
    if run.worker:
        lines.append(_labelled("worker", one_line(run.worker)))
    if run.idempotency_key:
        lines.append(_labelled("key", one_line(run.idempotency_key)))
    if run.cancellation_id:
        lines.append(_labelled("cancelled", f"by {one_line(run.cancellation_id)}"))
    return lines


def event(run: Run) -> Content:
    text = one_line(json_text(run.event))
    return toned(("event  ", "quiet"), (text if len(text) <= _LONGEST_EVENT else text[:_LONGEST_EVENT] + "…", "plain"))


def _error(run: Run) -> list[Content]:
    if run.error is None:
        return [toned(("✗ failed without an error", "warn"))] if run.status is RunStatus.FAILED else []
    first, *others = run.error[:_LONGEST_ERROR].split("\n")
    lines = [toned(("✗ ", "error"), (one_line(first), "error"))]
    return lines + [toned(("  ", "plain"), (one_line(line), "plain")) for line in others]


def _labelled(label: str, text: str) -> Content:
    return toned((label.ljust(_LABEL), "quiet"), (text, "plain"))
