"""Everything about one cancellation: what it means, did and guarantees, and what can be taken back."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from textual.content import Content

from secateur.instants import readable
from secateur.ledger.steps import Unrestored
from secateur.ledger.verifying import verify
from secateur.ledger.wording import (
    Phase,
    guarantee_in_words,
    is_standing,
    phase,
    progress_in_words,
    standing_in_words,
    sweep_in_words,
    tallies_in_words,
    task_of,
    timeline,
    undo_waits,
    undone_in_words,
    until_then,
    waiting_end,
)
from secateur.states import Kind, State
from secateur.troubles import Trouble
from secateur.words.figures import number
from secateur.words.lines import one_line
from secateur_tui.themes import toned

if TYPE_CHECKING:
    from secateur.records import Cancellation

_LABEL = 9

REASONS = 3
"""How many of the runs that an undo did not bring back are shown with the reason."""


def details(
    cancellation: Cancellation,
    now: datetime,
    unrestored: Sequence[Unrestored] = (),
    trouble: Trouble | None = None,
    arriving: Content | None = None,
) -> Content:
    """The lines of the details, what matters most first, because a small screen cuts them.

    `unrestored` are a few runs that an undo did not bring back, `trouble` what keeps this process from sweeping it, and
    `arriving` what still arrives.
    """
    lines = _standing(cancellation, now)
    if arriving is not None:
        lines.append(arriving)
    lines += _sweep(cancellation, trouble)
    lines += _tallies(cancellation)
    lines += _not_back(unrestored[:REASONS])
    lines += _meaning(cancellation)
    lines.append(_author(cancellation))
    lines += _undo(cancellation, now)
    for moment, what in timeline(cancellation):
        lines.append(_labelled(f"{_clock(moment, now)} ", (what, "quiet")))
    return Content("\n").join(lines)


def _author(cancellation: Cancellation) -> Content:
    role = one_line(cancellation.created_role)
    return _labelled(
        "by",
        (one_line(cancellation.created_by), "plain"),
        (f" (role {role}), from {one_line(cancellation.source)}", "quiet"),
        (f": {one_line(cancellation.reason)}" if cancellation.reason else ", no reason given", "plain"),
    )


def _labelled(label: str, *parts: tuple[str, str]) -> Content:
    return toned((label.ljust(_LABEL), "quiet"), *parts)


def terminating(cancellation: Cancellation) -> str:
    """The SQL that puts a pending guarantee in force at once; empty if nothing is in the way any more."""
    return one_line("; ".join(cancellation.unblocking))


def _meaning(cancellation: Cancellation) -> list[Content]:
    if cancellation.kind == Kind.RUN:
        return [_labelled("run", (cancellation.run_id or "", "plain"))]
    if cancellation.if_ is None:
        condition = ("no condition: every run of the window", "warn")
    else:
        condition = (one_line(" ".join(cancellation.if_.split())), "plain")
    start = readable(cancellation.started_after) if cancellation.started_after else "any time"
    end = readable(cancellation.started_before)
    lines = [
        _labelled("if", condition),
        _labelled("from", (start, "plain"), ("   until ", "quiet"), (end, "plain")),
    ]
    if cancellation.is_retry:
        which = "failed and cancelled" if cancellation.with_cancelled else "failed"
        lines.append(_labelled("runs", (f"{which} before {readable(cancellation.created_at, digits=0)}", "plain")))
    if (otherwise := verify(cancellation).in_words()) is not None:
        lines.append(toned((f"! {otherwise}", "error")))
    return lines


def _tallies(cancellation: Cancellation) -> list[Content]:
    first, *rest = tallies_in_words(cancellation)
    return [toned((first, "strong")), *(toned((told, "warn" if told[:1] == "!" else "plain")) for told in rest)]


def _standing(cancellation: Cancellation, now: datetime) -> list[Content]:
    """What holds now."""
    match phase(cancellation, now):
        case Phase.PENDING:
            return _pending(cancellation)
        case Phase.RETRYING:
            return [_line("◌", progress_in_words(cancellation, now, _to_the_second), "sweep")]
        case Phase.RETRIED:
            return [_line("✓", progress_in_words(cancellation, now, _to_the_second), "good")]
        case Phase.STOPPED:
            return [_line("■", progress_in_words(cancellation, now, _to_the_second), "warn")]
        case Phase.UNDONE:
            return [_line("↺", progress_in_words(cancellation, now, _to_the_second), "plain")]
    if cancellation.restoring:
        back, wanted = cancellation.restored_of
        undone = undone_in_words(cancellation, _to_the_second)
        return [toned((f"↺ restoring {number(back)} of {number(wanted)}", "sweep"), (f"; {undone}", "plain"))]
    lines = []
    if not cancellation.is_retry:
        lines.append(_line("✓", guarantee_in_words(cancellation, partial(_clock, now=now)), "good"))
    if is_standing(cancellation, now):
        lines.append(_line("◆", f"standing: {standing_in_words(cancellation, _to_the_second)}", "warn"))
    return lines


def _clock(moment: datetime, now: datetime) -> str:
    """The time only if it is today; the header says that times are in UTC."""
    today = moment.astimezone(UTC).date() == now.astimezone(UTC).date()
    return f"{moment.astimezone(UTC):%H:%M:%S}" if today else readable(moment, digits=0)


_to_the_second = partial(readable, digits=0)


def _line(sign: str, words: str, tone: str) -> Content:
    return toned((f"{sign} {words}", tone))


def _sweep(cancellation: Cancellation, trouble: Trouble | None) -> list[Content]:
    """What is wrong with its sweep or restore, from its record or, on a full disk for example, from this process."""
    words = sweep_in_words(cancellation)
    if words is None and trouble is not None:
        words = f"its {task_of(cancellation)} has failed {number(trouble.failures)} times from here: {trouble.error}"
    return [] if words is None else [toned((f"! {one_line(words)}", "error"))]


def _pending(cancellation: Cancellation) -> list[Content]:
    said = guarantee_in_words(cancellation, readable)
    if cancellation.is_over:
        said = waiting_end(cancellation)
    lines = [_line("◌", f"{said}; {until_then(cancellation)}", "warn")]
    if sql := terminating(cancellation):
        lines.append(toned(("  if that cannot wait: ", "quiet"), (sql, "field")))
    return lines


def _not_back(unrestored: Sequence[Unrestored]) -> list[Content]:
    """Each reason once, with its runs below it."""
    ids: dict[str, list[str]] = {}
    for each in unrestored:
        ids.setdefault(each.reason, []).append(str(each.run_id))
    return [
        line
        for reason, its in ids.items()
        for line in (toned((f"! {one_line(reason)}:", "warn")), toned((f"  {' '.join(its)}", "quiet")))
    ]


def _undo(cancellation: Cancellation, now: datetime) -> list[Content]:
    """Until when it can be undone, or why it cannot be for now; nothing once it is."""
    until = cancellation.undo_until
    if (why := undo_waits(cancellation)) is not None:
        return [toned((f"! an undo {why}", "warn"))]
    if cancellation.state == State.UNDONE:
        return []
    if until is None and cancellation.is_active:
        return [toned(("can be undone while it is active, and for some time after", "quiet"))]
    if until is None:
        return [toned(("can be undone as long as its rows are kept", "quiet"))]
    if until < now:
        return [toned((f"could be undone until {readable(until, digits=0)}", "quiet"))]
    return [toned((f"can be undone until {readable(until, digits=0)}", "quiet"))]
