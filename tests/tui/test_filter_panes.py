"""Filter's panes by keyboard: the histogram's range, the examples in tabs, the payload as JSON that folds."""

from __future__ import annotations

import json
import re
import time

import pytest
from console_driver import Console, Start
from standing_incident import ACME, ARRIVING, CULPRIT
from textual.widgets import Input

from secateur_tui.filter.editor import ExpressionEditor
from secateur_tui.filter.examples import Examples
from secateur_tui.filter.histogram import HistogramChart
from secateur_tui.filter.lower import LowerArea
from secateur_tui.filter.screen import FilterScreen
from secateur_tui.filter.tabs import EXAMPLES, Tab, TabStrip
from secateur_tui.frame.payload_tree import PayloadTree


def expression(console: Console) -> str:
    return console.app.screen.query_one(ExpressionEditor).text


def typed(console: Console, field: str) -> str:
    return console.app.screen.query_one(f"#{field}", Input).value


async def test_a_range_of_the_histogram_becomes_the_window(start: Start, incident_url: str) -> None:
    """The arriving runs start an hour ahead of the clock, the flood two hours before it."""
    async with start(incident_url) as console:
        await console.filter_for("vendor-syncs", CULPRIT)
        await console.counted()
        await console.focus(HistogramChart)
        await console.shows("enter takes it")
        await console.press("shift+left", "shift+left")
        await console.shows(f"{ARRIVING} of {ARRIVING}", "enter take range")
        await console.press("enter")
        assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ", typed(console, "started_after"))
        assert typed(console, "started_before") == ""
        await console.shows(f"✓ {ARRIVING} ")
        await console.press("home", "enter")
        await console.until(lambda: typed(console, "started_before") != "")


async def test_tabs_show_their_examples_and_counts(start: Start, incident_url: str, size: tuple[int, int]) -> None:
    async with start(incident_url, size=size) as console:
        await console.filter_for("vendor-syncs", f"{CULPRIT} && event.data.amount > 100")
        await console.counted()
        await console.focus(Examples)
        examples = console.app.screen.query_one(Examples)
        assert examples.amount(Tab.MATCH) == examples.amount(Tab.NEAR) == 20
        await console.press("end")
        await console.until(lambda: examples.amount(Tab.MATCH) == 40)
        await console.press("]")
        await console.shows("kept out by")
        await console.press("]")
        await console.shows("(missing)", "to match them too: !has(event.data.amount) || …")
        await console.press("right", "-")
        assert expression(console) == f"{CULPRIT} && event.data.amount > 100 && has(event.data.amount)"
        await console.until(lambda: examples.chosen is None)
        await console.shows("! 0")


async def test_a_click_chooses_the_tab_under_it(start: Start, incident_url: str, size: tuple[int, int]) -> None:
    """Also the blanks beside its words, as far as the line between two tabs."""
    async with start(incident_url, size=size) as console:
        await console.filter_for("vendor-syncs", CULPRIT)
        await console.counted()
        strip = console.app.screen.query_one("#tabs", TabStrip)
        lower = console.app.screen.query_one(LowerArea)
        for tab in EXAMPLES:
            for beside in (0, -1, 1):
                lower.choose(Tab.NEAR if tab is Tab.MATCH else Tab.MATCH)
                await console.painted()
                line = console.text.splitlines()[strip.region.y][strip.region.x :]
                await console.pilot.click(strip, offset=(line.index(tab.value) + beside, 0))
                assert lower.tab is tab


async def test_a_cell_of_an_example_is_added(start: Start, incident_url: str) -> None:
    async with start(incident_url) as console:
        await console.filter_for("vendor-syncs", "event.data.amount > 100")
        await console.counted()
        await console.focus(Examples)
        await console.press("=")
        assert re.fullmatch(r"event\.data\.amount > 100 && event\.data\.amount == \d+", expression(console))
        await console.counted()
        assert isinstance(console.app.focused, Examples)


