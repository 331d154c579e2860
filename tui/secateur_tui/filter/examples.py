"""Shows a few runs that match, do not match or cannot be evaluated, with the fields that the filter reads."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from secateur.cel import Filter
from secateur.cel.authoring.explain import obstacles
from secateur.cel.paths import fields_read
from secateur.engines.base import Verdict
from secateur.ledger.cancellations import ErrorExample
from secateur.runs import Run, RunStatus, Scope
from secateur.words.figures import ago, duration
from secateur.words.lines import fit, one_line
from secateur.words.tables import EXTRA, Column
from secateur_tui.frame.columns import Cell, Row, lay_out_cells
from secateur_tui.frame.line_table import LineTable, TableRow
from secateur_tui.frame.question import Question
from secateur_tui.themes import toned

Path = tuple[str, ...]
"""Keys below `event`."""

_MOST_FIELDS = 4
_MISSED_WIDTH = 40
_MISSING = object()
_SIGNS = {
    Verdict.MATCH: Cell("✓ match", "good"),
    Verdict.NO_MATCH: Cell("✗ other", "quiet"),
    Verdict.ERROR: Cell("! error", "warn"),
}


_ERROR_WIDTH = 60
_FUNCTION = Column("function", "function", right=False, shrinks_to=10, rank=35)
_OF_ENDED = (
    Column("error", "error", right=False, minimum=10, shrinks_to=16, rank=40),
    Column("attempts", "attempts", "att", rank=8),
    Column("ended", "ended", rank=15),
)
_NEAR = Cell("≈ near", "plain")


@dataclass(frozen=True, slots=True)
class Example:
    verdict: Verdict
    run: Run
    missed: str = ""
    """For a near miss: the only condition that excludes the run."""


class Examples(LineTable):
    """Shows examples; rows are keyed by verdict and run."""

    def __init__(self, *, ended: bool = False, with_function: bool = False) -> None:
        """`ended` runs are shown with their end and their error."""
        super().__init__(id="examples")
        self._ended, self._with_function = ended, with_function
        self._examples: Sequence[Example] = ()
        self._paths: Sequence[Path] = ()
        self._now: datetime | None = None

    def show(self, examples: Sequence[Example], paths: Sequence[Path], now: datetime) -> None:
        self._examples, self._paths, self._now = examples, paths, now
        self.relist()

    @property
    def chosen(self) -> Run | None:
        """The run under the cursor."""
        key = self.cursor_key
        return next((each.run for each in self._examples if (each.verdict, each.run.id) == key), None)

    def relist(self) -> None:
        """Show the rows again, after a change of size."""
        columns = [
            Column("verdict", "runs", right=False),
            *(
                Column(
                    ".".join(path),
                    ".".join(path),
                    path[-1],
                    right=False,
                    minimum=6,
                    shrinks_to=6,
                    rank=30 - index,
                )
                for index, path in enumerate(self._paths)
            ),
            *([Column("missed", "kept out by", right=False, shrinks_to=12, rank=5)] if self._has_near_misses else []),
            *([_FUNCTION] if self._with_function else []),
            *(_OF_ENDED if self._ended else [Column("started", "started", rank=15)]),
            Column("status", "status", right=False, rank=10),
            Column("id", "run id", right=False, rank=EXTRA),
        ]
        rows = [self._row(example) for example in self._examples]
        layout = lay_out_cells(columns, rows, self.line_width)
        self.show_lines(
            layout.heading(),
            [
                TableRow((example.verdict, example.run.id), layout.line(row))
                for example, row in zip(self._examples, rows, strict=True)
            ],
        )

    def _row(self, example: Example) -> Row:
        run = example.run
        age = duration((self._now - run.started_at).total_seconds()) if self._now else ""
        cells = {
            "verdict": _NEAR if example.missed else _SIGNS[example.verdict],
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
            cells[".".join(path)] = _value(run.event, path)
        return cells

    @property
    def _has_near_misses(self) -> bool:
        return any(example.missed for example in self._examples)

    def on_resize(self) -> None:
        self.relist()


def cancel_question(run: Run, now: datetime) -> Question:
    """The question whether to cancel only this run, and what will happen to it."""
    scope = Scope(run.app_id, run.function_id)
    age = duration((now - run.started_at).total_seconds())
    running = run.status is RunStatus.RUNNING
    text = toned(
        ("Cancel this one run of ", "plain"),
        (one_line(str(scope)), "strong"),
        ("?\n\n", "plain"),
        (one_line(run.id), "field"),
        (f"\n{'It runs now, and stops at its next step.' if running else 'It waits, and never starts.'}", "plain"),
        (f"\n\nIt has been in the queue for {age}. History undoes it.", "quiet"),
    )
    return Question("Cancel one run", text, "cancel this run")


def nearest(filter_: Filter, runs: Sequence[Run], now: datetime) -> list[Example]:
    """Runs that do not match; those that fail the fewest conditions come first."""
    found = []
    for run in runs:
        kept_out = obstacles(filter_, run, now)
        is_near = len(kept_out) == 1 and kept_out[0].span != filter_.expression.span
        found.append((len(kept_out), Example(Verdict.NO_MATCH, run, kept_out[0].text if is_near else "")))
    return [example for _, example in sorted(found, key=lambda item: item[0])]


def _look_up(event: Any, path: Path) -> Any:
    for key in path:
        event = event.get(key, _MISSING) if isinstance(event, dict) else _MISSING
    return event


def advice(examples: Sequence[Example], paths: Sequence[Path], failures: Sequence[ErrorExample]) -> str:
    """Advice for runs that cannot be evaluated because they lack a field that other runs have."""
    told = failures[0].message if failures else ""
    for path in sorted(paths, key=lambda path: _dotted(path) not in told):
        lacking = [_look_up(each.run.event, path) is _MISSING for each in examples]
        # The condition's own warnings cover a field that no example has.
        if any(lacking) and not all(lacking) and all(key.isidentifier() for key in path):
            return f"they do not match; decide them with has({_dotted(path)}) && …"
    return ""


def _dotted(path: Path) -> str:
    return ".".join(("event", *path))


def _value(event: Any, path: Path) -> Cell:
    found = _look_up(event, path)
    if found is _MISSING:
        return Cell("(missing)", "warn")
    text = found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)
    return Cell(one_line(text[:60]), "field")


def fields_shown(filter_: Filter | None, runs: Sequence[Run]) -> Sequence[Path]:
    """The event's fields that the expression reads, at most four; if it reads none, the event's first fields."""
    read = fields_read(filter_.expression) if filter_ is not None else []
    return read[:_MOST_FIELDS] or _fields_present(runs)


def _fields_present(runs: Sequence[Run]) -> list[Path]:
    """The first plain values of the first run's data, shown if the expression reads no field."""
    for run in runs:
        data = run.event.get("data") if isinstance(run.event, dict) else None
        if isinstance(data, dict):
            plain = [key for key, value in data.items() if not isinstance(value, dict | list)]
            return [("data", key) for key in plain[:3]]
    return []
