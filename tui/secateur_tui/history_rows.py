"""A cancellation as a row of the history and as its details."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from textual.content import Content

from secateur.cancellations import cancellation_json
from secateur.records import Cancellation
from secateur.runs import Scope
from secateur_tui.columns import Cell, Column, Row
from secateur_tui.figures import ago, instant, number, one_line, progress
from secateur_tui.themes import toned

COLUMNS = (
    Column("when", "when", right=False, minimum=9),
    Column("who", "who", right=False, minimum=6, shrinks_to=6, rank=30),
    Column("where", "where", right=False, shrinks_to=14),
    Column("state", "state", right=False, minimum=14),
    Column("cancelled", "cancelled", "cancel.", minimum=7),
    Column("reason", "reason", right=False, minimum=6, shrinks_to=6, rank=20),
)

_BAR = 6


def counts_of(cancellation: Cancellation) -> dict[str, Any]:
    """Its tallies, by the names of the API."""
    counts: dict[str, Any] = cancellation_json(cancellation)["counts"]
    return counts


def scope_text(cancellation: Cancellation) -> str:
    return one_line(str(Scope(cancellation.app_id, cancellation.function_id)))


def row(cancellation: Cancellation, now: datetime) -> Row:
    counts = counts_of(cancellation)
    return {
        "when": Cell(ago(cancellation.created_at, now), "quiet"),
        "who": Cell(one_line(cancellation.created_by)),
        "where": Cell(scope_text(cancellation), "strong" if cancellation.state == "active" else "plain"),
        "state": state(cancellation, counts),
        "cancelled": Cell(number(counts["cancelled"] or 0)),
        "reason": Cell(one_line(cancellation.reason or ""), "quiet"),
    }


def state(cancellation: Cancellation, counts: dict[str, Any]) -> Cell:
    """Where it stands, in words; while it sweeps with a bar."""
    match cancellation.state:
        case "active":
            share = share_done(counts)
            if share is None:
                return Cell("sweeping", "sweep")
            return Cell(f"sweeping {progress(share, _BAR)} {share:.0%}", "sweep")
        case "complete":
            return Cell("✓ complete", "good")
        case other:
            return Cell(f"■ {other}", "warn")


def share_done(counts: dict[str, Any]) -> float | None:
    """How much of what the review counted has been dealt with; None where nothing was counted."""
    expected = counts["expected"]
    if not expected:
        return None
    done = (counts["cancelled"] or 0) + (counts["finished_first"] or 0)
    return min(0.99, float(done) / float(expected))


def text_of(cancellation: Cancellation) -> str:
    """What a search looks in."""
    parts = (
        cancellation.app_id,
        cancellation.function_id,
        cancellation.created_by,
        cancellation.reason,
        cancellation.state,
        cancellation.if_,
        str(cancellation.id),
    )
    return " ".join(part for part in parts if part).casefold()


def details(cancellation: Cancellation) -> Content:
    """Condition, window, tallies and what it guarantees."""
    counts = counts_of(cancellation)
    tallies: list[tuple[str, str]] = []
    names = {
        "expected": "expected",
        "matched": "matched",
        "cancelled": "cancelled",
        "requested": "asked to stop",
        "finished_first": "finished first",
        "errors": "errors",
    }
    for key, name in names.items():
        value = counts[key]
        shown = "–" if value is None else number(value)
        tone = "warn" if key == "errors" and value else "count" if key == "cancelled" else "plain"
        tallies += [(f"{name} ", "quiet"), (f"{shown}   ", tone)]
        if key == "cancelled":
            tallies.append(("\n", "plain"))
    lines = [
        toned(("if      ", "quiet"), _condition(cancellation)),
        toned(("started ", "quiet"), (_window(cancellation), "plain")),
        toned(*tallies),
        _standing(cancellation),
        toned(
            ("by ", "quiet"),
            (one_line(cancellation.created_by), "plain"),
            (f" as {one_line(cancellation.created_role)}, from {cancellation.source}", "quiet"),
            (f": {one_line(cancellation.reason)}" if cancellation.reason else ", no reason given", "plain"),
        ),
    ]
    return Content("\n").join(lines)


def _condition(cancellation: Cancellation) -> tuple[str, str]:
    if cancellation.if_ is None:
        return "no condition: every run of the window", "warn"
    return one_line(" ".join(cancellation.if_.split())), "plain"


def _window(cancellation: Cancellation) -> str:
    after = f"after {instant(cancellation.started_after)}, " if cancellation.started_after else ""
    return f"{after}before {instant(cancellation.started_before)}"


def _standing(cancellation: Cancellation) -> Content:
    since = instant(cancellation.created_at, digits=3)
    match cancellation.state:
        case "active":
            return toned((f"✓ guaranteed since {since}: nothing matching can start", "good"))
        case "complete":
            return toned((f"✓ guaranteed since {since}; nothing matching is left", "good"))
        case "stopped":
            who = f" by {one_line(cancellation.stopped_by)}" if cancellation.stopped_by else ""
            when = f" {instant(cancellation.stopped_at, digits=3)}" if cancellation.stopped_at else ""
            return toned((f"■ stopped{when}{who}: matching runs start again", "warn"))
        case other:
            return toned((f"{other}; committed {since}", "quiet"))
