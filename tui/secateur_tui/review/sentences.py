"""The words of a review: the sentence, how the count was taken, and the request as it is sent."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from textual.content import Content

from secateur.instants import readable
from secateur.ledger.wording import STILL_MAY_START, blocked_by
from secateur.looking.counting import Seen
from secateur.requests import CancellationRequest, RetryRequest
from secateur.runs import Count, RunStatus, Scope
from secateur.words.figures import about, duration, number, rate, runs
from secateur.words.lines import one_line
from secateur_tui.history.details import terminating
from secateur_tui.themes import toned

if TYPE_CHECKING:
    from secateur.records import Cancellation

_LABEL = 10


def body(request: CancellationRequest) -> str:
    """The request as JSON, as it can be sent by hand."""
    return json.dumps(request.body(), indent=2, ensure_ascii=False)


def wire(request: CancellationRequest) -> Content:
    """The same request for scripts: the JSON body and the command line."""
    return Content("\n").join(
        [
            toned(("\nthe same as JSON (c copies)", "quiet")),
            toned((body(request), "field")),
            toned(("as a command (l copies)", "quiet")),
            toned((request.command_line(), "field")),
        ]
    )


def pending(cancellation: Cancellation) -> Content:
    """What a pending guarantee means, whom it waits for, and what can be done."""
    lines = [
        toned(("◌ committed, and pending: ", "count"), (f"waiting for {blocked_by(cancellation)}", "warn")),
        toned((STILL_MAY_START, "plain")),
    ]
    if sql := terminating(cancellation):
        lines.append(toned(("if it cannot wait: ", "quiet"), (sql, "field")))
    return Content("\n").join(lines)


@dataclass(frozen=True, slots=True)
class Facts:
    """What a review knows so far."""

    request: CancellationRequest
    found: Seen | None
    """What the review found out itself; None as long as it counts."""
    seen: Count | None
    """What the filter showed when it was left."""
    arrivals: float | None
    """Matching runs that arrive per second."""
    age: float
    """Seconds since the count was taken."""
    is_gated: bool
    """Claims obey the cancellation."""
    stops_at: str | None
    """When a running run stops that is asked to; None where it runs to its end."""

    def sentence(self, where: str) -> Content:
        """What will happen, and what will not."""
        scope = Scope(self.request.app_id, self.request.function_id)
        place = [
            (one_line(str(scope)), "strong"),
            (" in ", "plain"),
            (one_line(where), "danger"),
            (".", "plain"),
        ]
        if self.found is None:
            return toned(("Counting the runs of ", "plain"), *place, ("\n\n", "plain"))
        count = self.found.count
        if count is None:
            return toned(
                (f"{self.request.verb.capitalize()} ", "plain"),
                ("every matching run", "count"),
                (" of ", "plain"),
                *place,
                *self._standing(),
                ("\n! Not counted: nobody knows how many these are.", "warn"),
            )
        if not count.exact:
            guess, between = about(count.matched, count.low, count.high)
            return toned(
                (f"{self.request.verb.capitalize()} ", "plain"),
                (f"about {guess} runs", "count"),
                (f" ({between})" if between else "", "plain"),
                (" of ", "plain"),
                *place,
                *self._standing(),
                (f"\n! Not counted exactly: of {number(count.total)}, whatever matches is {self._done}.", "warn"),
            )
        running = count.by_status.get(RunStatus.RUNNING, 0)
        others = count.total - count.matched
        return toned(
            (f"{self.request.verb.capitalize()} ", "plain"),
            (runs(count.matched), "count"),
            (" of ", "plain"),
            *place,
            *self._standing(),
            (self._becomes(count.matched, running), "quiet"),
            ("", "plain")
            if self.request.verb == "retry"
            else _spared(others, "this queue" if self.request.function_id else "this app"),
        )

    @property
    def _which(self) -> str:
        """Which runs a retry takes."""
        if not isinstance(self.request, RetryRequest):
            return ""
        return "failed and every cancelled " if self.request.with_cancelled else "failed "

    @property
    def _done(self) -> str:
        return "retried" if self.request.verb == "retry" else "cancelled"

    def _becomes(self, matched: int, running: int) -> str:
        if self.request.verb == "retry":
            return "\nEach waits again, with fresh attempts and its finished steps kept, unless its key is taken."
        waiting = f"{number(matched - running)} never start"
        if not self.is_gated:
            waiting += ", unless a worker is quicker than the sweep"
        if self.stops_at is None:
            return (
                f"\n{waiting}; {number(running)} running {'goes on to its' if running == 1 else 'go on to their'} end."
            )
        stops = "stops at its" if running == 1 else "stop at their"
        return f"\n{waiting}, {number(running)} running {stops} {self.stops_at}."

    def _standing(self) -> list[tuple[str, str]]:
        """That more is cancelled than what is there now, and until when."""
        before = self.request.started_before
        if not self.request.standing or before is None:
            return []
        until = readable(before, digits=0)
        return [(f"\n◆ STANDING: also matching runs that arrive until {until}.", "count")]

    def details(self) -> Content:
        """Condition, window, how it was counted, what still arrives and what cannot be evaluated."""
        lines = [Content(""), *self._condition(), _labelled("started", self._window())]
        if self.found is not None:
            lines.append(_labelled("counted", self._counted(self.found)))
            if (count := self.found.count) is not None and count.errors:
                many = f"{'' if count.exact else 'about '}{runs(count.errors)}"
                told = f"{many} cannot be evaluated and are not {self._done}"
                lines.append(_labelled("errors", toned((f"! {told}", "warn"))))
        if self.arrivals and self.request.standing:
            told = f"{rate(self.arrivals)} more a second, cancelled too as long as the window lasts"
            lines.append(_labelled("arriving", toned((told, "warn"))))
        elif self.arrivals:
            end = "the window" if self.request.started_before else "the commit"
            told = f"! {rate(self.arrivals)} more a second; those after {end} are NOT cancelled"
            lines.append(_labelled("arriving", toned((told, "warn"))))
        return Content("\n").join(lines)

    def _condition(self) -> list[Content]:
        if self.request.if_ is None:
            scope = "this function" if self.request.function_id else "EVERY function of this app"
            told = f"! NO CONDITION: every {self._which}run of {scope} in the window"
            return [_labelled("if", toned((told, "danger")))]
        first, *rest = self.request.if_.strip().split("\n")
        shown = [_labelled("if", toned((one_line(first), "plain")))]
        return shown + [_labelled("", toned((one_line(line), "plain"))) for line in rest]

    def _window(self) -> Content:
        after, before = self.request.started_after, self.request.started_before
        start = f"after {readable(after)}, " if after else "at any time "
        end = f"before {readable(before)}" if before else "before this commit"
        return toned((start + end, "plain"))

    def _counted(self, found: Seen) -> Content:
        count = found.count
        if found.why is not None or count is None:
            basis = "not counted" if count is None else "an estimate"
            return toned((f"! {basis}: {one_line(found.why or '')}", "warn"))
        when = "just now" if self.age < 5 else f"{duration(self.age)} ago"
        text = toned((f"exact, {when}; ", "plain"))
        if self.seen is None:
            return text + toned(("the filter had not counted yet", "quiet"))
        if not self.seen.exact:
            return text + toned(
                (
                    f"the filter showed an estimate of {about(self.seen.matched, self.seen.low, self.seen.high)[0]}",
                    "warn",
                )
            )
        drift = count.matched - self.seen.matched
        if drift == 0:
            return text + toned(("the same as the filter showed", "quiet"))
        word = "more" if drift > 0 else "fewer"
        return text + toned((f"{number(abs(drift))} {word} than the filter showed", "warn"))


def _spared(others: int, queue: str) -> tuple[str, str]:
    if others == 0:
        return f"\n! Nothing else waits in {queue}: no run is left.", "warn"
    return (
        f"\n{number(others)} other {'run' if others == 1 else 'runs'} of {queue} keep{'s' * (others == 1)} going.",
        "good",
    )


def _labelled(label: str, content: Content) -> Content:
    return toned((label.ljust(_LABEL), "quiet")) + content if label else Content(" " * _LABEL) + content
