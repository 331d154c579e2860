"""`depth`, `history` and `show`."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from datetime import datetime

from secateur.cancellations import cancellation_json
from secateur.cli.cancelling import read_id
from secateur.cli.describing import cancellation_lines
from secateur.cli.opening import Session, find_place, open_session
from secateur.cli.output import duration, flush, json_line, line, notice, number, one_line, shorten, table
from secateur.depth import depth_json, drains_in
from secateur.errors import QueryTimeout, Unreachable
from secateur.requests import utc
from secateur.runs import FunctionDepth, Scope

LONGEST_CONDITION = 60
"""Characters of an expression that a line of the history shows."""

_HOME_AND_CLEAR = "\x1b[H\x1b[J"


async def depth(arguments: argparse.Namespace) -> int:
    place = find_place(arguments)
    async with open_session(place) as session:
        if arguments.watch:
            await _watch(session, as_json=arguments.json)
        else:
            _write_depth(await session.engine.depth(), as_json=arguments.json)
    return 0


async def _watch(session: Session, *, as_json: bool) -> None:
    """Until interrupted. A database that goes away is waited for."""
    clear = _HOME_AND_CLEAR if sys.stdout.isatty() and not as_json else ""
    while True:
        try:
            depths = await session.engine.depth()
        except (Unreachable, QueryTimeout) as error:
            notice(f"secateur: {one_line(str(error))}; trying again")
        else:
            sys.stdout.write(clear)
            _write_depth(depths, as_json=as_json)
            if not clear and not as_json:
                line()
            flush()
        await asyncio.sleep(session.place.settings.refresh_seconds)


def _write_depth(depths: Sequence[FunctionDepth], *, as_json: bool) -> None:
    if as_json:
        json_line(depth_json(depths))
    elif not depths:
        line("No app has registered a function yet: run a worker, or enqueue something.")
    else:
        headings = ("app", "function", "queued", "scheduled", "running", "cancelling", "oldest", "in/s", "out/s")
        rows = [_depth_row(each) for each in depths]
        for each in table((*headings, "drains in"), rows, left=2):
            line(each)


def _depth_row(depth: FunctionDepth) -> tuple[str, ...]:
    backlog = depth.queued + depth.scheduled
    drained = drains_in(backlog, depth.in_per_second, depth.out_per_second)
    drains = "-" if backlog == 0 else "never" if drained is None else duration(drained)
    counts = (depth.queued, depth.scheduled, depth.running, depth.cancelling)
    return (
        depth.app_id,
        depth.function_id,
        *map(number, counts),
        _age(depth.oldest_started_at, depth.as_of),
        f"{depth.in_per_second:,.1f}",
        f"{depth.out_per_second:,.1f}",
        drains,
    )


def _age(moment: datetime | None, now: datetime) -> str:
    return "-" if moment is None else duration((now - moment).total_seconds())


async def history(arguments: argparse.Namespace) -> int:
    place = find_place(arguments)
    async with open_session(place) as session:
        cancellations = await session.cancellations.list(arguments.limit)
    if arguments.json:
        json_line([cancellation_json(each) for each in cancellations])
    elif not cancellations:
        line("Nothing was ever cancelled here.")
    else:
        headings = ("id", "committed", "state", "by", "runs of", "if", "cancelled")
        rows = [
            (
                str(each.id),
                utc(each.created_at.replace(microsecond=0)),
                each.state,
                each.created_by,
                str(Scope(each.app_id, each.function_id)),
                shorten(each.if_ if each.if_ is not None else "(every run)", LONGEST_CONDITION),
                number(each.cancelled),
            )
            for each in cancellations
        ]
        for row in table(headings, rows, left=6):
            line(row)
    return 0


async def show(arguments: argparse.Namespace) -> int:
    place = find_place(arguments)
    cancellation_id = read_id(arguments.id)
    async with open_session(place) as session:
        cancellation = await session.cancellations.get(cancellation_id)
    if arguments.json:
        json_line(cancellation_json(cancellation))
    else:
        for each in cancellation_lines(cancellation, place.settings.zone):
            line(each)
    return 0
