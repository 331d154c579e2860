"""The rows of a table in colour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from textual.content import Content

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

    def heading(self) -> Content:
        return self.line({key: Cell(title, "quiet") for key, title in self.layout.titles().items()})

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
