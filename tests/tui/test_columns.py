"""Rows fit into any width, and give up what matters least first."""

from __future__ import annotations

import pytest
from rich.cells import cell_len

from secateur.words.tables import EXTRA, Column
from secateur_tui.frame.columns import Cell, lay_out_cells
from secateur_tui.queues.depth_rows import COLUMNS

NUMBERS = {column.key: Cell("1,234,567") for column in COLUMNS if column.key != "name"}
ROWS = [{"name": Cell("    vendor-syncs-of-a-long-name"), **NUMBERS}, {"name": Cell("▾ 課金"), **NUMBERS}]


@pytest.mark.parametrize("width", [*range(60, 130), 200])
def test_every_line_fits(width: int) -> None:
    layout = lay_out_cells(COLUMNS, ROWS, width)
    for content in (layout.heading(), *map(layout.line, ROWS)):
        assert cell_len(content.plain) <= width


@pytest.mark.parametrize("width", [0, 1, 5, 20])
def test_a_tiny_width_is_survived(width: int) -> None:
    layout = lay_out_cells(COLUMNS, ROWS, width)
    assert layout.line(ROWS[0]) is not None


@pytest.mark.parametrize("width", range(1, 60))
def test_in_a_tiny_width_there_are_fewer_columns_but_no_half_ones(width: int) -> None:
    layout = lay_out_cells(COLUMNS, ROWS, width)
    titles = layout.layout.titles()
    assert all(layout.width_of(key) >= len(titles[key]) for key in layout.keys[1:])
    assert cell_len(layout.heading().plain) <= width


def test_what_is_extra_goes_before_titles_shrink() -> None:
    columns = (Column("a", "alphabet", "abc"), Column("b", "bars", rank=EXTRA))
    row = {"a": Cell("1"), "b": Cell("▃▃▃▃")}
    assert lay_out_cells(columns, [row], 14).heading().plain == "alphabet  bars"
    assert lay_out_cells(columns, [row], 13).heading().plain == "alphabet"
    assert lay_out_cells(columns, [row], 7).heading().plain == "abc"


def test_a_column_without_news_goes_before_titles_shrink() -> None:
    columns = (Column("a", "alphabet", "abc"), Column("b", "scheduled", blank_if="0", rank=2))
    assert lay_out_cells(columns, [{"a": Cell("1"), "b": Cell("0")}], 12).heading().plain == "alphabet"
    assert lay_out_cells(columns, [{"a": Cell("1"), "b": Cell("7")}], 14).heading().plain == "abc  scheduled"


def test_columns_do_not_jump_when_a_number_gets_shorter() -> None:
    widest: dict[str, int] = {}
    columns = (Column("a", "n"), Column("b", "m"))
    before = lay_out_cells(columns, [{"a": Cell("10,000"), "b": Cell("1")}], 40, widest)
    after = lay_out_cells(columns, [{"a": Cell("9"), "b": Cell("1")}], 40, widest)
    assert before.layout.widths == after.layout.widths
