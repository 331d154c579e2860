"""The rows of what stands out: suggested filters first, then values, each with two shares.

5,000 runs, against billing / vendor-syncs before 13:20       now  before
event.data.vendor_id == 'acme_inc'                           96 %     4 %
vendor_id  acme_inc  █┃██████████████████████████▊           96 %     4 %
           globex    ▌          ┃                             2 %    41 %
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from textual.content import Content

from secateur.looking.suggestions import Baseline, Suggestions
from secateur.looking.wording import also, compared, compared_briefly, label, match_shares, percent, quality, shares
from secateur.runs import Functions, Scope
from secateur.words.figures import number, runs
from secateur.words.lines import cells, fit, one_line
from secateur_tui.frame.line_table import TableRow
from secateur_tui.themes import toned

if TYPE_CHECKING:
    from secateur.looking.blast import BlastRadius
    from secateur.looking.hot_values import HotField, HotValue

VALUES = 3
"""How many values of one field are shown, if there are several fields."""

_SHARE = 7
"""Cells for a share such as `>99.9 %`."""
_EIGHTHS = " ▏▎▍▌▋▊▉█"
_TICK = "┃"
_LEAST_BAR = 6


@dataclass(frozen=True, slots=True)
class Pick:
    """What a row offers: a suggested filter or, with a path, a value."""

    condition: str
    unless: str | None
    """The opposite condition; None for a suggested filter."""
    share: float
    other: float | None
    """The share that it is compared with."""
    shares: str
    """Both in words."""
    path: str = ""
    label: str = ""
    figures: str = ""
    """Further figures of a suggested filter."""
    also: str = ""
    """What else the filter hits."""

    @property
    def key(self) -> Hashable:
        return self.path, self.condition


@dataclass(frozen=True, slots=True)
class View:
    """An answer as it is shown: arrivals against what is usual, or matches against other runs."""

    about: str
    """What is compared with what."""
    titles: tuple[str, str]
    """The titles of the two shares; the second is empty if there is only one."""
    picks: tuple[Pick, ...]
    nothing: str
    """What it means that there are no rows."""
    brief: str = ""
    """The same as `about` in fewer words, if that is possible."""

    @classmethod
    def of_arrivals(cls, found: Suggestions, scope: Scope | Functions) -> View:
        filters = [
            Pick(
                *(each.if_, None, each.flood_share, each.baseline_share, shares(each, found)),
                figures=quality(each),
                also=also(each),
            )
            for each in found.suggestions
        ]
        values = _values(found.fields, lambda value: shares(value, found))
        known = found.baseline is not Baseline.NONE
        against = f"against {compared(found, scope)}" if known else compared(found, scope)
        alike = "what arrives is like what it is compared with" if known else "no value is frequent"
        second = {Baseline.BEFORE: "before", Baseline.OTHERS: "others", Baseline.NONE: ""}[found.baseline]
        about, picks = f"{runs(found.sampled)}, {against}", (*filters, *values)
        return cls(about, ("now", second), picks, alike, compared_briefly(found))

    @classmethod
    def of_matches(cls, found: BlastRadius) -> View:
        """The blast radius."""
        values = _values(found.fields, match_shares) if found.sampled else ()
        about = f"{number(found.sampled)} that match"
        if found.others:
            about += f", against {number(found.others)} that do not"
        alike = "what matches is like what does not" if found.sampled else "nothing matches"
        return cls(about, ("match", "others" if found.others else ""), values, alike)


def _values(fields: tuple[HotField, ...], in_words: Callable[[HotValue], str]) -> tuple[Pick, ...]:
    most = VALUES if len(fields) > 1 else None
    return tuple(
        Pick(
            *(value.if_, value.unless, value.flood_share, value.baseline_share, in_words(value)),
            path=field.path,
            label=label(value),
        )
        for field in fields
        for value in field.values[:most]
    )


def heading(view: View, age: str, width: int) -> Content:
    titles = "".join(f" {title:>{_SHARE}}" for title in view.titles if title)
    about = view.about if fits(view, age, width) or not view.brief else view.brief
    return toned((f"{fit(about + age, max(1, width - len(titles)))}{titles}", "quiet"))


def fits(view: View, age: str, width: int) -> bool:
    """Whether the heading has room for what is compared; otherwise it is told in full below."""
    return cells(view.about + age) <= width - sum(_SHARE + 1 for title in view.titles if title)


def rows(view: View, width: int) -> list[TableRow]:
    layout = _Layout.of(view, width)
    lines = []
    above = ""
    for pick in view.picks:
        lines.append(TableRow(pick.key, layout.line(pick, with_path=pick.path != above)))
        above = pick.path
    return lines


@dataclass(frozen=True, slots=True)
class _Layout:
    whole: int
    """Cells to the left of the shares: those of a filter, or of field, value and bar together."""
    field: int
    value: int
    bar: int
    """0 where there is no room for one."""
    has_second: bool

    @classmethod
    def of(cls, view: View, width: int) -> _Layout:
        has_second = bool(view.titles[1])
        whole = max(8, width - (_SHARE + 1) * (2 if has_second else 1))
        values = [each for each in view.picks if each.path]
        most = max(8, (whole - _LEAST_BAR - 2) // 2)
        field = min(max((cells(_short(each.path)) for each in values), default=0), most)
        value = min(max((cells(each.label) for each in values), default=0), most)
        bar = whole - field - value - 2
        if bar < _LEAST_BAR:
            value, bar = max(1, whole - field - 1), 0
        return cls(whole, field, value, bar, has_second)

    def line(self, pick: Pick, *, with_path: bool) -> Content:
        if not pick.path:
            text = toned((fit(_fitting(pick.condition, self.whole), self.whole), "strong"))
        else:
            path = _short(pick.path) if with_path else ""
            text = toned((f"{fit(path, self.field)} ", "field"), (fit(pick.label, self.value), "plain"))
            if self.bar:
                text += toned((f" {bar(pick.share, pick.other, self.bar)}", "chart"))
        return text + self._shares(pick.share, pick.other)

    def _shares(self, share: float, other: float | None) -> Content:
        text = toned((f" {_percent(share)}", "count" if other is not None and share > other else "plain"))
        if self.has_second:
            text += toned((f" {_percent(other)}", "quiet"))
        return text


def _percent(share: float | None) -> str:
    """The percentage, always of the same width."""
    return ("" if share is None else percent(share).replace("> ", ">").replace("< ", "<")).rjust(_SHARE)


def bar(share: float, other: float | None, width: int) -> str:
    """The share as a bar, with a tick at the other share."""
    eighths = max(1 if share > 0 else 0, round(min(1.0, share) * width * 8))
    filled = ("█" * (eighths // 8) + (_EIGHTHS[eighths % 8] if eighths % 8 else "")).ljust(width)
    if other is None:
        return filled
    at = round(min(1.0, other) * (width - 1))
    return filled[:at] + _TICK + filled[at + 1 :]


def _fitting(condition: str, width: int) -> str:
    """If there is no room, without the beginning that all fields share: the rest distinguishes the filters."""
    line = one_line(condition)
    return line if cells(line) <= width else line.replace("event.data.", "…")


def _short(path: str) -> str:
    """The field without the beginning that all fields share."""
    for start in ("event.data.", "event."):
        if path.startswith(start):
            return one_line(path.removeprefix(start))
    return one_line(path)
