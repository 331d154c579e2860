"""`undo` and `restore-run`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from datetime import tzinfo
from typing import TYPE_CHECKING, Any

from secateur.cli.asking import consents, require_a_terminal
from secateur.cli.describing import follow, instant, pending, scope_in_words
from secateur.cli.identifying import naming_run, read_id, read_run_id
from secateur.cli.opening import CommandSession, find_place, open_session
from secateur.cli.output import done, fields, json_line, line, notice, warning, write
from secateur.cli.waiting import wait_for
from secateur.ledger.forms import UnrestoredForm, cancellation_form
from secateur.ledger.wording import undo_waits
from secateur.states import State
from secateur.words.figures import number, runs
from secateur.words.lines import one_line
from secateur.words.shell import command_line

if TYPE_CHECKING:
    from secateur.ledger.steps import Unrestored
    from secateur.records import Cancellation

MOST_LISTED = 20
"""Runs that could not be restored that people are shown; --json has them all."""


async def undo(arguments: argparse.Namespace) -> int:
    place = find_place(arguments, writes=True)
    cancellation_id = read_id(arguments.id)
    if not arguments.yes:
        require_a_terminal("add --yes to undo without being asked")
    async with open_session(place) as session:
        found = await session.queue.cancellations.get(cancellation_id)
        told = _prospect(found, place.settings.zone, requeue=arguments.requeue_stopped)
        if not arguments.json:
            write(told)
        elif not arguments.yes:
            notice("\n".join(told))
        if not (arguments.yes or consents("Undo it?")):
            notice("Nothing was changed.")
            return 1
        undone = await session.queue.cancellations.undo(
            cancellation_id,
            author=place.settings.author_name,
            source="cli",
            requeue_stopped=arguments.requeue_stopped,
        )
        done.append(f"{undone.id} is undone{follow(undone.id)}")
        if not arguments.json:
            write(_undone(undone, waits=arguments.wait))
        left: Sequence[Unrestored] = ()
        # Where no worker of secateur's is, there may be nobody else to do it.
        waits = arguments.wait or not (undone.gated or undone.is_retry)
        if waits:
            undone = await wait_for(session, undone)
            left = await _left(session, undone)
    if arguments.json:
        json_line(_as_json(undone, left) if waits else cancellation_form(undone).as_json())
    elif waits:
        write(_report(undone, left))
    return 0


async def restore_run(arguments: argparse.Namespace) -> int:
    place = find_place(arguments, writes=True)
    run_id = read_run_id(place, arguments.run)
    async with open_session(place) as session:
        with naming_run(run_id):
            undone = await session.queue.cancellations.restore_run(
                run_id,
                author=place.settings.author_name,
                source="cli",
                requeue_stopped=arguments.requeue_stopped,
            )
        done.append(f"the cancellation of run {run_id} is undone{follow(undone.id)}")
        left = await _left(session, undone)
    if arguments.json:
        json_line(_as_json(undone, left))
    elif undone.is_pending:
        write(["Restoring.", *pending(undone)])
    elif left:
        notice(f"secateur: run {run_id} is not back: {one_line(left[0].reason)}")
    else:
        line("Restored: it waits again." if undone.restored else "It had not stopped yet and goes on.")
    return 1 if left else 0


async def _left(session: CommandSession, undone: Cancellation) -> Sequence[Unrestored]:
    return await session.queue.cancellations.unrestored(undone.id, undone.cancelled + undone.retried + 1)


def _as_json(undone: Cancellation, left: Sequence[Unrestored]) -> dict[str, Any]:
    unrestored = [UnrestoredForm.of(each).as_json() for each in left]
    return {**cancellation_form(undone).as_json(), "unrestored": unrestored}


def _prospect(cancellation: Cancellation, zone: tzinfo, *, requeue: bool) -> list[str]:
    """What an undo will do, before it is asked for."""
    by = f"by {one_line(cancellation.created_by)}, {instant(cancellation.created_at, zone)}"
    what = "retry" if cancellation.is_retry else "cancellation"
    lines = [f"Undo the {what} of {scope_in_words(cancellation)}, committed {by}:"]
    if cancellation.if_ is not None:
        lines.append(f"  if {one_line(cancellation.if_)}")
    if cancellation.is_retry:
        told = f"those of {runs(cancellation.waiting)} that have not begun"
        pairs = [("back as before", told)]
        if cancellation.undo_until is not None:
            pairs.append(("possible until", instant(cancellation.undo_until, zone)))
        return [*lines, *(f"  {each}" for each in fields(pairs))]
    if cancellation.state == State.ACTIVE:
        lines.append("  From then on it matches nothing.")
    pairs = [("back as before", f"{runs(cancellation.waiting)} that waited")]
    if cancellation.stopped and requeue:
        pairs.append(("queued again", f"{runs(cancellation.stopped)}, stopped while running"))
    elif cancellation.stopped:
        told = "stopped while running; use --requeue-stopped to queue these again"
        pairs.append(("still cancelled", f"{runs(cancellation.stopped)}, {told}"))
    if cancellation.stopping:
        pairs.append(("goes on", f"{runs(cancellation.stopping)}, asked to stop and still running"))
    if cancellation.pruned:
        pairs.append(("not kept", f"{runs(cancellation.pruned)}, deleted since"))
    pairs.append(("goes over", "what another cancellation matches too, to that one"))
    if cancellation.undo_until is not None:
        pairs.append(("possible until", instant(cancellation.undo_until, zone)))
    if (why := undo_waits(cancellation)) is not None:
        pairs.append(("undo", warning(why)))
    return [*lines, *(f"  {each}" for each in fields(pairs))]


def _undone(undone: Cancellation, *, waits: bool) -> list[str]:
    if not undone.restoring:
        return ["Already undone: every run that could be restored is back."]
    lines = ["Undone: it no longer matches anything, and its runs are coming back."]
    if undone.is_pending:
        lines = ["Undone.", *pending(undone)]
    elif undone.is_retry:
        lines = ["Undone: it queues no more runs, and runs that have not begun become what they were."]
    if not waits:
        lines += [
            "  Any running secateur console, worker or server puts them back.",
            f"  Follow it:    {command_line('show', str(undone.id))}",
            f"  Wait for it:  {command_line('undo', str(undone.id), switches=['--yes', '--wait'])}",
        ]
    return lines


def _report(undone: Cancellation, left: Sequence[Unrestored]) -> list[str]:
    how = "as before again" if undone.is_retry else "restored"
    lines = [f"{runs(undone.restored)} {how}, {number(len(left))} not."]
    lines += [f"  {each.run_id}  {one_line(each.reason)}" for each in left[:MOST_LISTED]]
    if len(left) > MOST_LISTED:
        lines.append(f"  … and {number(len(left) - MOST_LISTED)} more; --json has them all")
    return lines
