"""What stands out: suggested filters, and the values that are more frequent, or rarer, than usual."""

from __future__ import annotations

import time
from dataclasses import dataclass

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import Static

from secateur.words.figures import duration
from secateur.words.lines import one_line
from secateur_tui.frame.hot_rows import Pick, View, fits
from secateur_tui.frame.hot_table import HotTable
from secateur_tui.themes import toned

RECENT_SECONDS = 60.0
"""A younger answer counts as new. Ages are shown in minutes, which costs a slow link next to nothing."""

_ASKING = "Looking at what has arrived, and at what is usual…"
_WHAT_TO_DO = "Narrow from and until to the time of the trouble, or look through the examples."


class StandsOut(Vertical):
    """Shows the newest answer, its age, and why there is none."""

    @dataclass
    class Shown(Message):
        """The pane has come into view."""

    def __init__(self) -> None:
        super().__init__(id="hot")
        self._view: View | None = None
        self._taken = 0.0
        self._problem = ""
        self._rows = HotTable()
        self._told = Static(id="hot-told", markup=False)
        self._detail = Static(id="hot-detail", markup=False)

    def compose(self) -> ComposeResult:
        yield self._rows
        yield self._told
        yield self._detail

    def on_mount(self) -> None:
        self.set_interval(RECENT_SECONDS, self._draw)
        self._draw()

    def on_show(self) -> None:
        self.post_message(self.Shown())

    def on_resize(self) -> None:
        self._draw()

    @property
    def is_in_view(self) -> bool:
        return self.is_attached and bool(self.size) and all(each.display for each in self.ancestors_with_self)

    def focus_rows(self) -> None:
        self._rows.focus()

    def outdated(self) -> None:
        """The answer belongs to an earlier question: dim it until the next one comes."""
        self.add_class("stale")

    def show(self, view: View, taken: float) -> None:
        """`taken` is when the answer came, by the monotonic clock."""
        self._view, self._taken, self._problem = view, taken, ""
        self.remove_class("stale")
        self._draw()

    def failed(self, problem: str) -> None:
        """There is no new answer; an earlier one stays, dimmed."""
        self._problem = problem
        self.outdated()
        self._draw()

    def _draw(self) -> None:
        told = self._instead_of_rows()
        self._told.update(told, layout=False)
        self._told.display, self._rows.display = bool(told), not told
        if self._view is not None:
            self._rows.show(self._view, self._age())
        self._show_detail()

    def _instead_of_rows(self) -> Content:
        view = self._view
        if view is None:
            return toned((f"! {one_line(self._problem)}", "warn") if self._problem else (_ASKING, "quiet"))
        if view.picks:
            return Content("")
        why = f"Nothing stands out: {view.nothing}.\n"
        return toned((why, "plain"), (f"{view.about}{self._age()}.\n", "quiet"), (_WHAT_TO_DO, "quiet"))

    def _age(self) -> str:
        age = time.monotonic() - self._taken
        return f" · {duration(age // 60 * 60)} ago" if age >= RECENT_SECONDS else ""

    def on_line_table_moved(self) -> None:
        self._show_detail()

    def on_hot_table_resized(self) -> None:
        """The table is laid out after its first answer: only then is it known what its heading has room for."""
        self._show_detail()

    def _show_detail(self) -> None:
        chosen = self._rows.chosen
        if self._problem and self._view is not None:
            self._detail.update(toned((f"! {one_line(self._problem)}", "warn")), layout=False)
        elif chosen is None or self._view is None or not self._rows.display:
            self._detail.update("", layout=False)
        else:
            is_told = fits(self._view, self._age(), self._rows.line_width)
            about = "" if is_told else f"\n{self._view.about}{self._age()}"
            self._detail.update(_detail(chosen) + toned((about, "quiet")), layout=False)


def _detail(pick: Pick) -> Content:
    """The whole condition, and its figures."""
    return toned(
        (f"{one_line(pick.condition)}\n", "strong"),
        (pick.figures or pick.shares, "quiet"),
        (f"; of the sample also {pick.also}" if pick.also else "", "warn"),
    )
