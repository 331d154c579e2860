"""The rows of a list of runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import chain

from secateur.runs import Run, RunStatus
from secateur.words.figures import ago, number
from secateur.words.lines import one_line
from secateur.words.tables import EXTRA, Column
from secateur_tui.frame.columns import Cell, Row, lay_out_cells
from secateur_tui.frame.fields import Path, field_cell, field_column, plain_fields
from secateur_tui.frame.line_table import LineTable, TableRow
from secateur_tui.session import Feed

_LONGEST = 200
"""How many characters of an error or an event a row shows."""
_FIELDS = 5
_MISSING = Cell("–", "quiet")

_COLUMNS = (
    Column("when", "when", right=False, minimum=9),
    Column("status", "status", right=False, minimum=9),
    Column("function", "function", right=False, shrinks_to=8, rank=30),
    Column("attempts", "attempts", "att", rank=20),
    Column("error", "error", right=False, shrinks_to=12, only_news=True, blank_if="", rank=40),
)
_EVENT = Column("event", "event", right=False, minimum=12, shrinks_to=12)
"""Where events have no plain fields."""
_ID = Column("id", "run id", right=False, rank=EXTRA)

SIGNS = {
    RunStatus.QUEUED: ("·", "plain"),
    RunStatus.SCHEDULED: ("◷", "quiet"),
    RunStatus.RUNNING: ("▸", "field"),
    RunStatus.COMPLETED: ("✓", "good"),
    RunStatus.FAILED: ("✗", "error"),
    RunStatus.CANCELLED: ("✂", "warn"),
}
"""A status as a sign and a tone; the word stands beside it."""


class RunTable(LineTable):
    """The cursor's key is the run's id."""

    def __init__(self, *, with_function: bool) -> None:
        super().__init__(id="listed")
        self._with_function = with_function
        self._with_status = True
        self._read: Sequence[Path] = ()
        self._found: Sequence[Run] = ()
        self._feed = Feed()

    def show(self, found: Sequence[Run], feed: Feed, *, with_status: bool, read: Sequence[Path]) -> None:
        """`read` are the fields that the search reads: they come first."""
        self._found, self._feed, self._with_status, self._read = found, feed, with_status, read
        self.relist()

    @property
    def chosen(self) -> Run | None:
        """The run under the cursor."""
        return next((run for run in self._found if run.id == self.cursor_key), None)

    def relist(self) -> None:
        hidden = {"function": not self._with_function, "status": not self._with_status}
        events = [run.event for run in self._found]
        present = plain_fields(events, _FIELDS)
        paths = list(dict.fromkeys(chain(self._read, present)))[:_FIELDS]
        columns = [
            *(each for each in _COLUMNS if not hidden.get(each.key)),
            *([field_column(path, 20 - number, events) for number, path in enumerate(paths)] or [_EVENT]),
            _ID,
        ]
        rows = [self._row(run, paths) for run in self._found]
        layout = lay_out_cells(columns, rows, self.line_width)
        lines = [TableRow(run.id, layout.line(row)) for run, row in zip(self._found, rows, strict=True)]
        self.show_lines(layout.heading(), lines)

    def _row(self, run: Run, paths: Sequence[Path]) -> Row:
        sign, tone = SIGNS[run.status]
        return {
            "when": Cell(ago(run.finished_at or run.started_at, self._feed.now()), "quiet"),
            "status": Cell(f"{sign} {run.status}", tone),
            "function": Cell(one_line(run.function_id)),
            "attempts": Cell(number(run.attempt)),
            "error": _error(run),
            "event": _event(run),
            "id": Cell(run.id, "quiet"),
            **{".".join(path): field_cell(run.event, path, missing=_MISSING) for path in paths},
        }

    def on_resize(self) -> None:
        super().on_resize()
        self.relist()


def _error(run: Run) -> Cell:
    """Why the run failed, or cannot go on."""
    if run.lost:
        return Cell("its lease has expired: no live worker has it", "warn")
    if run.error is None and run.status is not RunStatus.FAILED:
        return Cell("")
    first = (run.error or "no error was given").split("\n", 1)[0]
    return Cell(one_line(first[:_LONGEST]), "error" if run.error else "quiet")


def _event(run: Run) -> Cell:
    data = run.event.get("data", run.event) if isinstance(run.event, dict) else run.event
    return Cell(one_line(json.dumps(data, ensure_ascii=False, default=str)[:_LONGEST]), "quiet")
