"""What a cancellation is doing and what it promises, in words: the same on the command line and in the console."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from secateur.instants import utc
from secateur.states import Guarantee, Kind, State
from secateur.words.blockers import listed
from secateur.words.figures import duration, number
from secateur.words.lines import one_line

if TYPE_CHECKING:
    from secateur.records import Cancellation

NEGLECTED_SECONDS = 60.0
"""Whoever sweeps looks every second; after so long there seems to be nobody."""

At = Callable[[datetime], str]
"""How the reader wants instants written."""


class Phase(StrEnum):
    """One word, for lists, that says what a cancellation or a retry is doing now."""

    PENDING = "pending"
    FAILING = "failing"
    """Its sweep or its restore fails, or nobody does it."""
    HOLDING_BACK = "holding back"
    """It cannot be decided in time whether some runs match."""
    STANDING = "standing"
    """It also cancels what arrives."""
    STOPPING = "stopping"
    """Only running runs that were asked to stop are waited for."""
    SWEEPING = "sweeping"
    RETRYING = "retrying"
    COMPLETE = "complete"
    RETRIED = "retried"
    STOPPED = "stopped"
    RESTORING = "restoring"
    UNDONE = "undone"


def phase(cancellation: Cancellation, now: datetime) -> Phase:
    """`now` is by the database's clock. What somebody should do something about comes before what goes on."""
    if cancellation.is_pending:
        return Phase.PENDING
    if sweep_in_words(cancellation) is not None:
        return Phase.FAILING
    match cancellation.state:
        case State.ACTIVE if cancellation.undecided:
            return Phase.HOLDING_BACK
        case State.ACTIVE if is_standing(cancellation, now):
            return Phase.STANDING
        case State.ACTIVE if cancellation.swept and cancellation.stopping:
            return Phase.STOPPING
        case State.ACTIVE:
            return Phase.SWEEPING
        case State.COMPLETE if cancellation.is_retry:
            return Phase.RETRIED
        case State.UNDONE if cancellation.restoring:
            return Phase.RESTORING
        case state:
            return Phase(state)


def is_standing(cancellation: Cancellation, now: datetime) -> bool:
    """Whether it also cancels what arrives now."""
    return cancellation.state == State.ACTIVE and cancellation.standing and cancellation.started_before > now


def guarantee_in_words(cancellation: Cancellation, at: At) -> str:
    """What a cancellation promises now."""
    match cancellation.guarantee:
        case Guarantee.ENDED:
            return "ended: it matches nothing any more"
        case Guarantee.PENDING:
            return f"pending: waiting for {blocked_by(cancellation)}"
        case Guarantee.NONE:
            return "none: it is a retry"
        case Guarantee.SWEPT:
            return _swept(cancellation, at)
    since = at(cancellation.in_force_at or cancellation.created_at)
    if cancellation.state != State.COMPLETE:
        return f"in force since {since}: no matching run is claimed"
    if cancellation.kind == Kind.RUN:
        return f"in force since {since}: the run is over"
    return f"in force since {since}: none of the runs from before {at(cancellation.started_before)} is left"


def _swept(cancellation: Cancellation, at: At) -> str:
    """How far the sweep is, on which all depends where nothing keeps runs from being claimed."""
    if cancellation.state == State.COMPLETE:
        left = "the run is over" if cancellation.kind == Kind.RUN else "none of its runs is left"
        return f"swept at {at(cancellation.completed_at or cancellation.created_at)}: {left}"
    if cancellation.swept:
        return "swept: none of its runs waits any more"
    expected = "" if cancellation.expected is None else f" of {_about(cancellation)}{number(cancellation.expected)}"
    return f"swept: {number(cancellation.matched)}{expected} reached so far; {MAY_STILL_START}"


def _about(cancellation: Cancellation) -> str:
    return "" if cancellation.expected_exact else "about "


def blocked_by(cancellation: Cancellation) -> str:
    """Whose transactions a pending guarantee waits for: `process 123 and process 456`."""
    return listed(cancellation.blockers)


def until_then(cancellation: Cancellation) -> str:
    """The sentence that explains a pending guarantee. It follows the name of what the guarantee waits for."""
    if cancellation.is_over:
        verb = "queue runs again" if cancellation.is_retry else "cancel runs"
        return f"it may still {verb}; whatever begins from now on obeys the {end_of(cancellation)}"
    return "runs that it has claimed may still start; claims from now on honour the cancellation"


def waiting_end(cancellation: Cancellation) -> str:
    """Of a stop or undo that is pending: what it waits for."""
    return f"{end_of(cancellation)} not yet in force: waiting for {blocked_by(cancellation)}"


def end_of(cancellation: Cancellation) -> str:
    """What ended it: `stop` or `undo`."""
    return "undo" if cancellation.state == State.UNDONE else "stop"


