"""Why one run matches or not: every part of the expression with its value."""

from __future__ import annotations

from datetime import datetime

from textual.content import Content

from secateur.cel import Filter
from secateur.cel.authoring.explain import Part, explain, obstacles
from secateur.cel.syntax.writing import value_text
from secateur.runs import UNFINISHED, Run
from secateur.words.lines import one_line
from secateur_tui.runs.details import RunDialog, event, life
from secateur_tui.session import Session
from secateur_tui.themes import toned

_LONGEST = 300
"""The most characters of a text or a value that are shown."""


class ExplainScreen(RunDialog):
    """The run, and how the filter evaluates it; without a filter, only the run."""

    def __init__(self, session: Session, filter_: Filter | None, run: Run, now: datetime) -> None:
        super().__init__(session, run, now)
        self._filter = filter_

    @property
    def title_of_run(self) -> str:
        return "Why" if self._filter is not None else super().title_of_run

    def lines(self) -> list[Content]:
        has_ended = self._run.status not in UNFINISHED
        told = [*life(self._run, self._now), Content("")] if has_ended or self._filter is None else []
        if self._filter is not None:
            whole = explain(self._filter, self._run, self._now)
            told += [*self._verdict(self._filter, whole), Content("")]
            told += [*(_line(part, depth) for depth, part in whole.walk()), Content("")]
        return [*told, event(self._run)]

    def _verdict(self, filter_: Filter, whole: Part) -> list[Content]:
        found = obstacles(filter_, self._run, self._now)
        if not found:
            return [toned(("✓ matches", "good"))]
        if whole.error is not None:
            lines = [toned(("! cannot be evaluated, so it does not match", "warn"))]
        else:
            lines = [toned(("✗ does not match", "strong"))]
        if len(found) == 1:
            lines[0] += toned(("; without this it would:" if len(whole.parts) > 1 else ":", "quiet"))
        else:
            lines[0] += toned((f"; kept out by {len(found)} conditions:", "quiet"))
        return [*lines, *(toned(("  ", "plain"), (_short(part.text), "error"), _reason(part)) for part in found)]


def _reason(part: Part) -> tuple[str, str]:
    """The values that decide, behind a condition."""
    if len(part.parts) != 1:
        return "", "plain"
    (only,) = part.parts
    return f"   is {_short(only.outcome)}", "quiet"


def _line(part: Part, depth: int) -> Content:
    sign, tone = _sign(part)
    binding = f"{part.binding[0]} = {value_text(part.binding[1])}: " if part.binding else ""
    outcome = "not used" if not part.used else part.outcome
    return toned(
        (f"{sign} ", tone),
        ("  " * depth, "plain"),
        (_short(binding, 60), "quiet"),
        (_short(part.text), "quiet" if not part.used else "plain"),
        ("  → " if outcome else "", "quiet"),
        (_short(outcome), tone if tone != "plain" else "field"),
    )


def _sign(part: Part) -> tuple[str, str]:
    if not part.used:
        return " ", "quiet"
    if part.error is not None:
        return "!", "warn"
    if isinstance(part.value, bool):
        return ("✓", "good") if part.value else ("✗", "error")
    return " ", "plain"


def _short(text: str, longest: int = _LONGEST) -> str:
    text = one_line(text)
    return text if len(text) <= longest else text[: longest - 1] + "…"
