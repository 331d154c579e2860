"""What is asked before a single run is changed."""

from __future__ import annotations

from datetime import datetime

from secateur.runs import Run, RunStatus
from secateur.words.figures import duration
from secateur.words.lines import one_line
from secateur_tui.frame.question import Question
from secateur_tui.themes import toned


def cancel_question(run: Run, now: datetime) -> Question:
    """Whether to cancel only this run, and what will happen to it."""
    age = duration((now - run.started_at).total_seconds())
    running = run.status is RunStatus.RUNNING
    text = toned(
        ("Cancel this one run of ", "plain"),
        (one_line(str(run.scope)), "strong"),
        ("?\n\n", "plain"),
        (one_line(run.id), "field"),
        (f"\n{'It runs now, and stops at its next step.' if running else 'It waits, and never starts.'}", "plain"),
        (f"\n\nIt has been in the queue for {age}. History undoes it.", "quiet"),
    )
    return Question("Cancel one run", text, "cancel this run")


def restore_question(run: Run) -> Question:
    """Whether to undo the cancellation of just this run."""
    text = toned(
        ("Restore this one run of ", "plain"),
        (one_line(str(run.scope)), "strong"),
        ("?\n\n", "plain"),
        (one_line(run.id), "field"),
        ("\nIt waits again, exactly as it was.", "plain"),
    )
    return Question("Restore", text, "restore this run")
