"""What stands out, in words, shared by the console and the command line."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from secateur.looking.suggestions import Baseline, Suggestion, Suggestions
from secateur.runs import Functions, Scope
from secateur.words.figures import number, runs
from secateur.words.lines import one_line, shorten

if TYPE_CHECKING:
    from secateur.looking.hot_values import HotField, HotValue

LONGEST_VALUE = 40
"""The most characters of a value on one line."""


def label(value: HotValue) -> str:
    """The value as people read it: `acme_inc`, `missing`, `from 500`, `us-…`."""
    match value.kind:
        case "missing" | "null":
            return value.kind
        case "type":
            return f"a {value.value}"
        case "prefix":
            return f"{shown(value.value)}…"
        case "suffix":
            return f"…{shown(value.value)}"
        case "range" | "size":
            low, high = value.value
            ends = [f"from {low}"] * (low is not None) + [f"below {high}"] * (high is not None)
            return f"{'size ' if value.kind == 'size' else ''}{' '.join(ends)}"
        case "values":
            return " or ".join(map(shown, value.value))
    return shown(value.value)


def shown(value: object) -> str:
    """A value on one line, a string without quotes."""
    if isinstance(value, str) and value:
        return shorten(value, LONGEST_VALUE)
    from secateur.cel.syntax.writing import value_text

    return shorten(value_text(value), LONGEST_VALUE)


def percent(share: float) -> str:
    """A percentage that is 0 % or 100 % only if it is exactly so."""
    percents = 100 * share
    if 0 < percents < 1 or 99 < percents < 100:
        return f"{percents:.1f} %" if 0.1 <= percents <= 99.9 else ("< 0.1 %" if percents < 1 else "> 99.9 %")
    return f"{percents:.0f} %"


def shares(each: Suggestion | HotValue, found: Suggestions) -> str:
    """`96 % of arrivals since 13:20, 4 % before`."""
    text = f"{percent(each.flood_share)} of {_arrivals(found)}"
    if each.baseline_share is None:
        return text
    usual = percent(each.baseline_share)
    if found.baseline is Baseline.OTHERS:
        return f"{text}, {usual} of the other functions"
    return f"{text}, {usual} before"


def match_shares(each: HotValue) -> str:
    """For a blast radius: `96 % of what matches, 4 % of the other runs`."""
    text = f"{percent(each.flood_share)} of what matches"
    return text if each.baseline_share is None else f"{text}, {percent(each.baseline_share)} of the other runs"


def of_several(field: HotField) -> str:
    """Why matches are not of one piece: `event.data.vendor_id: 96 % acme_inc, 3 % globex, 1 % initech`."""
    values = ", ".join(f"{percent(each.flood_share)} {label(each)}" for each in field.values[:3])
    return f"{one_line(field.path)}: {values}"


def _arrivals(found: Suggestions) -> str:
    if found.since is None:
        return "all that is kept"
    until = f" until {_clock(found.until, found.as_of)}" if found.until else ""
    return f"arrivals since {_clock(found.since, found.as_of)}{until}"


def _clock(moment: datetime, now: datetime) -> str:
    """The time in UTC, to the minute; with the day if it is not today."""
    moment, now = moment.astimezone(UTC), now.astimezone(UTC)
    return f"{moment:%H:%M}" if moment.date() == now.date() else f"{moment:%m-%d %H:%M}"


def quality(each: Suggestion) -> str:
    """Precision, recall and how many runs match, as far as these are known."""
    parts = []
    if each.precision is not None and each.recall is not None:
        parts.append(f"precision {percent(each.precision)}, recall {percent(each.recall)}")
    parts.append(f"about {number(each.matched_estimate)} unfinished runs match")
    return "; ".join(parts)


def also(each: Suggestion) -> str:
    """What else the filter hits: `41 of globex, 3 of initech`; empty if nothing."""
    return ", ".join(f"{number(hit.runs)} of {shown(hit.value)}" for hit in each.also_hits)


def compared(found: Suggestions, scope: Scope | Functions) -> str:
    """What the arrivals are compared with, as people would name it."""
    match found.baseline:
        case Baseline.BEFORE:
            before = f" before {_clock(found.since, found.as_of)}" if found.since else " before"
            return f"{one_line(str(scope))}{before}"
        case Baseline.OTHERS:
            return f"{one_line(scope.app_id)}'s other functions"
    return "nothing to compare with: only the most frequent values"


def compared_briefly(found: Suggestions) -> str:
    """What is compared, in few words: over the shares, whose titles say the rest."""
    many = runs(found.sampled)
    match found.baseline:
        case Baseline.BEFORE:
            return f"{many} since {_clock(found.since, found.as_of)}" if found.since else many
        case Baseline.OTHERS:
            return f"{many} and the other functions"
    return f"{many}, nothing to compare with"
