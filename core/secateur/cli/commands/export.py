"""`export`: the runs that match, as JSON lines."""

from __future__ import annotations

import argparse
from contextlib import aclosing

from secateur.cli.asking import interruptible
from secateur.cli.opening import find_place, open_session
from secateur.cli.output import flush, json_text, line
from secateur.cli.progress import ProgressBar
from secateur.cli.requesting import read_request
from secateur.looking.forms import run_json
from secateur.runs import UNFINISHED, RunStatus
from secateur.words.figures import runs

UNENDED = "unfinished"
"""The status of what a cancellation would cancel."""

ANY = "any"


async def export(arguments: argparse.Namespace) -> int:
    """Nothing but runs goes to stdout. An interruption leaves whole lines."""
    place = find_place(arguments)
    resolve = read_request(arguments, place.settings.zone)
    many, progress = 0, ProgressBar()
    try:
        async with open_session(place) as session:
            reader = session.queue.reader
            request = resolve(await reader.clock())
            async with aclosing(reader.stream(request, _statuses(arguments.status))) as found:
                async for run in found:
                    text = json_text(run_json(run))
                    with interruptible():
                        line(text)
                    many += 1
                    progress.show(f"{runs(many)} exported")
        flush()
    finally:
        progress.end()
    return 0


def _statuses(name: str) -> tuple[RunStatus, ...]:
    if name == UNENDED:
        return UNFINISHED
    return tuple(RunStatus) if name == ANY else (RunStatus(name),)
