"""Fitting a table's columns into a width, so that rows never wrap and the important columns stay."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from secateur.words.lines import cells, fit


@dataclass(frozen=True, slots=True)
class Column:
    key: str
    title: str = ""
    """The heading, if it is not the key."""
    short: str = ""
    """The heading if space is short."""
    right: bool = True
    minimum: int = 0
    """The least width in cells, so that the column does not jump with every digit."""
    shrinks_to: int = 0
    """The width to which it may be cut if space is short; 0 for a column that is never cut."""
    grows_to: int = 0
    """The width to which it may grow if space is left."""
    rank: int = 0
    """If space runs out, the column with the lowest rank is dropped first (`EXTRA` before all); 0 always stays."""
    blank_if: str | None = None
    """The text of a cell without news; if all cells have it, the column is dropped before titles shrink."""
    only_news: bool = False
    """If all cells are without news, the column is left out, however much space there is."""


EXTRA = 1
"""The rank of a column that only fills space: dropped before anything else."""

ALWAYS = 1000
"""More than any rank."""

Texts = Mapping[str, str]
"""A row: the text of each column, by its key. A missing cell stays empty."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Which columns are shown, how wide, and how many cells apart."""

    columns: tuple[Column, ...]
    widths: tuple[int, ...]
    gap: int
    short: bool

    def titles(self) -> dict[str, str]:
        """The heading, as a row."""
        return {column.key: _title(column, short=self.short) for column in self.columns}

    def fitted(self, row: Texts) -> Iterator[tuple[str, str]]:
        """From left to right, each column's key and its cell, padded to the column's width after a gap."""
        gap = ""
        for column, width in zip(self.columns, self.widths, strict=True):
            yield column.key, gap + fit(row.get(column.key, ""), width, right=column.right)
            gap = " " * self.gap

    def line(self, row: Texts) -> str:
        return "".join(cell for _, cell in self.fitted(row))


def lay_out(
    columns: Sequence[Column],
    rows: Sequence[Texts],
    width: int | None = None,
    widest: dict[str, int] | None = None,
    *,
    overflows: bool = False,
) -> Layout:
    """The fullest layout that fits into `width` cells; without a width, every column is as wide as it needs to be.

    `widest` remembers the widest text of each column between calls, so that columns do not jump while
    the figures change. If no layout fits, the row is cut, or with `overflows` left for the terminal to wrap.
    """
    columns = [column for column in columns if not (column.only_news and _is_blank(column, rows))]
    seen = widest if widest is not None else {}
    for column in columns:
        lengths = [cells(row[column.key]) for row in rows if column.key in row]
        seen[column.key] = max([seen.get(column.key, column.minimum), *lengths])
    attempts = _attempts(columns, rows)
    if width is None:
        return attempts[0].natural(seen)
    for attempt in attempts:
        layout = attempt.layout(seen, width)
        if layout is not None:
            return layout
    return attempts[-1].shrunk(seen) if overflows else attempts[-1].cut(seen, width)


def _attempts(columns: Sequence[Column], rows: Sequence[Texts]) -> list[_Attempt]:
    """The layouts to try, the fullest first; each drops a little more."""
    essential = [column for column in columns if column.rank != EXTRA]
    newsworthy = [column for column in essential if not _is_blank(column, rows)]
    attempts = [
        _Attempt(columns, 2, short=False),
        _Attempt([column for column in columns if not _is_blank(column, rows)], 2, short=False),
        _Attempt(essential, 2, short=False),
        _Attempt(newsworthy, 2, short=False),
        _Attempt(newsworthy, 2, short=True),
        _Attempt(newsworthy, 1, short=True),
    ]
    kept = newsworthy
    for last in sorted((column for column in newsworthy if column.rank), key=lambda column: column.rank):
        attempts.append(_Attempt(kept, 1, short=True, shrink=True))
        kept = [column for column in kept if column is not last]
    attempts.append(_Attempt(kept, 1, short=True, shrink=True))
    return attempts


def _is_blank(column: Column, rows: Sequence[Texts]) -> bool:
    if column.blank_if is None:
        return False
    return all(row[column.key] == column.blank_if for row in rows if column.key in row)


def _title(column: Column, *, short: bool) -> str:
    return (column.short if short else "") or column.title or column.key


@dataclass(frozen=True, slots=True)
class _Attempt:
    columns: Sequence[Column]
    gap: int
    short: bool
    shrink: bool = False

    def natural(self, seen: Mapping[str, int]) -> Layout:
        """As wide as it needs to be."""
        return self._of(self._natural(seen))

    def shrunk(self, seen: Mapping[str, int]) -> Layout:
        """As narrow as it can be."""
        widths = self._natural(seen)
        return self._of(
            [min(width, column.shrinks_to or width) for column, width in zip(self.columns, widths, strict=True)]
        )

    def layout(self, seen: Mapping[str, int], width: int) -> Layout | None:
        """The layout, or None where it does not fit."""
        widths = self._natural(seen)
        slack = width - sum(widths) - self.gap * (len(widths) - 1)
        least_needed = sorted(enumerate(self.columns), key=lambda item: item[1].rank or ALWAYS)
        for index, column in least_needed:
            if self.shrink and slack < 0 and column.shrinks_to:
                given = min(-slack, max(0, widths[index] - column.shrinks_to))
                widths[index] -= given
                slack += given
        if slack < 0:
            return None
        for index, column in enumerate(self.columns):
            grown = max(0, min(slack, column.grows_to - widths[index]))
            widths[index] += grown
            slack -= grown
        return self._of(widths)

    def cut(self, seen: Mapping[str, int], width: int) -> Layout:
        """As many of the first columns as there is room for, the very first cut if need be."""
        shrunk = self.shrunk(seen)
        kept = 1
        while kept < len(self.columns) and sum(shrunk.widths[: kept + 1]) + self.gap * kept <= width:
            kept += 1
        widths = [min(shrunk.widths[0], width), *shrunk.widths[1:kept]]
        return Layout(tuple(self.columns[:kept]), tuple(widths), self.gap, self.short)

    def _natural(self, seen: Mapping[str, int]) -> list[int]:
        return [max(seen[column.key], cells(_title(column, short=self.short))) for column in self.columns]

    def _of(self, widths: Sequence[int]) -> Layout:
        return Layout(tuple(self.columns), tuple(widths), self.gap, self.short)
