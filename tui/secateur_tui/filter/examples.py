"""Shows a few runs that match, do not match or cannot be evaluated, with the fields that the filter reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from textual.content import Content

from secateur.cel import Filter
from secateur.cel.authoring.explain import obstacles
from secateur.cel.authoring.picking import MISSING
from secateur.engines.base import Verdict
from secateur.looking.counter import ErrorExample
from secateur.runs import Run
from secateur.words.figures import ago, duration, number
from secateur.words.lines import fit, one_line
from secateur.words.tables import EXTRA, Column
from secateur_tui.filter.tabs import Tab
from secateur_tui.frame.columns import Cell, Row, ToneLayout, lay_out_cells
from secateur_tui.frame.fields import Path, field_cell, field_column, look_up, plain_fields
from secateur_tui.frame.line_table import LineTable, TableRow
from secateur_tui.themes import toned

_MOST_FIELDS = 4
_FEWER_FIELDS = 3
"""Where nothing says which of them matter."""
_MISSED_WIDTH = 40
_MISSING = Cell("(missing)", "warn")
_LOOKING = "looking…"
_NONE = {
    Tab.MATCH: "No run matches.",
    Tab.ERROR: "Every run can be evaluated.",
    Tab.NO_MATCH: "There are no other runs.",
}
_TABS = {Verdict.MATCH: Tab.MATCH, Verdict.NO_MATCH: Tab.NO_MATCH, Verdict.ERROR: Tab.ERROR}

_ERROR_WIDTH = 60
_FUNCTION = Column("function", "function", right=False, shrinks_to=10, rank=35)
_OF_ENDED = (
    Column("error", "error", right=False, minimum=10, shrinks_to=16, rank=40),
    Column("attempts", "attempts", "att", rank=8),
    Column("ended", "ended", rank=15),
)


@dataclass(frozen=True, slots=True)
class Example:
    verdict: Verdict
    run: Run
    missed: str = ""
    """For a near miss: the only condition that excludes the run."""

    @property
    def tab(self) -> Tab:
        return Tab.NEAR if self.missed else _TABS[self.verdict]


@dataclass(frozen=True, slots=True)
class NearMisses:
    """The runs that one condition alone keeps out, as far as somebody looked for them."""

    found: int = 0
    looked_at: int = 0
    """Runs that do not match: the first that were found."""
    is_all: bool = True
    """There are no others."""

    @property
    def why_none(self) -> str:
        if self.is_all:
            return "No run is kept out by one condition alone."
        return f"Of the {number(self.looked_at)} that were looked at, no run is kept out by one condition alone."


class Examples(LineTable):
    """Shows examples; rows are keyed by verdict and run."""

    def __init__(self, *, ended: bool = False, with_function: bool = False) -> None:
        """`ended` runs are shown with their end and their error."""
        super().__init__(id="examples")
        self._ended, self._with_function = ended, with_function
        self._found: Sequence[Example] = ()
        self._tab = Tab.MATCH
        self._why = _LOOKING
        """Why there are no examples; empty if they were looked for."""
        self._read: Sequence[Path] = ()
        self._hot: tuple[Path, ...] = ()
        self._otherwise: Sequence[Path] = ()
        self._advice = ""
        self._near = NearMisses()
        self._field = 0
        """The chosen one of the fields that are shown."""
        self._now: datetime | None = None

    def show(
        self,
        examples: Sequence[Example],
        read: Sequence[Path],
        now: datetime,
        advice: str,
        near: NearMisses,
    ) -> None:
        """`read` are the fields that the expression reads; `advice` is for runs that cannot be evaluated."""
        self._advice, self._near = advice, near
        self._found, self._read, self._now = examples, read, now
        self._otherwise = plain_fields([each.run.event for each in examples], _FEWER_FIELDS)
        self._why = ""
        self.relist()

    @property
    def why_none(self) -> str:
        """Why the tab has no example, as a sentence."""
        return self._why or (self._near.why_none if self._tab is Tab.NEAR else _NONE[self._tab])

    def prefer(self, paths: Sequence[Path]) -> None:
        """The fields to show beside those that the expression reads, the most telling first."""
        if self._hot != (hot := tuple(paths)):
            self._hot = hot
            self.relist()

    @property
    def lit(self) -> Sequence[Path]:
        """The fields that the expression reads."""
        return self._read

    @property
    def cell(self) -> tuple[Path, Any] | None:
        """The chosen field of the chosen example, and its value or `MISSING`."""
        if (run := self.chosen) is None or not self._paths:
            return None
        path = self._paths[self._field % len(self._paths)]
        return path, look_up(run.event, path)

    @property
    def at_end(self) -> bool:
        """Whether the cursor is on the last example of the tab."""
        keys = self.keys
        return len(keys) > 1 and self.cursor_key == keys[-1]

    def step(self, by: int) -> None:
        """Choose the field so many to the right."""
        if self._paths:
            self._field = (self._field + by) % len(self._paths)
            self.relist()

    def watch_has_focus(self, has_focus: bool) -> None:
        super().watch_has_focus(has_focus)
        self.relist()

    def clear(self, why: str) -> None:
        """Take the examples of an earlier text away, and say why there are none."""
        self._found, self._why = (), why
        self.relist()

    def failed(self, why: str) -> None:
        """There are no newer examples; those that are shown stay."""
        if not self._found:
            self.clear(one_line(why))

    def show_tab(self, tab: Tab) -> None:
        """List the examples of this tab only."""
        if tab is not self._tab:
            self._tab = tab
            self.relist()

    def amount(self, tab: Tab) -> int:
        """How many examples of a tab there are."""
        return sum(each.tab is tab for each in self._found)

    @property
    def _paths(self) -> Sequence[Path]:
        """The fields that are shown: those that are read, then those that stand out."""
        return list(dict.fromkeys([*self._read, *self._hot]))[:_MOST_FIELDS] or self._otherwise

    @property
    def _examples(self) -> list[Example]:
        return [each for each in self._found if each.tab is self._tab]

    @property
    def chosen(self) -> Run | None:
        """The run under the cursor."""
        key = self.cursor_key
        return next((each.run for each in self._examples if (each.verdict, each.run.id) == key), None)

    @property
    def run_ids(self) -> tuple[str, ...]:
        """The runs on the list, in its order."""
        return tuple(each.run.id for each in self._examples)

    def relist(self) -> None:
        """Show the rows again, after a change of size."""
        if not self._examples:
            self.show_lines(toned((self.why_none, "quiet")), [])
            return
        events = [each.run.event for each in self._found]
        columns = [
            *(field_column(path, 30 - index, events) for index, path in enumerate(self._paths)),
            *([Column("missed", "kept out by", right=False, shrinks_to=12, rank=5)] if self._has_near_misses else []),
            *([_FUNCTION] if self._with_function else []),
            *(_OF_ENDED if self._ended else [Column("started", "started", rank=15)]),
            Column("status", "status", right=False, rank=10),
            Column("id", "run id", right=False, rank=EXTRA),
        ]
        rows = [self._row(example) for example in self._examples]
        layout = lay_out_cells(columns, rows, self.line_width)
        self.show_lines(
            self._heading_of(layout),
            [
                TableRow((example.verdict, example.run.id), layout.line(row))
                for example, row in zip(self._examples, rows, strict=True)
            ],
            toned((self._advice, "field")) if self._tab is Tab.ERROR and self._advice else None,
        )

    def _heading_of(self, layout: ToneLayout) -> Content:
        """The headings; with the focus, the chosen field is marked."""
        titles = {key: Cell(title, "quiet") for key, title in layout.layout.titles().items()}
        if self.has_focus and self._paths:
            chosen = ".".join(self._paths[self._field % len(self._paths)])
            if chosen in titles:
                titles[chosen] = Cell(titles[chosen].text, "chosen")
        return layout.line(titles)

    def _row(self, example: Example) -> Row:
        run = example.run
        age = duration((self._now - run.started_at).total_seconds()) if self._now else ""
        cells = {
            "missed": Cell(fit(one_line(example.missed), min(_MISSED_WIDTH, len(example.missed)))),
            "function": Cell(one_line(run.function_id), "quiet"),
            "started": Cell(f"{age} ago", "quiet"),
            "ended": Cell(ago(run.finished_at, self._now) if run.finished_at and self._now else "", "quiet"),
            "attempts": Cell(str(run.attempt), "quiet"),
            "error": Cell(one_line((run.error or "").split("\n", 1)[0][:_ERROR_WIDTH]), "error"),
            "status": Cell(run.status.value, "quiet"),
            "id": Cell(run.id, "quiet"),
        }
        for path in self._paths:
            cells[".".join(path)] = field_cell(run.event, path, missing=_MISSING)
        return cells

    @property
    def _has_near_misses(self) -> bool:
        return any(example.missed for example in self._examples)

    def on_resize(self) -> None:
        self.relist()


def nearest(filter_: Filter, runs: Sequence[Run], now: datetime) -> list[Example]:
    """Runs that do not match; those that fail the fewest conditions come first."""
    found = []
    for run in runs:
        kept_out = obstacles(filter_, run, now)
        is_near = len(kept_out) == 1 and kept_out[0].span != filter_.expression.span
        found.append((len(kept_out), Example(Verdict.NO_MATCH, run, kept_out[0].text if is_near else "")))
    return [example for _, example in sorted(found, key=lambda item: item[0])]


def advice(examples: Sequence[Example], paths: Sequence[Path], failures: Sequence[ErrorExample]) -> str:
    """Advice for runs that cannot be evaluated because they lack a field that other runs have."""
    told = failures[0].message if failures else ""
    for path in sorted(paths, key=lambda path: _dotted(path) not in told):
        lacking = [look_up(each.run.event, path) is MISSING for each in examples]
        # The condition's own warnings cover a field that no example has.
        if any(lacking) and not all(lacking) and all(key.isidentifier() for key in path):
            return f"to match them too: !has({_dotted(path)}) || …"
    return ""


def _dotted(path: Path) -> str:
    return ".".join(("event", *path))
