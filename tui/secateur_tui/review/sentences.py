"""The words of a review: the sentence, the bar, how the count was taken, and what still arrives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

from textual.content import Content

from secateur.instants import readable
from secateur.ledger.wording import (
    MAY_STILL_START,
    blocked_by,
    guarantee_in_words,
    until_then,
    what_runs_does,
)
from secateur.requests import CancellationRequest, RetryRequest
from secateur.runs import Count, Run, RunStatus
from secateur.words.figures import about, ago, duration, number, rate, runs
from secateur.words.lines import one_line
from secateur.words.tables import Column
from secateur_tui.frame.bars import progress
from secateur_tui.frame.columns import Cell, lay_out_cells
from secateur_tui.frame.fields import field_cell, field_column, plain_fields
from secateur_tui.frame.phrases import side_by_side
from secateur_tui.history.details import terminating
from secateur_tui.review.figures import Figures
from secateur_tui.themes import toned

if TYPE_CHECKING:
    from secateur.ledger.proposals import ProposedCancellation
    from secateur.records import Cancellation

_LABEL = 10
_FIELDS, _EXAMPLE_WIDTH = 4, 96
"""Of an example: how many fields of its event are shown, and how wide its line may be."""
_PROGRESS = 12
"""Cells of the bar that shows how much of its time a count has taken."""
_WIDEST_BAR = 60
_TAKEN, _KEPT, _ODD = "█", "░", "▚"

Part = tuple[str, str]
"""A text and its tone."""


def label(request: CancellationRequest, count: Count | None) -> str:
    """What the button does."""
    if request.standing:
        return "Cancel these, and what arrives"
    return f"{request.verb.capitalize()} {_which(count)}"


def doing(request: CancellationRequest, count: Count | None) -> str:
    """The same, as in `enter cancels 623 runs`."""
    also = " and what arrives in the window" if request.standing else ""
    return f"{'retries' if request.verb == 'retry' else 'cancels'} {_which(count)}{also}"


def _which(count: Count | None) -> str:
    return "whatever matches" if count is None else runs(count.matched)


def committed(cancellations: Sequence[Cancellation]) -> Content:
    """What a commit that is in force, or a retry, has achieved; several cancellations begin together."""
    cancellation = cancellations[0]
    if cancellation.is_retry:
        return toned(("✓ committed: the matching runs are being queued again", "good"))
    return toned((f"✓ guaranteed: {guarantee_in_words(cancellation, partial(readable, digits=0))}", "good"))


def proposed(proposal: ProposedCancellation | None) -> Content:
    """Who proposed it and why, as lines of their own; nothing if nobody did."""
    if proposal is None:
        return Content("")
    lines = [
        toned(
            ("proposed by ", "quiet"), (one_line(f"{proposal.proposed_by} (login {proposal.proposed_login})"), "field")
        ),
        *([toned(("who says: ", "quiet"), (one_line(proposal.reasoning), "plain"))] if proposal.reasoning else []),
    ]
    return Content("\n").join([*lines, Content(""), Content("")])


def such_as(runs_: Sequence[Run], now: datetime) -> Content:
    """Some of the runs, a line each, with the same fields of their events under one another."""
    if not runs_:
        return Content("")
    events = [run.event for run in runs_]
    paths = plain_fields(events, _FIELDS)
    missing = Cell("(missing)", "warn")
    columns = [
        Column("label", " ", right=False, minimum=_LABEL - 2),
        *(field_column(path, 20, events) for path in paths),
    ]
    columns.append(Column("came", "started"))
    rows = [
        {
            "label": Cell("" if number_ else "such as", "quiet"),
            "came": Cell(ago(run.started_at, now), "quiet"),
            **{".".join(path): field_cell(run.event, path, missing=missing) for path in paths},
        }
        for number_, run in enumerate(runs_)
    ]
    layout = lay_out_cells(columns, rows, _EXAMPLE_WIDTH)
    return Content("\n").join([layout.heading(), *map(layout.line, rows)])


def pending(cancellation: Cancellation) -> Content:
    """What a pending guarantee means, which transactions it waits for, and what can be done."""
    lines = [
        toned(("◌ committed, and pending: ", "count"), (f"waiting for {blocked_by(cancellation)}", "warn")),
        toned((until_then(cancellation), "plain")),
    ]
    if sql := terminating(cancellation):
        lines.append(toned(("if it cannot wait: ", "quiet"), (sql, "field")))
    return Content("\n").join(lines)


@dataclass(frozen=True, slots=True)
class Facts:
    """What a review knows so far."""

    request: CancellationRequest
    figures: Figures
    arrivals: float | None
    """Matching runs that arrive per second."""
    now: datetime
    """By the database's clock."""
    most_seconds: float
    """How long the exact count may take."""
    is_gated: bool
    """Claims obey the cancellation."""
    stops_at: str | None
    """When a running run stops that is asked to; None where it runs to its end."""
    also_key: str
    """The key that also takes what arrives; empty where there is none."""

    def sentence(self, where: str) -> Content:
        """What will happen, and to how many."""
        parts: list[Part] = [
            (f"{self._verb} ", "plain"),
            *self._how_many(),
            (" of ", "plain"),
            (one_line(str(self.request.functions)), "strong"),
            (" in ", "plain"),
            (one_line(where), "danger"),
            (".", "plain"),
            *self._standing(),
            *self._uncounted(),
        ]
        return toned(*parts)

    def _how_many(self) -> list[Part]:
        count = self.figures.newest
        if count is None:
            return [("every matching run", "count")]
        if count.exact:
            return [(runs(count.matched), "count")]
        guess, between = about(count.matched, count.low, count.high)
        return [(f"about {guess} runs", "count"), (f" ({between})" if between else "", "plain")]

    def _uncounted(self) -> list[Part]:
        """Says that there is no exact count, which does not prevent a commit."""
        if self.figures.found.why is None or self.figures.exact is not None:
            return []
        count, most = self.figures.newest, self.figures.at_most
        if count is not None:
            told = f"an estimated {about(count.matched, count.low, count.high)[0]} of {number(count.total)}"
        elif most is not None:
            told = f"at most {number(most)}, all that there are"
        else:
            told = "nobody knows how many these are"
        return [(f"\n! Not counted: {told}. Whatever matches is {self._done}.", "warn")]

    def proportions(self, width: int) -> Content:
        """The bar of what is cancelled, kept, and cannot be evaluated, with its legend; what of it keeps going."""
        count = self.figures.newest
        if count is None or self.request.verb == "retry":
            return Content("\n").join(self._becomes(count))
        errors = count.errors or 0
        kept = max(0, count.total - count.matched - errors)
        parts = [(count.matched, _TAKEN, "count"), (kept, _KEPT, "good"), (errors, _ODD, "warn")]
        cells = _cells(parts, min(_WIDEST_BAR, width))
        bar = toned(*((sign * many, tone) for (_, sign, tone), many in zip(parts, cells, strict=True)))
        around = "" if count.exact else "about "
        queue = {0: "this app", 1: "this queue"}.get(len(self.request.functions.names), "these queues")
        legend = [toned((f"{_TAKEN} ", "count"), (f"{around}{number(count.matched)} cancelled", "plain"))]
        if kept or errors:
            keeps = "keeps" if kept == 1 else "keep"
            legend.append(toned((f"{_KEPT} ", "good"), (f"{around}{number(kept)} of {queue} {keeps} going", "plain")))
        else:
            legend.append(toned((f"! nothing else waits in {queue}: no run is left", "warn")))
        if errors:
            legend.append(toned((f"{_ODD} {around}{number(errors)} cannot be evaluated: kept", "warn")))
        return Content("\n").join([bar, *side_by_side(legend, width), *self._becomes(count)])

    def _becomes(self, count: Count | None) -> list[Content]:
        """What becomes of the runs."""
        if self.request.verb == "retry":
            told = "Each waits again, with fresh attempts and its finished steps kept, unless its key is taken."
            if count is not None and count.errors:
                told += f"\n! {runs(count.errors)} cannot be evaluated and are not retried."
            return [toned((told, "quiet"))]
        if count is None or not count.by_status:
            return []
        running = count.by_status.get(RunStatus.RUNNING, 0)
        goes = f"{number(running)} running {what_runs_does(self.stops_at, running)}"
        if self.is_gated:
            return [toned((f"{number(count.matched - running)} never start, {goes}.", "quiet"))]
        waiting = f"{number(count.matched - running)} that wait are cancelled by a sweep"
        return [toned((f"{waiting}, {goes}.", "quiet")), toned((f"! No gate: {MAY_STILL_START}.", "warn"))]

    @property
    def _verb(self) -> str:
        return self.request.verb.capitalize()

    @property
    def _which(self) -> str:
        """Which runs a retry takes."""
        if not isinstance(self.request, RetryRequest):
            return ""
        return "failed and every cancelled " if self.request.with_cancelled else "failed "

    @property
    def _done(self) -> str:
        return "retried" if self.request.verb == "retry" else "cancelled"

    def _standing(self) -> list[Part]:
        """Says that runs that are still to arrive are cancelled too, and until when."""
        before = self.request.started_before
        if not self.request.standing or before is None:
            return []
        until = readable(before, digits=0)
        return [(f"\n◆ STANDING: also matching runs that arrive until {until}.", "count")]

    def details(self) -> Content:
        """The condition, the window, how it was counted, and what still arrives."""
        lines = [*self._condition(), *self._window(), _labelled("counted", self._counted())]
        if (arriving := self._arriving()) is not None:
            lines.append(_labelled("arriving", arriving))
        return Content("\n").join(lines)

    def _arriving(self) -> Content | None:
        if not self.arrivals:
            return None
        many = f"{rate(self.arrivals)}/s still match"
        if self.request.standing:
            return toned((f"{many}, and are cancelled too until the window ends", "warn"))
        told = toned((f"! {many}, NOT cancelled", "warn"))
        if not self.also_key:
            return told
        return told + toned((": ", "warn"), (self.also_key, "key"), (" also those for 2 h", "plain"))

    def _condition(self) -> list[Content]:
        if self.request.if_ is None:
            several = f"these {len(self.request.functions.names)} functions"
            scopes = {0: "EVERY function of this app", 1: "this function"}
            scope = scopes.get(len(self.request.functions.names), several)
            told = f"! NO CONDITION: every {self._which}run of {scope} in the window"
            return [_labelled("if", toned((told, "danger")))]
        first, *rest = self.request.if_.strip().split("\n")
        shown = [_labelled("if", toned((one_line(first), "plain")))]
        return shown + [_labelled("", toned((one_line(line), "plain"))) for line in rest]

    def _window(self) -> list[Content]:
        after, before = self.request.started_after, self.request.started_before
        start = readable(after) if after else "any time"
        end = readable(before) if before else "the commit"
        return [_labelled("from", toned((start, "plain"), ("   until ", "quiet"), (end, "plain")))]

    def _counted(self) -> Content:
        figures, count = self.figures, self.figures.newest
        if figures.found.why is not None:
            basis = "still not counted" if count is None else f"{self._basis(count)}; still not counted again"
            return toned((f"! {basis}: {one_line(figures.found.why)}", "warn"))
        if figures.found.under_way and not (count is not None and count is figures.found.count and count.exact):
            return toned(*self._so_far(count))
        if count is None:
            return toned(("not counted", "warn"))
        return toned((self._basis(count), "plain")) + self._drift(count)

    def _basis(self, count: Count) -> str:
        age = self.figures.age(self.now)
        when = "just now" if age < 5 else f"{duration(age)} ago"
        return f"{'exact' if count.exact else 'an estimate'}, {when}"

    def _so_far(self, count: Count | None) -> list[Part]:
        """What is known while the exact count is running, and how long that may take."""
        seconds, most = self.figures.seconds, self.figures.at_most
        if count is None:
            so_far = "not yet" if most is None else f"not yet: at most {number(most)}"
        else:
            so_far = self._basis(count)
        parts: list[Part] = [(f"{so_far}; ", "plain")]
        if seconds < 1:
            return [*parts, ("counting exactly…", "quiet")]
        return [
            *parts,
            (progress(seconds / self.most_seconds, _PROGRESS), "chart"),
            (f" counting exactly, {duration(seconds)} of at most {duration(self.most_seconds)}", "quiet"),
        ]

    def _drift(self, count: Count) -> Content:
        """What has changed since the filter was left; nothing if it had not counted, or something else."""
        shown = self.figures.shown
        if shown is None:
            return Content("")
        if not shown.exact:
            guess = about(shown.matched, shown.low, shown.high)[0]
            return toned((f"; the filter showed an estimate of {guess}", "warn"))
        drift = count.matched - shown.matched
        if drift == 0:
            return toned(("; the same as the filter showed", "quiet"))
        word = "more" if drift > 0 else "fewer"
        return toned((f"; {number(abs(drift))} {word} than the filter showed", "warn"))


def _cells(parts: list[tuple[int, str, str]], width: int) -> list[int]:
    """How many of the cells each part gets; one at least where it is not empty."""
    total = sum(many for many, _, _ in parts)
    if total == 0:
        return [0, width, 0]
    cells = [max(1, round(many * width / total)) if many else 0 for many, _, _ in parts]
    cells[cells.index(max(cells))] -= sum(cells) - width
    return cells


def _labelled(label: str, content: Content) -> Content:
    return toned((label.ljust(_LABEL), "quiet")) + content if label else Content(" " * _LABEL) + content
