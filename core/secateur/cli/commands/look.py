"""`depth`, `history` and `show`."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from datetime import datetime, tzinfo
from typing import TYPE_CHECKING

from secateur.cli.commands.past import clock, write_history
from secateur.cli.describing import cancellation_lines, condition_in_words, run_lines
from secateur.cli.identifying import read_id, read_uuid, require_any_id
from secateur.cli.opening import CommandSession, find_place, open_session
from secateur.cli.output import flush, json_line, line, notice, table, terminal_width, write
from secateur.cli.requesting import read_span
from secateur.engines.unknown import no_such
from secateur.errors import NotFound, QueryTimeout, Unreachable, Unsupported, UsageError
from secateur.instants import utc
from secateur.ledger.forms import cancellation_form
from secateur.ledger.steps import EVERY_CANCELLATION
from secateur.ledger.wording import phase
from secateur.looking.depth import Trend, grows_since, outlook
from secateur.looking.forms import depth_form, run_json
from secateur.looking.listing import read_cancellation_search, read_scope
from secateur.runs import FunctionDepth, Scope
from secateur.words.figures import duration, number
from secateur.words.lines import cells, one_line, shorten
from secateur.words.tables import Column

if TYPE_CHECKING:
    from secateur.ledger.steps import Unrestored
    from secateur.records import Cancellation

MOST_LEFT = 20
"""Runs that a retry left, or could not take back, that `show` lists; the API has them all."""

LONGEST_CONDITION = 60
"""Characters of an expression that a line of the history shows."""

_HOME_AND_CLEAR = "\x1b[H\x1b[J"


async def depth(arguments: argparse.Namespace) -> int:
    place = find_place(arguments)
    if arguments.function is not None and arguments.app is None:
        raise UsageError("--function needs --app: an app has it")
    if arguments.watch and arguments.history is not None:
        raise UsageError("--watch shows what is now, and --history what was: give one of them")
    scope = None if arguments.app is None else read_scope(arguments.app, arguments.function)
    async with open_session(place) as session:
        if arguments.history is not None:
            await write_history(session, scope, arguments.history, as_json=arguments.json)
        elif arguments.watch:
            await _watch(session, scope, as_json=arguments.json)
        else:
            _write_depth(session, await _read_depth(session, scope), as_json=arguments.json)
    return 0


async def _read_depth(session: CommandSession, scope: Scope | None) -> Sequence[FunctionDepth]:
    reader = session.queue.reader
    if scope is None:
        return await reader.depth()
    depths = await reader.depth_of(scope)
    if not depths:
        raise no_such(scope, await reader.depth(with_growth=False))
    return depths


async def _watch(session: CommandSession, scope: Scope | None, *, as_json: bool) -> None:
    """Until interrupted. A database that goes away is waited for."""
    clear = _HOME_AND_CLEAR if sys.stdout.isatty() and not as_json else ""
    while True:
        try:
            depths = await _read_depth(session, scope)
        except (Unreachable, QueryTimeout) as error:
            notice(f"secateur: {one_line(str(error))}; trying again")
        else:
            sys.stdout.write(clear)
            _write_depth(session, depths, as_json=as_json)
            if not clear and not as_json:
                line()
            flush()
        await asyncio.sleep(session.place.settings.refresh_seconds)


def _write_depth(session: CommandSession, depths: Sequence[FunctionDepth], *, as_json: bool) -> None:
    if as_json:
        json_line([depth_form(each).as_json() for each in depths])
    elif not depths:
        line("There are no functions yet: start a worker, or enqueue a run.")
    else:
        columns = (
            Column("app", right=False, shrinks_to=8),
            Column("function", right=False, shrinks_to=12),
            Column("queued"),
            Column("scheduled", rank=10),
            Column("running"),
            Column("lost", rank=15),
            Column("failed", rank=25),
            Column("cancelling", rank=20),
            Column("oldest"),
            Column("in/s", rank=30),
            Column("out/s", rank=30),
            Column("drains in"),
            Column("growing since", short="growing", blank_if="-", only_news=True),
        )
        zone = session.place.settings.zone
        for each in table(columns, [_depth_row(each, zone) for each in depths], terminal_width()):
            line(each)


def _depth_row(depth: FunctionDepth, zone: tzinfo) -> tuple[str, ...]:
    counts = (depth.queued, depth.scheduled, depth.running, depth.lost, depth.failed, depth.cancelling)
    rates = (depth.in_per_second, depth.out_per_second)
    return (
        depth.app_id,
        depth.function_id,
        *("-" if each is None else number(each) for each in counts),
        _age(depth.oldest_claimable_at, depth.as_of),
        *("-" if each is None else f"{each:,.1f}" for each in rates),
        _outlook(depth),
        "-" if (since := grows_since(depth)) is None else clock(since, depth.as_of, zone),
    )


def _outlook(depth: FunctionDepth) -> str:
    found = outlook(depth)
    if found.trend is Trend.DRAINING and found.drains_in_seconds is not None:
        return duration(found.drains_in_seconds)
    return "-" if found.trend is Trend.EMPTY else str(found.trend)


def _age(moment: datetime | None, now: datetime) -> str:
    return "-" if moment is None else duration((now - moment).total_seconds())


async def history(arguments: argparse.Namespace) -> int:
    place = find_place(arguments)
    before = None if arguments.before is None else read_id(arguments.before)
    read_cancellation_search(arguments.app, arguments.function, states=arguments.state or ())
    async with open_session(place) as session:
        now = await session.queue.reader.clock()
        since, until = read_span(arguments, now, place.settings.zone)
        search = read_cancellation_search(
            arguments.app, arguments.function, states=arguments.state or (), since=since, until=until
        )
        if before is not None:
            await session.queue.cancellations.get(before)  # refuses one that there is not
        cancellations = await session.queue.cancellations.list(arguments.limit, before, search)
    if arguments.json:
        json_line([cancellation_form(each).as_json() for each in cancellations])
    elif not cancellations:
        asked = search != EVERY_CANCELLATION or before is not None
        line("There is no such cancellation." if asked else "There are no cancellations yet.")
    else:
        for row in _history_lines(cancellations, now, terminal_width()):
            line(row)
    if len(cancellations) == arguments.limit:
        notice(f"There may be more: add --before {cancellations[-1].id}")
    return 0


def _history_lines(cancellations: Sequence[Cancellation], now: datetime, width: int | None) -> list[str]:
    """One line each where there is room for it; otherwise two, so that nothing is left out."""
    titles = ("id", "state", "committed", "cancelled", "by", "runs of", "if")
    columns = [Column(title, right=title == "cancelled") for title in titles]
    rows = [_history_row(each, now) for each in cancellations]
    whole = table(columns, [(*row[:-1], shorten(row[-1], LONGEST_CONDITION)) for row in rows])
    if width is None or max(map(cells, whole[1:])) <= width:
        return whole
    headings, *firsts = table(columns[:4], [row[:4] for row in rows], width)
    seconds = [shorten(f"  {scope}, by {author}: {condition}", width) for *_, author, scope, condition in rows]
    return [headings, *(each for pair in zip(firsts, seconds, strict=True) for each in pair)]


def _history_row(cancellation: Cancellation, now: datetime) -> tuple[str, ...]:
    return (
        str(cancellation.id),
        f"{phase(cancellation, now)}{' (odd)' if cancellation.odd else ''}",
        utc(cancellation.created_at.replace(microsecond=0)),
        f"{number(cancellation.retried)} retried" if cancellation.is_retry else number(cancellation.cancelled),
        cancellation.created_by,
        str(cancellation.scope),
        condition_in_words(cancellation),
    )


async def show(arguments: argparse.Namespace) -> int:
    place = find_place(arguments)
    require_any_id(place, arguments.id)
    cancellation_id = read_uuid(arguments.id)
    async with open_session(place) as session:
        if cancellation_id is None:
            return await _show_run(session, arguments.id, as_json=arguments.json)
        try:
            cancellation = await session.queue.cancellations.get(cancellation_id)
        except (NotFound, Unsupported):
            return await _show_run(session, arguments.id, as_json=arguments.json)
        left: Sequence[Unrestored] = ()
        if cancellation.is_retry and (cancellation.left_alone or cancellation.not_restored) and not arguments.json:
            left = await session.queue.cancellations.unrestored(cancellation_id, MOST_LEFT)
        now = await session.queue.reader.clock()
    if arguments.json:
        json_line(cancellation_form(cancellation).as_json())
    else:
        write(cancellation_lines(cancellation, now, place.settings.zone))
        write(f"  {one.run_id}  {one_line(one.reason)}" for one in left)
    return 0


async def _show_run(session: CommandSession, run_id: str, *, as_json: bool) -> int:
    try:
        run = await session.queue.reader.run(run_id)
    except NotFound:
        raise NotFound(f"there is no cancellation and no run {run_id}") from None
    if as_json:
        json_line(run_json(run))
    else:
        write(run_lines(run, session.place.settings.zone))
    return 0
