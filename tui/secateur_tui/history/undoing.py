"""Stop and undo: until when an undo is offered, what it will bring back in words, and how far it is."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from secateur.instants import readable
from secateur.states import State
from secateur.words.figures import number, runs
from secateur.words.lines import one_line
from secateur_tui.frame.question import Question
from secateur_tui.history.rows import commit_text, scope_text
from secateur_tui.themes import toned

if TYPE_CHECKING:
    from secateur.records import Cancellation


def undo_label(cancellation: Cancellation, now: datetime) -> str:
    """What the key would do, for the footer; empty if an undo could bring back nothing, or has to wait."""
    if cancellation.only_watched is not None:
        return ""
    if cancellation.undo_until is not None and cancellation.undo_until < now:
        return ""
    if cancellation.state != State.UNDONE:
        return "undo"
    return "queue stopped runs" if cancellation.stopped and not cancellation.requeue_stopped else ""


def undo_question(commit: Sequence[Cancellation]) -> Question:
    """What will come back, from the figures of the commit's cancellations."""
    if commit[0].is_retry:
        return _unretry(commit)
    return _requeue(commit) if all(each.state == State.UNDONE for each in commit) else _undo(commit)


def redo_question(commit: Sequence[Cancellation]) -> Question:
    """What committing it again will do."""
    cancellation = commit[0]
    verb, does = ("Retry", "queued again") if cancellation.is_retry else ("Cancel", "cancelled again")
    condition = "" if cancellation.if_ is None else f"\nif {one_line(' '.join(cancellation.if_.split()))}"
    text = toned(
        (f"{verb} again: ", "plain"),
        (commit_text(commit), "strong"),
        ("?", "plain"),
        (condition, "field"),
        ("\n\n", "plain"),
        (f"{runs(sum(each.restored for each in commit))}", "count"),
        (f" came back by the undo. Whatever of them still waits is {does}: the same condition,", "plain"),
        (f" the same window, before {readable(cancellation.started_before, digits=0)}.", "plain"),
    )
    return Question("Redo", text, verb.lower() + " again")


def stop_question(cancellation: Cancellation) -> Question:
    """What stays as it is after a stop, and what does not."""
    if cancellation.is_retry:
        text = toned(
            ("Stop this ", "plain"),
            (scope_text(cancellation), "strong"),
            ("?\n\nWhat it has queued again goes on. What it has not reached stays failed or cancelled.", "plain"),
        )
        return Question("Stop", text, "stop")
    text = toned(
        ("Stop this cancellation of ", "plain"),
        (scope_text(cancellation), "strong"),
        ("?\n\nWhat it has cancelled stays cancelled. Matching runs that it has not reached yet", "plain"),
        (" start again.", "warn"),
        (" It also no longer cancels new runs." if cancellation.standing else "", "plain"),
    )
    return Question("Stop", text, "stop")


def _unretry(commit: Sequence[Cancellation]) -> Question:
    lines = [
        ("Undo the ", "plain"),
        (commit_text(commit), "strong"),
        (f" by {one_line(commit[0].created_by)}?\n\nOf ", "plain"),
        (runs(sum(each.waiting for each in commit)), "count"),
        (" that it queued again, those that have not begun become exactly what they were.", "plain"),
    ]
    if (until := _undo_until(commit)) is not None:
        lines.append((f"\n\nUndo is possible until {readable(until, digits=0)}.", "quiet"))
    return Question("Undo", toned(*lines), "undo", "")


def _undo(commit: Sequence[Cancellation]) -> Question:
    waiting, stopped = sum(each.waiting for each in commit), sum(each.stopped for each in commit)
    stopping, pruned = sum(each.stopping for each in commit), sum(each.pruned for each in commit)
    lines = [
        ("Undo the cancellation of ", "plain"),
        (commit_text(commit), "strong"),
        (f" by {one_line(commit[0].created_by)}?\n", "plain"),
        (f"\n{runs(waiting)}", "count"),
        (f" that waited {_go(waiting)} back to what {'it was' if waiting == 1 else 'they were'}.", "plain"),
    ]
    if any(each.state == State.ACTIVE for each in commit):
        lines.append(
            (f"{_planned(commit)}\nSo does what it cancels until you answer; then it cancels nothing.", "plain")
        )
    if stopped:
        stay = "stays" if stopped == 1 else "stay"
        lines.append((f"\n{runs(stopped)} stopped while running {stay} cancelled; a queues them too.", "warn"))
    if stopping:
        lines.append((f"\n{runs(stopping)} asked to stop and still running {_go(stopping)} on.", "plain"))
    if pruned:
        lines.append((f"\n! {runs(pruned)} cannot come back: they are not kept any longer.", "warn"))
    lines.append(("\n\nWhat another cancellation matches too goes over to that one.", "quiet"))
    if (until := _undo_until(commit)) is not None:
        lines.append((f"\nUndo is possible until {readable(until, digits=0)}.", "quiet"))
    other = f"undo, queue the {number(stopped)} too" if stopped else ""
    return Question("Undo", toned(*lines), "undo", other)


def _planned(commit: Sequence[Cancellation]) -> str:
    """How many runs its sweep was to reach, where it has not reached so many yet."""
    expected = [each.expected for each in commit if each.expected is not None]
    if len(expected) < len(commit) or sum(expected) <= sum(each.matched for each in commit):
        return ""
    about = "" if all(each.expected_exact for each in commit) else "about "
    return f"\nIts sweep goes on: {about}{runs(sum(expected))} planned."


def _undo_until(commit: Sequence[Cancellation]) -> datetime | None:
    return min((each.undo_until for each in commit if each.undo_until is not None), default=None)


def _requeue(commit: Sequence[Cancellation]) -> Question:
    text = toned(
        ("Queue ", "plain"),
        (runs(sum(each.stopped for each in commit)), "count"),
        (" of ", "plain"),
        (commit_text(commit), "strong"),
        (" again?\n\nThey were stopped while they ran, and the undo left them cancelled.", "plain"),
    )
    return Question("Queue stopped runs", text, "queue them again")


def _go(number_of_runs: int) -> str:
    return "goes" if number_of_runs == 1 else "go"