def standing_in_words(cancellation: Cancellation, at: At) -> str:
    arrive, are = ("arrive", "are") if cancellation.state == State.ACTIVE else ("arrived", "were")
    return f"runs that {arrive} until {at(cancellation.started_before)} {are} cancelled too"


def stopping_in_words(cancellation: Cancellation) -> str:
    many, one = number(cancellation.stopping), cancellation.stopping == 1
    if cancellation.stops_at is None:
        return f"{many} still running: {'it goes on to its end' if one else 'they go on to their end'}"
    return f"{many} asked to stop, {_still(cancellation)}"


def _still(cancellation: Cancellation) -> str:
    """What becomes of the running runs that it waits for."""
    return "still at their step" if cancellation.stops_at == "next step" else "still running"


def what_runs_does(stops_at: str | None, running: int) -> str:
    """The end of a sentence about so many running runs; see `Cancellations.stops_at`."""
    if stops_at is None:
        return "goes on to its end" if running == 1 else "go on to their end"
    return f"{'stops at its' if running == 1 else 'stop at their'} {stops_at}"


MAY_STILL_START = "what the sweep has not reached may still start"
"""What a cancellation without a gate cannot promise."""


def held_back_in_words(cancellation: Cancellation) -> str:
    """The number of runs that it neither cancels nor lets start, and what to do about them."""
    held = f"{number(cancellation.undecided)} held back: the condition takes too long on them"
    return f"{held}; stop this and write a simpler one" if cancellation.stuck else held


def sweep_in_words(cancellation: Cancellation) -> str | None:
    """The fault of its sweep or restore, or None if that makes progress or has finished."""
    if cancellation.unswept_for is None:
        return None
    what = task_of(cancellation)
    if cancellation.failures > 1 and cancellation.failing_since is not None:
        since = utc(cancellation.failing_since.replace(microsecond=0))
        return f"its {what} has failed {number(cancellation.failures)} times since {since}: {cancellation.last_error}"
    if cancellation.unswept_for > NEGLECTED_SECONDS:
        remedy = cancellation.only_watched or "start a console, server or worker"
        return f"no {what} for {duration(cancellation.unswept_for)}: {remedy}"
    return None


def undo_waits(cancellation: Cancellation) -> str | None:
    """That and why nobody can undo it for now, or why its undo does not go on; None if there is no such reason."""
    if cancellation.only_watched is None or cancellation.restored_at is not None:
        return None
    return f"has to wait: {one_line(cancellation.only_watched)}"


def task_of(cancellation: Cancellation) -> str:
    """The name of its work in the background: `sweep`, or `restore` after an undo."""
    return "restore" if cancellation.restoring else "sweep"


def stopped_in_words(cancellation: Cancellation, at: At) -> str:
    return f"stopped{_signed(cancellation.stopped_at, cancellation.stopped_by, at)}"


def undone_in_words(cancellation: Cancellation, at: At) -> str:
    return f"undone{_signed(cancellation.undone_at, cancellation.undone_by, at)}"


def _signed(moment: datetime | None, who: str | None, at: At) -> str:
    when = f" at {at(moment)}" if moment else ""
    return f"{when} by {one_line(who)}" if who else when


def tallies_in_words(cancellation: Cancellation) -> list[str]:
    """`planned 95,553 · cancelled 99,242 (3,689 arrived in between) · 0 were running`, then what there is beyond that.

    A line that somebody should know of begins with `! `.
    """
    lines = [f"{_planned(cancellation)} · {_reached(cancellation)}"]
    if cancellation.left_alone:
        told = "left alone: their key is taken, or an active cancellation matches them"
        lines.append(f"! {number(cancellation.left_alone)} {told}")
    if cancellation.errors:
        lines.append(f"! {number(cancellation.errors)} could not be evaluated, and were left alone")
    if cancellation.undecided:
        lines.append(f"! {held_back_in_words(cancellation)}")
    if cancellation.retried and not cancellation.is_retry:
        lines.append(f"{number(cancellation.retried)} of the cancelled were queued again by a retry")
    if cancellation.pruned:
        lines.append(f"! {number(cancellation.pruned)} of the cancelled have been deleted since, at their age")
    if cancellation.state == State.UNDONE:
        lines += _back(cancellation)
    return lines


def _planned(cancellation: Cancellation) -> str:
    if cancellation.expected is None:
        return "not counted before"
    return f"planned {_about(cancellation)}{number(cancellation.expected)}"


