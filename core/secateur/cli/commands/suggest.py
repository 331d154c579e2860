"""`suggest`."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from datetime import tzinfo

from secateur.cli.describing import instant
from secateur.cli.opening import find_place, open_session
from secateur.cli.output import json_line, line
from secateur.cli.requesting import read_span
from secateur.looking.forms import suggestions_form
from secateur.looking.hot_values import HotField, HotValue
from secateur.looking.listing import read_scope
from secateur.looking.suggestions import Baseline, Suggestion, Suggestions
from secateur.looking.wording import also, label, percent, quality
from secateur.words.figures import number, runs
from secateur.words.lines import one_line

SHOWN_VALUES = 4
"""The values that are shown of each field. The JSON has more."""

_COMPARED = {
    Baseline.BEFORE: "the same scope before",
    Baseline.OTHERS: "the app's other functions",
}


async def suggest(arguments: argparse.Namespace) -> int:
    place = find_place(arguments)
    zone = place.settings.zone
    scope = read_scope(arguments.app, arguments.function)
    async with open_session(place) as session:
        now = await session.queue.reader.clock()
        since, until = read_span(arguments, now, zone)
        found = await session.queue.reader.suggest(scope, since, until, arguments.limit)
    if arguments.json:
        json_line(suggestions_form(found).as_json())
    else:
        for each in _lines(found, zone):
            line(each)
    return 0


def _lines(found: Suggestions, zone: tzinfo) -> Iterator[str]:
    yield from _head(found, zone)
    yield ""
    if not found.suggestions:
        yield "No field distinguishes what arrives from what is usual."
    for each in found.suggestions:
        yield one_line(each.if_)
        yield f"    {_figures(each)}"
    if found.fields:
        yield ""
        yield "What stands out, with its share before:" if found.baseline is Baseline.BEFORE else "What stands out:"
    for field in found.fields:
        yield f"  {_field(field)}"


def _head(found: Suggestions, zone: tzinfo) -> Iterator[str]:
    if found.since is None:
        yield f"Arrivals have not grown, so this is about all that is kept: {runs(found.sampled)} sampled."
    else:
        why = "when arrivals grew" if found.since_found else "as asked"
        end = f" until {instant(found.until, zone)}" if found.until else ""
        yield f"Since {instant(found.since, zone)} ({why}){end}: {runs(found.sampled)} sampled."
    if found.baseline is Baseline.NONE:
        yield "There is nothing to compare with: these are only the most frequent values."
    else:
        yield f"Compared with {number(found.baseline_runs)} sampled runs of {_COMPARED[found.baseline]}."


def _figures(each: Suggestion) -> str:
    usual = "" if each.baseline_share is None else f", {percent(each.baseline_share)} before"
    parts = [f"{percent(each.flood_share)} of arrivals{usual}", quality(each)]
    if others := also(each):
        parts.append(f"of the sample also {others}")
    return "; ".join(parts)


def _field(field: HotField) -> str:
    values = "  ".join(_hot(each) for each in field.values[:SHOWN_VALUES])
    return f"{one_line(field.path)}:  {values}"


def _hot(each: HotValue) -> str:
    before = "" if each.baseline_share is None else f" ({percent(each.baseline_share)})"
    return f"{label(each)} {percent(each.flood_share)}{before}"
