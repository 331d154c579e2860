"""Queues with thousands of functions: only what is in sight is drawn, and keys act only on what is in sight."""

from __future__ import annotations

from typing import Any

import pytest
from console_driver import NARROW, Console, Start

from secateur.postgres.database import Database
from secateur.runs import Scope
from secateur_tui.queues import depth_rows
from secateur_tui.queues.depth_table import DepthTable
from secateur_tui.queues.screen import QueuesScreen

FUNCTIONS = 3_000


@pytest.fixture
async def monolith_url(embedded_url: str) -> str:
    async with Database.connect(embedded_url) as database:
        await database.execute(
            "select secateur.enqueue('monolith', 'function-number-' || n, '{}') from generate_series(0, $1) as n",
            FUNCTIONS - 1,
        )
    return embedded_url


def table_of(console: Console) -> DepthTable:
    return console.app.screen.query_one(DepthTable)


def is_marked(console: Console, name: str) -> bool:
    """Names that are too long have lost their middle."""
    return any("▌" in line and name[-4:] in line for line in console.text.splitlines())


async def test_only_rows_in_sight_are_drawn(start: Start, monolith_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with start(monolith_url, refresh_seconds=3600) as console:
        await console.shows("3,000 functions")
        drawn = 0
        make = depth_rows.row

        def counting(*arguments: object, **options: object) -> object:
            nonlocal drawn
            drawn += 1
            return make(*arguments, **options)  # type: ignore[arg-type]

        monkeypatch.setattr(depth_rows, "row", counting)
        table = table_of(console)
        table.show_depth(await console.app.session.queue.reader.depth())
        await console.pilot.pause()
        assert 0 < drawn <= 2 * table.size.height
        drawn = 0
        await console.press("j")
        assert drawn <= 2
        await console.press("G")
        assert drawn <= 2 * table.size.height
        await console.until(lambda: is_marked(console, "function-number-999"))


async def test_the_cursor_moves_without_a_layout(
    start: Start, monolith_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes as long as all else that a key does."""
    async with start(monolith_url, refresh_seconds=3600) as console:
        await console.shows("3,000 functions")
        await console.press("j")
        laid_out = 0
        lay_out = QueuesScreen._refresh_layout

        def counting(self: QueuesScreen, *arguments: Any, **options: Any) -> None:
            nonlocal laid_out
            laid_out += 1
            lay_out(self, *arguments, **options)

        monkeypatch.setattr(QueuesScreen, "_refresh_layout", counting)
        await console.press("j", "j", "k")
        assert laid_out == 0


async def test_a_find_that_is_given_up_leaves_the_cursor_in_sight(start: Start, monolith_url: str) -> None:
    async with start(monolith_url) as console:
        await console.shows("3,000 functions")
        await console.press("G")
        chosen = table_of(console).scope
        assert chosen is not None
        await console.press("slash")
        await console.type("2999")
        await console.shows("only “2999”", "function-number-2999")
        await console.press("escape")
        assert table_of(console).scope == chosen
        await console.until(lambda: is_marked(console, str(chosen.function_id)))


async def test_what_was_found_stays_in_sight(start: Start, monolith_url: str) -> None:
    async with start(monolith_url) as console:
        await console.shows("3,000 functions")
        await console.press("slash")
        await console.type("2999")
        await console.press("enter", "down")
        assert table_of(console).scope == Scope("monolith", "function-number-2999")
        await console.press("escape")
        await console.until(lambda: is_marked(console, "function-number-2999"))
        await console.press("p")
        await console.shows("Pause monolith / function-number-2999?")
        await console.press("escape")
        await console.pilot.resize_terminal(60, 15)
        await console.until(lambda: is_marked(console, "function-number-2999"))
        await console.press("enter")
        await console.shows("Matches")
        await console.press("escape")
        await console.until(lambda: is_marked(console, "function-number-2999"))


async def test_a_find_without_result_says_so(start: Start, incident_url: str) -> None:
    async with start(incident_url) as console:
        await console.shows("flood")
        before = table_of(console).scope
        await console.press("slash")
        await console.type("nothing-like-it")
        await console.shows("nothing is called so: “nothing-like-it”")
        await console.press("escape")
        assert table_of(console).scope == before


@pytest.mark.parametrize("find", ["invoices", "growth", "nothing-like-it"])
async def test_finding_takes_no_column_away(start: Start, incident_url: str, find: str) -> None:
    async with start(incident_url, size=NARROW) as console:
        await console.shows("flood")
        heading = console.text.splitlines()[2].split()
        assert "▾queued" in heading
        await console.press("slash")
        await console.type(find)
        await console.shows(f"only “{find}”")
        assert console.text.splitlines()[2].split() == heading
