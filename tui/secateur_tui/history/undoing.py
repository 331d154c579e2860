"""Stop and undo: until when an undo is offered, what it will bring back in words, and how far it is."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from secateur.instants import readable
from secateur.states import State
from secateur.words.figures import number, runs
from secateur.words.lines import one_line
from secateur_tui.frame.question import Question
from secateur_tui.history.rows import scope_text
from secateur_tui.themes import toned

if TYPE_CHECKING:
    from secateur.records import Cancellation


def undo_label(cancellation: Cancellation, now: datetime) -> str:
    """What the key would do, for the footer; empty where there is nothing that an undo could bring back."""
    if cancellation.undo_until is not None and cancellation.undo_until < now:
        return ""
    if cancellation.state != State.UNDONE:
        return "undo"
    return "queue stopped runs" if cancellation.stopped and not cancellation.requeue_stopped else ""


def undo_question(cancellation: Cancellation) -> Question:
    """What will come back, from the cancellation's figures."""
    if cancellation.is_retry:
        return _unretry(cancellation)
    return _requeue(cancellation) if cancellation.state == State.UNDONE else _undo(cancellation)


def redo_question(cancellation: Cancellation) -> Question:
    """What committing it again would do, once it is undone."""
    verb, does = ("Retry", "queued again") if cancellation.is_retry else ("Cancel", "cancelled again")
    condition = "" if cancellation.if_ is None else f"\nif {one_line(' '.join(cancellation.if_.split()))}"
    text = toned(
        (f"{verb} again: ", "plain"),
        (scope_text(cancellation), "strong"),
        ("?", "plain"),
        (condition, "field"),
        ("\n\n", "plain"),
        (f"{runs(cancellation.restored)}", "count"),
        (f" came back by the undo. Whatever of them still waits is {does}: the same condition,", "plain"),
        (f" the same window, before {readable(cancellation.started_before, digits=0)}.", "plain"),
    )
    return Question("Redo", text, verb.lower() + " again")


def stop_question(cancellation: Cancellation) -> Question:
    """What stays as it is once it is stopped, and what does not."""
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


def _unretry(retry: Cancellation) -> Question:
    lines = [
        ("Undo the ", "plain"),
        (scope_text(retry), "strong"),
        (f" by {one_line(retry.created_by)}?\n\nOf ", "plain"),
        (runs(retry.waiting), "count"),
        (" that it queued again, those that have not begun become exactly what they were.", "plain"),
    ]
    if retry.undo_until is not None:
        lines.append((f"\n\nUndo is possible until {readable(retry.undo_until, digits=0)}.", "quiet"))
    return Question("Undo", toned(*lines), "undo", "")


def _undo(cancellation: Cancellation) -> Question:
    stopped, stopping, one = cancellation.stopped, cancellation.stopping, cancellation.waiting == 1
    by = f"by {one_line(cancellation.created_by)}"
    lines = [
        ("Undo the cancellation of ", "plain"),
        (scope_text(cancellation), "strong"),
        (f" {by}?\n", "plain"),
        (f"\n{runs(cancellation.waiting)}", "count"),
        (f" that waited {_go(cancellation.waiting)} back to what {'it was' if one else 'they were'}.", "plain"),
    ]
    if cancellation.state == State.ACTIVE:
        lines.append(("\nSo does what it cancels until you answer; then it cancels nothing.", "plain"))
    if stopped:
        stay = "stays" if stopped == 1 else "stay"
        lines.append((f"\n{runs(stopped)} stopped while running {stay} cancelled; a queues them too.", "warn"))
    if stopping:
        lines.append((f"\n{runs(stopping)} asked to stop and still running {_go(stopping)} on.", "plain"))
    if cancellation.pruned:
        lines.append((f"\n! {runs(cancellation.pruned)} cannot come back: they are not kept any longer.", "warn"))
    lines.append(("\n\nWhat another cancellation matches too goes over to that one.", "quiet"))
    if cancellation.undo_until is not None:
        lines.append((f"\nUndo is possible until {readable(cancellation.undo_until, digits=0)}.", "quiet"))
    other = f"undo, queue the {number(stopped)} too" if stopped else ""
    return Question("Undo", toned(*lines), "undo", other)


def _requeue(cancellation: Cancellation) -> Question:
    text = toned(
        ("Queue ", "plain"),
        (runs(cancellation.stopped), "count"),
        (" of ", "plain"),
        (scope_text(cancellation), "strong"),
        (" again?\n\nThey were stopped while they ran, and the undo left them cancelled.", "plain"),
    )
    return Question("Queue stopped runs", text, "queue them again")


def _go(number_of_runs: int) -> str:
    return "goes" if number_of_runs == 1 else "go"
