"""`audit` and `retention`."""

from __future__ import annotations

import argparse
import json
from datetime import timedelta
from typing import TYPE_CHECKING

from secateur.cli.asking import consents, require_a_terminal
from secateur.cli.opening import CommandSession, find_place, open_session
from secateur.cli.output import done, fields, json_line, line, notice, table, terminal_width
from secateur.instants import utc
from secateur.ledger.forms import AuditForm
from secateur.runs import Scope
from secateur.words.lines import one_line, shorten
from secateur.words.tables import Column

if TYPE_CHECKING:
    from secateur.engines.base import Retention
    from secateur.records import AuditEntry

PAGE = 500
"""Entries that are read at once where only those of one app are wanted."""

LONGEST_DETAILS = 100
"""Characters of the details that a line shows to people."""


async def audit(arguments: argparse.Namespace) -> int:
    place = find_place(arguments)
    async with open_session(place) as session:
        found = await _entries(session, arguments.app, arguments.limit)
    if arguments.json:
        json_line([AuditForm.of(each).as_json() for each in found])
    elif not found:
        line(
            f"There is no audit entry for app {one_line(arguments.app)}."
            if arguments.app
            else "There is no audit entry."
        )
    else:
        columns = (
            Column("at", right=False),
            Column("action", right=False),
            Column("of", right=False, shrinks_to=22),
            Column("by", right=False, shrinks_to=6),
            Column("role", right=False, shrinks_to=6, rank=20),
            Column("source", right=False, rank=30),
            Column("details", right=False, shrinks_to=30, rank=10),
        )
        for row in table(columns, [_row(each) for each in found], terminal_width()):
            line(row)
    return 0


async def _entries(session: CommandSession, app_id: str | None, limit: int) -> list[AuditEntry]:
    """The newest first; of one app, as many pages as it takes."""
    found: list[AuditEntry] = []
    before: int | None = None
    while len(found) < limit:
        size = limit if app_id is None else PAGE
        page = await session.queue.cancellations.audit(size, before)
        found += [each for each in page if app_id in (None, each.app_id)]
        if len(page) < size:
            break
        before = page[-1].id
    return found[:limit]


def _row(entry: AuditEntry) -> tuple[str, ...]:
    scope = str(Scope(entry.app_id, entry.function_id)) if entry.app_id else "-"
    source = entry.source or entry.application_name or "-"
    details = {"cancellation": str(entry.cancellation_id), **entry.details} if entry.cancellation_id else entry.details
    return (
        utc(entry.at.replace(microsecond=0)),
        entry.action,
        scope,
        entry.author or "-",
        entry.role,
        source,
        shorten(json.dumps(details, ensure_ascii=False), LONGEST_DETAILS) if details else "",
    )


async def retention(arguments: argparse.Namespace) -> int:
    wanted = {name: getattr(arguments, name) for name in ("finished", "cancelled", "standing")}
    changes = any(value is not None for value in wanted.values())
    place = find_place(arguments, writes=changes)
    async with open_session(place) as session:
        if changes and not arguments.yes and not _agreed(await session.queue.controls.retention(), wanted):
            notice("Nothing was changed.")
            return 1
        if changes:
            kept = await session.queue.controls.set_retention(**wanted, author=place.settings.author_name, source="cli")
            done.append("retention is " + ", ".join(f"{name} {span(getattr(kept, name))}" for name in wanted))
        else:
            kept = await session.queue.controls.retention()
    if arguments.json:
        json_line({name: int(getattr(kept, name).total_seconds()) for name in wanted})
    else:
        for each in fields(_in_words(kept)):
            line(each)
    return 0


def _agreed(now: Retention, wanted: dict[str, timedelta | None]) -> bool:
    """Whether the user consents to a shorter retention. A longer one needs no consent."""
    lost = {
        "finished": "Runs that ended longer ago are deleted for good.",
        "cancelled": "Cancellations that ended longer ago can no longer be undone, and their runs are deleted.",
    }
    shorter = [name for name in lost if (length := wanted[name]) is not None and length < getattr(now, name)]
    if not shorter:
        return True
    require_a_terminal("add --yes to shorten it without being asked")
    for name in shorter:
        notice(f"{name}: {span(wanted[name] or timedelta())} instead of {span(getattr(now, name))}. {lost[name]}")
    return consents("Change it?")


def _in_words(kept: Retention) -> list[tuple[str, str]]:
    return [
        ("finished", f"{span(kept.finished)}: how long completed and failed runs are kept"),
        ("cancelled", f"{span(kept.cancelled)}: how long after its end a cancellation can be undone"),
        ("standing", f"{span(kept.standing)}: how far ahead a standing cancellation may end"),
    ]


def span(length: timedelta) -> str:
    """The length as the flags take it, in the largest unit that divides it."""
    seconds = int(length.total_seconds())
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds and seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