async def test_the_payload_folds_adds_and_is_copied(start: Start, incident_url: str, size: tuple[int, int]) -> None:
    async with start(incident_url, size=size) as console:
        await console.filter_for("vendor-syncs", CULPRIT)
        await console.shows("623 of 2,120")  # not the count of before anything was typed
        await console.counted()
        await console.focus(Examples)
        await console.press("enter")
        tree = console.app.screen.query_one(PayloadTree)
        await console.until(lambda: tree.has_focus)
        await console.shows('"data": {', '"vendor_id": "acme_inc"', "= only these")
        await console.press("home", "left")
        await console.shows("▸", '"data": {…} 3')
        await console.press("space")
        await console.until(lambda: '"region"' in console.text)
        tree.move_to((("data", "region"), False))
        await console.shows("event.data.region")
        await console.press("y")
        assert console.app.clipboard == '"eu-west"'
        await console.press("y")
        assert console.app.clipboard == "event.data.region"
        await console.press("=")
        assert expression(console) == f"{CULPRIT} && event.data.region == 'eu-west'"
        assert tree.has_focus
        await console.counted()
        await console.press("-")
        assert "event.data.region != 'eu-west'" in expression(console)
        await console.press("escape")
        assert isinstance(console.app.screen, FilterScreen)
        await console.until(lambda: isinstance(console.app.focused, Examples))


async def test_a_megabyte_of_payload_freezes_nothing(start: Start, incident_url: str) -> None:
    rows = [{"id": number, "note": "x" * 50} for number in range(12_000)]
    event = {"name": "big", "data": {"vendor_id": "huge", "text": "y" * 200_000, "rows": rows}}
    async with start(incident_url, size=(120, 36)) as console:
        await console.database.execute(
            "select secateur.enqueue('billing', 'vendor-syncs', $1::jsonb)", json.dumps(event)
        )
        await console.filter_for("vendor-syncs", "event.data.vendor_id == 'huge'")
        await console.counted()
        await console.focus(Examples)
        began = time.process_time()
        await console.press("enter", "end", "home", "space", "space")
        assert time.process_time() - began < 2.0
        await console.shows('"rows": […] 12,000')


async def test_a_run_that_has_ended_is_not_cancelled(start: Start, incident_url: str) -> None:
    async with start(incident_url) as console:
        await console.filter_for("vendor-syncs", CULPRIT)
        await console.counted()
        await console.focus(Examples)
        chosen = console.app.screen.query_one(Examples).chosen
        assert chosen is not None
        await console.database.execute(
            "update secateur.runs set status = 'completed', finished_at = clock_timestamp() where id = $1::uuid",
            chosen.id,
        )
        await console.press("x")
        await console.shows("Too late: this run is completed", "Nothing was")
        await console.shows(f"{ACME + ARRIVING - 1} of")


@pytest.mark.parametrize("place", [(), ("o",)], ids=["filter", "run"])
async def test_a_run_that_ends_while_it_is_asked_about_is_not_cancelled(
    start: Start, incident_url: str, place: tuple[str, ...]
) -> None:
    async with start(incident_url, size=(120, 36)) as console:
        await console.filter_for("vendor-syncs", CULPRIT)
        await console.counted()
        await console.focus(Examples)
        chosen = console.app.screen.query_one(Examples).chosen
        assert chosen is not None
        await console.press(*place)
        await console.shows("x cancel")
        await console.press("x")
        await console.shows("Cancel this one run")
        await console.database.execute(
            "update secateur.runs set status = 'completed', finished_at = clock_timestamp() where id = $1::uuid",
            chosen.id,
        )
        await console.press("y")
        await console.shows("Too late: this run is completed", "Nothing was")
        assert not await console.database.fetch("select from secateur.cancellations")


async def test_counting_again_is_a_key(start: Start, incident_url: str) -> None:
    async with start(incident_url) as console:
        await console.filter_for("vendor-syncs", CULPRIT)
        await console.counted()
        await console.database.execute(
            """select secateur.enqueue('billing', 'vendor-syncs', '{"name": "x", "data": {"vendor_id": "acme_inc"}}')"""
        )
        await console.press("f5")
        await console.shows(f"{ACME + ARRIVING + 1} of")


async def test_no_example_of_an_earlier_text_is_listed(start: Start, incident_url: str) -> None:
    async with start(incident_url) as console:
        await console.filter_for("vendor-syncs", CULPRIT)
        await console.counted()
        async with console.database.transaction() as connection:
            await connection.execute("lock table secateur.runs in access exclusive mode")
            await console.type(" ")
            await console.shows("looking…", "✓ …")
            assert not console.app.screen.query_one(Examples).keys
            await console.type("&&")
            await console.shows("There are examples once the filter is valid.")
            await console.press("backspace", "backspace")
        await console.counted()
