"""Fitting a table's columns into a width, so that rows never wrap and the important columns stay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from textual.content import Content

from secateur_tui.frame.figures import fit
from secateur_tui.themes import toned


@dataclass(frozen=True, slots=True)
class Cell:
    text: str
    tone: str = "plain"


@dataclass(frozen=True, slots=True)
class Column:
    key: str
    title: str
    short: str = ""
    """The title where space is short."""
    right: bool = True
    minimum: int = 0
    """Cells that it takes at least, so that it does not jump with every digit."""
    shrinks_to: int = 0
    """Cells that it may be cut to where space is short; 0 for a column that is never cut."""
    grows_to: int = 0
    """Cells that it may fill where space is left."""
    rank: int = 0
    """`EXTRA`, or where space runs out the lowest rank is given up first; 0 always stays."""
    blank_if: str | None = None
    """The text of a cell without news; if all cells have it, the column is given up before titles shrink."""
    only_news: bool = False
    """If all cells are without news, the column is left out, however much space there is."""


ALWAYS = 1000
EXTRA = 1
"""The rank of a column that is only there to fill space: given up before anything else."""


Row = Mapping[str, Cell]


@dataclass(frozen=True, slots=True)
class Layout:
    columns: tuple[Column, ...]
    widths: tuple[int, ...]
    gap: int
    short: bool

    def heading(self) -> Content:
        cells = {column.key: Cell(self._title(column), "quiet") for column in self.columns}
        return self.line(cells)

    def line(self, row: Row) -> Content:
        """The row on one line; a cell that the row lacks stays empty."""
        parts: list[tuple[str, str]] = []
        for column, width in zip(self.columns, self.widths, strict=True):
            cell = row.get(column.key, Cell(""))
            gap = " " * self.gap if parts else ""
            parts.append((gap + fit(cell.text, width, right=column.right), cell.tone))
        return toned(*parts)

    def _title(self, column: Column) -> str:
        return column.short or column.title if self.short else column.title


def lay_out(columns: Sequence[Column], rows: Sequence[Row], width: int, widest: dict[str, int] | None = None) -> Layout:
    """The fullest layout that fits into `width` cells.

    `widest` remembers the widest text of each column between calls, so that columns do not jump while
    the figures change.
    """
    columns = [column for column in columns if not (column.only_news and _is_blank(column, rows))]
    seen = widest if widest is not None else {}
    for column in columns:
        lengths = [cell_len(row[column.key].text) for row in rows if column.key in row]
        seen[column.key] = max([seen.get(column.key, column.minimum), *lengths])
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
    for attempt in attempts:
        layout = attempt.layout(seen, width)
        if layout is not None:
            return layout
    return attempts[-1].cut(seen, width)


def _is_blank(column: Column, rows: Sequence[Row]) -> bool:
    if column.blank_if is None:
        return False
    return all(row[column.key].text == column.blank_if for row in rows if column.key in row)


@dataclass(frozen=True, slots=True)
class _Attempt:
    columns: Sequence[Column]
    gap: int
    short: bool
    shrink: bool = False

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
        return Layout(tuple(self.columns), tuple(widths), self.gap, self.short)

    def cut(self, seen: Mapping[str, int], width: int) -> Layout:
        """As many of the first columns as there is room for: a window too small for any real layout."""
        widths: list[int] = []
        for natural in self._natural(seen):
            widths.append(max(0, min(natural, width)))
            width -= natural + self.gap
        return Layout(tuple(self.columns), tuple(widths), self.gap, self.short)

    def _natural(self, seen: Mapping[str, int]) -> list[int]:
        titles = (column.short or column.title if self.short else column.title for column in self.columns)
        return [max(seen[column.key], cell_len(title)) for column, title in zip(self.columns, titles, strict=True)]