def _reached(cancellation: Cancellation) -> str:
    if cancellation.is_retry:
        return f"queued again {number(cancellation.retried)}"
    between = ""
    if cancellation.state == State.COMPLETE and cancellation.expected is not None and cancellation.expected_exact:
        drift = cancellation.matched - cancellation.expected
        if drift > 0:
            between = f" ({number(drift)} arrived {'since' if cancellation.standing else 'in between'})"
        elif drift < 0:
            between = f" ({number(-drift)} were gone before)"
    return f"cancelled {number(cancellation.cancelled)}{between} · {_running(cancellation)}"


def _running(cancellation: Cancellation) -> str:
    """The clauses about the runs that were running."""
    asked = cancellation.requested
    if not asked:
        return "0 were running"
    parts = (
        (cancellation.stopped, "stopped"),
        (cancellation.finished_first, "finished first"),
        (cancellation.stopping, _still(cancellation)),
    )
    became = ", ".join(what if many == asked else f"{number(many)} {what}" for many, what in parts if many)
    were = "was" if asked == 1 else "were"
    return f"{number(asked)} {were} running" + (f": {became}" if became else "")


def _back(undone: Cancellation) -> list[str]:
    if undone.is_retry:
        lines = [f"{number(undone.restored)} became what they were"]
        return [*lines, f"! {number(undone.not_restored)} had begun since"] if undone.not_restored else lines
    they = "it was" if undone.restored == 1 else "they were"
    lines = [f"{number(undone.restored)} came back as {they}"]
    if undone.handed_over:
        lines.append(f"{number(undone.handed_over)} went over to another cancellation, which matches them too")
    if undone.not_restored:
        lines.append(f"! {number(undone.not_restored)} did not come back")
    return lines


def timeline(cancellation: Cancellation) -> list[tuple[datetime, str]]:
    """What happened to it, in order."""
    by = one_line(cancellation.created_by)
    story = [(cancellation.created_at, f"committed by {by}, from {one_line(cancellation.source)}")]
    if cancellation.in_force_at is not None and cancellation.in_force_at > cancellation.created_at:
        waited = duration((cancellation.in_force_at - cancellation.created_at).total_seconds())
        story.append((cancellation.in_force_at, f"in force: open transactions had been in the way for {waited}"))
    elif cancellation.in_force_at is not None and cancellation.gated:
        story[0] = (cancellation.created_at, f"{story[0][1]}; in force at once")
    done = "every matching run queued again" if cancellation.is_retry else "every matching run cancelled"
    for moment, what in (
        (cancellation.completed_at, f"complete: {done}"),
        (cancellation.stopped_at, f"stopped by {one_line(cancellation.stopped_by or 'somebody')}"),
        (cancellation.undone_at, f"undone by {one_line(cancellation.undone_by or 'somebody')}"),
        (cancellation.restored_at, "everything that could come back is back"),
    ):
        if moment is not None:
            story.append((moment, what))
    return sorted(story, key=lambda event: event[0])


def progress_in_words(cancellation: Cancellation, now: datetime, at: At) -> str:
    """What it is doing, or how it ended, in a sentence."""
    match phase(cancellation, now):
        case Phase.PENDING if cancellation.is_over:
            said = (undone_in_words if cancellation.state == State.UNDONE else stopped_in_words)(cancellation, at)
            return f"{said}; not yet in force: waiting for {blocked_by(cancellation)}"
        case Phase.FAILING:
            return one_line(sweep_in_words(cancellation) or "")
        case Phase.PENDING | Phase.SWEEPING if cancellation.gated:
            return "the rows of its runs are being rewritten"
        case Phase.PENDING | Phase.SWEEPING:
            return "its runs are being cancelled; what is not reached yet may still start"
        case Phase.HOLDING_BACK:
            return held_back_in_words(cancellation)
        case Phase.STANDING:
            return standing_in_words(cancellation, at)
        case Phase.STOPPING:
            return stopping_in_words(cancellation)
        case Phase.RETRYING:
            return "its runs are being queued again"
        case Phase.RETRIED:
            return "every matching run is queued again, or was left alone"
        case Phase.STOPPED:
            reached_all = not cancellation.is_retry and cancellation.gated
            then = "matching runs start again" if reached_all else "what it had not reached stays as it was"
            return f"{stopped_in_words(cancellation, at)}: {then}"
        case Phase.RESTORING if cancellation.is_retry:
            return "runs that have not begun are being taken back"
        case Phase.RESTORING:
            back, wanted = cancellation.restored_of
            return f"{number(back)} of {number(wanted)} are back"
        case Phase.UNDONE:
            return f"{undone_in_words(cancellation, at)}: everything that could come back is back"
        case Phase.COMPLETE:
            done = "every matching run is cancelled, or finished first"
            if cancellation.completed_at is None:
                return done
            took = duration((cancellation.completed_at - cancellation.created_at).total_seconds())
            return f"{done}; at {at(cancellation.completed_at)}, after {took}"
