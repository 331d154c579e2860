"""`advise`: which index would make a filter's count quick, and what it costs; makes, lists and drops such indexes."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from secateur.cli.asking import consents
from secateur.cli.opening import CommandSession, find_place, open_session
from secateur.cli.output import done, json_line, line, notice, table, terminal_width, write
from secateur.cli.requesting import read_request
from secateur.engines.index_costs import IndexAdvice
from secateur.engines.indexing import FilterIndex, FilterIndexes
from secateur.errors import Conflict, SecateurError, UsageError
from secateur.instants import utc
from secateur.ledger.steps import CancellationSearch
from secateur.looking.indexing import hottest
from secateur.postgres.database import Database
from secateur.requests import CancellationRequest
from secateur.words.figures import number, percentage, runs
from secateur.words.lines import one_line
from secateur.words.tables import Column

REMEMBERED = 100
"""The newest cancellations among which hot fields are looked for."""


async def advise(arguments: argparse.Namespace) -> int:
    place = find_place(arguments, writes=arguments.create or arguments.drop is not None)
    if arguments.list or arguments.drop is not None:
        if arguments.app is not None or arguments.request is not None or arguments.create:
            raise UsageError("--list and --drop concern every index that secateur made: leave out the other flags")
        async with Database.connect(place.target.url, read_only=place.target.read_only) as database:
            return await _kept(FilterIndexes(database), arguments.drop, as_json=arguments.json)
    resolve = read_request(arguments, place.settings.zone)
    async with open_session(place) as session:
        request = resolve(await session.queue.reader.clock())
        if request.if_ is None and arguments.create:
            raise UsageError("--create makes an index for one filter: give it with --if")
        requests = [request] if request.if_ is not None else await _hot(session, request)
        found: list[tuple[CancellationRequest, IndexAdvice | None]] = []
        for each in requests:
            found.append((each, await session.queue.reader.advise_index(each)))
            if not arguments.json:
                write(_lines(*found[-1]))
        if not arguments.json and not requests:
            line("No cancellation and no suggestion of this app has an `if` yet that an index could serve: give --if.")
        made = await _made(session, arguments, found[-1][1]) if request.if_ is not None else None
    if arguments.json:
        json_line([_form(each, advice, made) for each, advice in found])
    return 0


async def _hot(session: CommandSession, request: CancellationRequest) -> list[CancellationRequest]:
    """The request with each of the filters that are likely to be asked again."""
    texts: list[str | None] = []
    try:
        past = await session.queue.cancellations.list(REMEMBERED, search=CancellationSearch(app_id=request.app_id))
        texts += [each.if_ for each in past]
    except SecateurError:
        pass  # a queue in which nothing can be cancelled has no record of it
    if session.queue.reader.can_suggest:
        suggested = await session.queue.reader.suggest(request.scopes)
        texts += [each.if_ for each in suggested.suggestions]
    return [request.model_copy(update={"if_": each}) for each in hottest(texts)]


async def _made(
    session: CommandSession, arguments: argparse.Namespace, advice: IndexAdvice | None
) -> FilterIndex | None:
    if advice is None:
        if arguments.create:
            raise Conflict("no index can look up any part of this `if`: none was made")
        return None
    asks = sys.stdin.isatty() and sys.stderr.isatty() and not arguments.json
    if not arguments.create:
        if advice.exists or not advice.helps or not asks or session.place.target.read_only:
            return None
        if not consents("Make it now, concurrently?"):
            return None
    made = await FilterIndexes(session.database).create(advice.plan)
    if advice.exists:
        return made
    done.append(f"the index {made.name} is there")
    if not arguments.json:
        write(["", f"Made {made.name}: {_size(made.bytes)}. Counts use it from now on.", f"  {_dropping(made)}"])
    return made


async def _kept(indexes: FilterIndexes, drop: str | None, *, as_json: bool) -> int:
    if drop is not None:
        dropped = await indexes.drop(drop)
        done.append(f"the index {dropped.name} is dropped")
        notice(f"Dropped {dropped.name} of {dropped.table}.")
    found = await indexes.all()
    if as_json:
        json_line([_index_form(each) for each in found])
    elif found:
        write(_table(found))
    elif drop is None:
        line("secateur has made no index on what filters read.")
    return 0


def _table(found: Sequence[FilterIndex]) -> Iterator[str]:
    titles = ("index", "of", "table", "size", "used", "state")
    columns = [Column(title, right=title in ("size", "used")) for title in titles]
    yield from table(columns, [_row(each) for each in found], terminal_width())


def _row(each: FilterIndex) -> tuple[str, ...]:
    state = "valid" if each.is_valid else "being made" if each.is_being_built else "not valid"
    return each.name, one_line(each.field or "?"), each.table, _size(each.bytes), number(each.scans), state


def _lines(request: CancellationRequest, advice: IndexAdvice | None) -> Iterator[str]:
    yield one_line(request.if_ or "")
    if advice is None:
        yield "  No index can look up any part of it. One serves ==, in and startsWith of a text, and ==, <, <=, > and"
        yield "  >= of a number, where a field of the event is compared with a literal, and && joins the parts."
        return
    if advice.count is None:
        yield f"  now         not counted within {_seconds(advice.seconds)}"
    else:
        yield f"  now         {_seconds(advice.seconds)} for {runs(advice.count.matched)}"
    if advice.exists:
        used = "counts use it" if advice.planner_agrees else "Postgres reads the table all the same: it finds too many"
        yield f"  index       {advice.plan.name} on {one_line(advice.plan.field)}: {used}"
        return
    if advice.seconds_with_index is not None and advice.read is not None:
        estimated = f"{_seconds(advice.seconds_with_index)}, estimated; it reads about {runs(advice.read)}"
        yield f"  with index  {estimated}"
    if advice.costs is not None:
        costs = advice.costs
        more = f"{costs.write_microseconds:.1f} µs more for each insert and claim"
        yield f"  costs       about {_size(costs.bytes)}; {more} ({percentage(costs.write_share)} of a bare insert)"
        yield f"  making it   about {_seconds(costs.build_seconds)}, while the queue goes on"
    else:
        yield f"  costs       not measured: {advice.why_no_costs}"
    if advice.planner_agrees is not None:
        yield f"  planner     {'would use it' if advice.planner_agrees else 'would not use it'}, says hypopg"
    yield f"  advice      {_verdict(advice)}"
    yield f"  {advice.plan.ddl};"


def _verdict(advice: IndexAdvice) -> str:
    if advice.seconds_with_index is None:
        return f"an index on {one_line(advice.plan.field)}, if few runs match: what it brings cannot be measured here"
    if advice.helps:
        return f"make it: secateur advise … --create, as the owner of {advice.plan.table}"
    return "do not make it: a count would not take half as long"


def _dropping(made: FilterIndex) -> str:
    return f"To drop it: secateur advise --drop {made.name}"


def _form(request: CancellationRequest, advice: IndexAdvice | None, made: FilterIndex | None) -> dict[str, Any]:
    if advice is None:
        return {"if": request.if_, "index": None, "made": None}
    return {
        "if": request.if_,
        "index": {**asdict(advice.plan), "ddl": advice.plan.ddl},
        "exists": advice.exists,
        "helps": advice.helps,
        "matched": None if advice.count is None else advice.count.matched,
        "seconds": advice.seconds,
        "runs_read": advice.read,
        "seconds_with_index": advice.seconds_with_index,
        "costs": None if advice.costs is None else asdict(advice.costs),
        "why_no_costs": advice.why_no_costs,
        "planner_agrees": advice.planner_agrees,
        "made": None if made is None else _index_form(made),
    }


def _index_form(each: FilterIndex) -> dict[str, Any]:
    return {**asdict(each), "made_at": None if each.made_at is None else utc(each.made_at)}


def _seconds(seconds: float) -> str:
    return f"{seconds:,.1f} s" if seconds >= 1 else f"{max(1, round(1000 * seconds))} ms"


def _size(octets: int) -> str:
    return f"{octets / 2**30:,.1f} GB" if octets >= 2**30 else f"{max(1, round(octets / 2**20)):,} MB"
