"""`runs`, `run` and `why`: runs that are searched for, and single ones with all that is known of them."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from datetime import datetime, tzinfo

from secateur.cli.commands.past import clock
from secateur.cli.describing import run_lines
from secateur.cli.identifying import naming_run, read_run_id
from secateur.cli.opening import find_place, open_session
from secateur.cli.output import BOLD, json_line, line, notice, styled, table, terminal_width, write
from secateur.cli.requesting import read_span
from secateur.engines.searching import RunPage, RunSearch
from secateur.looking.forms import run_json
from secateur.looking.listing import read_search
from secateur.looking.telling import decided, others, sentence, timeline, touch_in_words
from secateur.looking.why import TouchEffect, Why
from secateur.looking.why_forms import why_form
from secateur.runs import Run, RunStatus
from secateur.words.figures import duration, number
from secateur.words.figures import runs as runs_in_words
from secateur.words.lines import one_line, shorten
from secateur.words.tables import Column

LONGEST_ERROR = 200
"""Characters of an error that a line of the runs shows."""


async def runs(arguments: argparse.Namespace) -> int:
    place = find_place(arguments)
    before = None if arguments.before is None else read_run_id(place, arguments.before)
    _search(arguments, before, None, None)  # complains before it connects
    async with open_session(place, statement_timeout=place.settings.query_timeout_seconds) as session:
        since, until = read_span(arguments, await session.queue.reader.clock(), place.settings.zone)
        search = _search(arguments, before, since, until)
        page = await session.queue.reader.runs(search)
        now = await session.queue.reader.clock()
    if arguments.json:
        json_line([run_json(run) for run in page])
    else:
        _write_table(page, search, now)
    _tell_more(page, search, now, place.settings.zone)
    return 0


def _search(
    arguments: argparse.Namespace, before: str | None, since: datetime | None, until: datetime | None
) -> RunSearch:
    return read_search(
        arguments.app,
        arguments.function,
        status=arguments.status or RunStatus.FAILED,
        if_=arguments.if_,
        since=since,
        until=until,
        limit=arguments.limit,
        before=before,
        newest=not arguments.oldest,
    )


def _write_table(page: RunPage, search: RunSearch, now: datetime) -> None:
    if not page:
        scope = one_line(", ".join([str(search.scopes[0]), *(each.function_id or "" for each in search.scopes[1:])]))
        is_ = "matches" if search.searches else f"is {search.status}" if search.status else "is kept"
        line(f"No run of {scope} {is_}{'' if page.next is None else ' so far'}.")
        return
    failed = search.status is RunStatus.FAILED
    columns = (
        Column("run", right=False),
        Column("function", right=False, shrinks_to=8),
        *(() if search.status else (Column("status", right=False),)),
        Column("attempt", rank=10),
        Column("ended" if failed else "started"),
        Column("error" if failed else "last error", right=False, shrinks_to=10),
    )
    rows = [_run_row(run, now, with_status=search.status is None) for run in page]
    for each in table(columns, rows, terminal_width()):
        line(each)


def _run_row(run: Run, now: datetime, *, with_status: bool) -> tuple[str, ...]:
    moment = (run.finished_at if run.status is RunStatus.FAILED else None) or run.started_at
    told = "its lease has expired: no live worker has it" if run.lost else run.error or "-"
    status = (str(run.status),) if with_status else ()
    age = duration((now - moment).total_seconds())
    return (run.id, run.function_id, *status, str(run.attempt), f"{age} ago", shorten(told, LONGEST_ERROR))


def _tell_more(page: RunPage, search: RunSearch, now: datetime, zone: tzinfo) -> None:
    """Says how to get the next page, and how far the search came if the last line does not show that."""
    if page.next is None:
        return
    came = ""
    if len(page) < search.limit:
        back = (
            "" if page.back_to is None else f" {'back' if search.newest else 'up'} to {clock(page.back_to, now, zone)}"
        )
        came = f"Looked at {runs_in_words(page.looked_at)}{back}. "
    notice(f"{came}There may be more: add --before {page.next}")


async def run(arguments: argparse.Namespace) -> int:
    place = find_place(arguments)
    run_id = read_run_id(place, arguments.run)
    async with open_session(place) as session:
        reader = session.queue.reader
        with naming_run(run_id):
            found = await reader.run(run_id)
        why = await reader.why(run_id) if reader.can_tell_why and not arguments.json else None
        now = await reader.clock()
    if arguments.json:
        json_line(run_json(found))
        return 0
    zone = place.settings.zone
    if why is not None:
        write([styled(sentence(why), BOLD), ""])
    write((*run_lines(found, zone), "", *_timeline_lines(found, why, now, zone)))
    if why is not None:
        write((*_steps(why), *_cancellations(why)))
    return 0


def _timeline_lines(run: Run, why: Why | None, now: datetime, zone: tzinfo) -> Iterator[str]:
    rows = [
        (clock(each.at, now, zone), f"{each.what}{' (to come)' if each.at > now else ''}", each.details or "-")
        for each in timeline(run, why.trace if why else None)
    ]
    columns = (Column("at", right=False), Column("what", right=False), Column("details", right=False))
    yield from table(columns, [tuple("" if cell == "-" else cell for cell in row) for row in rows], terminal_width())


def _steps(why: Why) -> Iterator[str]:
    if why.trace.steps:
        yield ""
        rows = [(each.name, f"{number(each.size)} B") for each in why.trace.steps]
        yield from table((Column("finished step", right=False), Column("result")), rows, terminal_width())


async def why(arguments: argparse.Namespace) -> int:
    place = find_place(arguments)
    run_id = read_run_id(place, arguments.run)
    async with open_session(place) as session:
        with naming_run(run_id):
            found = await session.queue.reader.why(run_id)
    if arguments.json:
        json_line(why_form(found).as_json())
        return 0
    write([styled(sentence(found), BOLD), *(f"Besides: {each}" for each in others(found)), *_cancellations(found)])
    return 0


def _cancellations(why: Why) -> Iterator[str]:
    """Every cancellation that has to do with the run, with its id and the parts that decided."""
    for touch in why.touches:
        yield ""
        yield f"{touch_in_words(touch, why.trace.as_of)}."
        yield f"  {'retry' if touch.effect is TouchEffect.RETRIED else 'cancellation'}  {touch.cancellation.id}"
        if touch.cancellation.if_ is not None:
            yield f"  if            {one_line(touch.cancellation.if_)}"
        for part in touch.decided_by:
            yield f"  decided by    {decided(part)}"
