"""The postmortem of a cancellation, as Markdown: what happened when, who did what, and what came of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

from secateur.errors import NotFound, SecateurError, Unsupported
from secateur.instants import readable
from secateur.ledger.cancellations import Cancellations
from secateur.ledger.steps import Unrestored
from secateur.ledger.wording import guarantee_in_words, tallies_in_words, timeline
from secateur.looking.aftermath import still_arriving
from secateur.looking.depth import NEGLIGIBLE
from secateur.looking.history import Series
from secateur.looking.reader import Reader
from secateur.samples import RANGES, Mark
from secateur.states import Kind
from secateur.words.charts import chart
from secateur.words.figures import number, rate
from secateur.words.lines import one_line

if TYPE_CHECKING:
    from secateur.records import AuditEntry, Cancellation

WIDTH, HEIGHT = 72, 8
"""Cells of a plot."""

LEAD = timedelta(minutes=5)
"""How much of the time before the commit is shown at least, if its history is kept."""

NOT_BACK = 20
"""How many of the runs that did not come back are listed with the reason."""

AUDITED = 1000
"""How many of the newest audit entries are searched."""


async def postmortem(cancellations: Cancellations, reader: Reader, cancellation_id: UUID, where: str) -> str:
    """The document. `where` names the database. Raises `NotFound` and `DatabaseError`.

    Leaves out what is not available: the depth's history if none is kept, the audit if the role may not read it.
    """
    cancellation = await cancellations.get(cancellation_id)
    now = await reader.clock()
    series: Series | None = None
    with suppress(NotFound, Unsupported):
        scope = cancellation.scope
        if (name := _range(cancellation, now)) is not None:
            series = await reader.history.series(scope, name)
    audited: Sequence[AuditEntry] = ()
    with suppress(SecateurError):
        audited = [each for each in await cancellations.audit(AUDITED) if each.cancellation_id == cancellation_id]
    left: Sequence[Unrestored] = ()
    if cancellation.not_restored or cancellation.handed_over:
        left = await cancellations.unrestored(cancellation_id, NOT_BACK)
    arriving = await still_arriving(reader.counter, cancellation, now)
    parts = [
        *_summary(cancellation, where, now),
        *_selection(cancellation),
        *_counts(cancellation, arriving, left),
        *_timeline(cancellation, series),
        *_depth(series),
        *_people(cancellation, audited),
    ]
    return "\n".join(parts) + "\n"


def write(document: str, cancellation: Cancellation, folder: Path) -> Path:
    """Writes it to a new file in the folder, named after the cancellation. Raises `OSError`."""
    scope = "-".join(filter(None, (cancellation.app_id, cancellation.function_id)))
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", scope).strip("-.")[:80] or "queue"
    stem = f"postmortem-{name}-{cancellation.created_at.astimezone(UTC):%Y%m%dT%H%M%SZ}"
    for more in ("", *(f"-{nth}" for nth in range(2, 1000))):
        path = folder / f"{stem}{more}.md"
        with suppress(FileExistsError), path.open("x", encoding="utf-8") as file:
            file.write(document)
            return path
    raise FileExistsError(f"{folder / stem}.md and 998 more of that name are there already")


def _range(cancellation: Cancellation, now: datetime) -> str | None:
    """The shortest history range that reaches back before the commit; None if none does."""
    needed = now - cancellation.created_at + LEAD
    longest = [name for name, (reach, _) in RANGES.items() if reach >= needed]
    return longest[0] if longest else None


def _summary(cancellation: Cancellation, where: str, now: datetime) -> list[str]:
    scope = one_line(str(cancellation.scope))
    what = "Retry" if cancellation.is_retry else "Cancellation"
    reason = f" “{_escaped(cancellation.reason)}”" if cancellation.reason else " No reason was given."
    return [
        f"# {what} of {_escaped(scope)}, {cancellation.created_at.astimezone(UTC):%Y-%m-%d}",
        "",
        f"{_escaped(cancellation.created_by)} committed it at {readable(cancellation.created_at, digits=3)}"
        f" in {_escaped(where)}.{reason}",
        "",
        f"- {tallies_in_words(cancellation)[0]}",
        f"- {guarantee_in_words(cancellation, _second)}",
        f"- id `{cancellation.id}`; written at {readable(now, digits=0)}; all times are in UTC",
        "",
    ]


def _selection(cancellation: Cancellation) -> list[str]:
    if cancellation.kind == Kind.RUN:
        return ["## What it selected", "", f"The run `{cancellation.run_id}`.", ""]
    lines = ["## What it selected", ""]
    if cancellation.if_ is None:
        lines.append("Every run of the window: there was no condition.")
    else:
        fence = "`" * max(3, 1 + max(map(len, re.findall("`+", cancellation.if_)), default=0))
        lines += [f"{fence}cel", *map(one_line, cancellation.if_.split("\n")), fence]
    start = readable(cancellation.started_after) if cancellation.started_after else "any time"
    stood = ", standing: it also took what arrived" if cancellation.standing else ""
    return [*lines, "", f"From {start}, until {readable(cancellation.started_before)}{stood}.", ""]


def _counts(cancellation: Cancellation, arriving: float | None, left: Sequence[Unrestored]) -> list[str]:
    lines = ["## What came of it", "", *(f"- {told.removeprefix('! ')}" for told in tallies_in_words(cancellation))]
    if arriving is not None and arriving >= NEGLIGIBLE:
        lines.append(f"- {rate(arriving)} matching runs a second were still arriving when this was written")
    if cancellation.undo_until is not None and not cancellation.is_over:
        lines.append(f"- it can be undone until {_second(cancellation.undo_until)}")
    lines += [f"  - `{each.run_id}`: {_escaped(each.reason)}" for each in left]
    if len(left) == NOT_BACK:
        lines.append("  - …")
    return [*lines, ""]


def _besides(mark: Mark) -> str:
    """What somebody did to the queue meanwhile, and to which part of it."""
    where = "the whole app" if mark.function_id is None else one_line(mark.function_id)
    which = "" if mark.cancellation_id is None else f" ({mark.cancellation_id})"
    return f"{mark.action} by {one_line(mark.author or 'nobody named')}, of {where}{which}"


def _timeline(cancellation: Cancellation, series: Series | None) -> list[str]:
    events = [(moment, what) for moment, what in timeline(cancellation)]
    if series is not None:
        if (grows := series.grows_since) is not None:
            events.append((grows, "the backlog began to grow; it still does"))
        own = str(cancellation.id)
        events += [(mark.at, _besides(mark)) for mark in series.marks if mark.cancellation_id != own]
        events += [
            (gap.since, f"nothing is known until {_second(gap.until)}: no console, worker or server was running")
            for gap in series.gaps
        ]
    return [
        "## Timeline",
        "",
        "| when | what |",
        "|---|---|",
        *(f"| {_second(moment)} | {_escaped(what)} |" for moment, what in sorted(events, key=lambda event: event[0])),
        "",
    ]


def _depth(series: Series | None) -> list[str]:
    if series is None:
        return ["## Depth", "", "The history of the depth does not reach back to the commit, or none is kept.", ""]
    since, until = series.steps.since, series.steps.until
    lines = ["## Depth", "", f"From {_second(since)} to {_second(until)}; `·` is not known.", "", "```text"]
    plots = (
        ("backlog", [point.backlog for point in series.points], lambda value: number(int(value))),
        ("in/s", [point.in_per_second for point in series.points], rate),
        ("out/s", [point.out_per_second for point in series.points], rate),
    )
    for title, values, words in plots:
        lines += [title, *chart(values, WIDTH, HEIGHT, words), ""]
    return [*lines[:-1], "```", ""]


def _people(cancellation: Cancellation, audited: Sequence[AuditEntry]) -> list[str]:
    if not audited:
        role = _escaped(cancellation.created_role)
        return ["## Who", "", f"Committed by {_escaped(cancellation.created_by)} as the database role {role}.", ""]
    rows = [
        f"| {_second(each.at)} | {each.action} | {_escaped(each.author or '–')} | {_escaped(each.role)} "
        f"| {_escaped(each.address or 'local')} | {_escaped(each.source or '–')} |"
        for each in sorted(audited, key=lambda each: each.id)
    ]
    return [
        "## Who",
        "",
        "| when | did | author, as said | role | address | from |",
        "|---|---|---|---|---|---|",
        *rows,
    ]


def _second(moment: datetime) -> str:
    return readable(moment, digits=0)


def _escaped(text: str) -> str:
    """On one line, and escaped so that Markdown shows it as plain text."""
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", one_line(text))
