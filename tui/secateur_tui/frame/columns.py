"""The rows of a table in colour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from textual.content import Content

from secateur.words.lines import fit
from secateur.words.tables import Column, Layout, lay_out
from secateur_tui.themes import toned


@dataclass(frozen=True, slots=True)
class Cell:
    text: str
    tone: str = "plain"


Row = Mapping[str, Cell]


@dataclass(frozen=True, slots=True)
class ToneLayout:
    """A layout whose lines have the tones of their cells."""

    layout: Layout

    @property
    def keys(self) -> tuple[str, ...]:
        """The columns that are shown, from left to right."""
        return tuple(column.key for column in self.layout.columns)

    def width_of(self, key: str) -> int:
        """The width of a column; 0 if it is not shown."""
        return next((width for each, width in zip(self.keys, self.layout.widths, strict=True) if each == key), 0)

    def column_at(self, x: int) -> str | None:
        """The column that the cell of a line belongs to, with the gap before it."""
        end = 0
        for key, width in zip(self.keys, self.layout.widths, strict=True):
            end += width + (self.layout.gap if end else 0)
            if 0 <= x < end:
                return key
        return None

    def heading(self, marked: str = "", mark: str = "") -> Content:
        """The titles; `mark` stands at the title of the column `marked`, in the gap if there is no other room."""
        parts: list[tuple[str, str]] = []
        gap = ""
        for column, width in zip(self.layout.columns, self.layout.widths, strict=True):
            title = self.layout.titles()[column.key]
            if column.key != marked:
                parts.append((gap + fit(title, width, right=column.right), "quiet"))
            elif column.right:
                room = width + len(gap)
                parts.append((fit(f"{mark}{title}", room, right=True), "strong"))
            else:
                parts.append((gap + fit(f"{title} {mark}", width), "strong"))
            gap = " " * self.layout.gap
        return toned(*parts)

    def line(self, row: Row) -> Content:
        """The row on one line; a cell that the row lacks stays empty."""
        fitted = self.layout.fitted(_texts(row))
        return toned(*((text, row[key].tone if key in row else "plain") for key, text in fitted))


def lay_out_cells(
    columns: Sequence[Column], rows: Sequence[Row], width: int, widest: dict[str, int] | None = None
) -> ToneLayout:
    """As `lay_out` does it."""
    return ToneLayout(lay_out(columns, [_texts(row) for row in rows], width, widest))


def _texts(row: Row) -> dict[str, str]:
    return {key: cell.text for key, cell in row.items()}
