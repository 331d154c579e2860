"""What stands out in a flood, offered as a filter: as grey text, and in its pane."""

from __future__ import annotations

import asyncio
import time

import asyncpg
import pytest
from console_driver import Start
from pseudo_terminal import Terminal
from standing_incident import ACME, ARRIVING, CULPRIT

from secateur_tui.filter.editor import ExpressionEditor
from secateur_tui.filter.examples import Examples
from secateur_tui.frame.hot_table import HotTable
from secateur_tui.review.pressing import FRESH_SECONDS

MATCHING = f"{ACME + ARRIVING:,}"
TAKES_IT = "tab takes"
MOST_KEYS = 8
"""From the first screen to the guaranteed cancellation, besides the reason and the typed confirmation."""
MOST_BYTES = 30_000
"""On the way, at 80x24, whatever is painted twice on a slow machine."""


async def test_from_the_first_screen_to_the_guarantee_in_eight_keys(
    incident_url: str, terminals: list[Terminal]
) -> None:
    terminal = Terminal(incident_url, SECATEUR_REFRESH_SECONDS="1")
    terminals.append(terminal)
    keys = 0

    async def press(key: bytes, then: str) -> None:
        nonlocal keys
        keys += 1
        terminal.send(key)
        await asyncio.to_thread(terminal.read_until, then)

    async def fill_in(text: str) -> None:
        terminal.send(text.encode())
        await asyncio.to_thread(terminal.read_until, text)

    await asyncio.to_thread(terminal.read_until, "flood")
    before = len(terminal.everything)
    await press(b"\r", TAKES_IT)
    await press(b"\t", f"{MATCHING} of")
    await press(b"\x1b[20~", "enter goes on")
    await fill_in("INC-1")
    await press(b"\r", "vendor-syncs")
    await fill_in("vendor-syncs")
    await press(b"\r", "enter cancels")
    await asyncio.sleep(FRESH_SECONDS * 1.2)  # a press that comes sooner might be that of a held key
    await press(b"\r", "in force since")
    assert keys <= MOST_KEYS
    assert len(terminal.everything) - before < MOST_BYTES
    connection = await asyncpg.connect(incident_url)
    try:
        assert await connection.fetchval("select array_agg(request ->> 'if') from secateur.cancellations") == [CULPRIT]
    finally:
        await connection.close()


@pytest.mark.parametrize("key", ["tab", "right"])
@pytest.mark.parametrize("read_only", [False, True], ids=["read-write", "read-only"])
async def test_a_key_takes_the_grey_suggestion(start: Start, incident_url: str, key: str, read_only: bool) -> None:
    async with start(incident_url, read_only=read_only) as console:
        await console.press("enter")
        await console.shows(CULPRIT, TAKES_IT, "29 % of arrivals since")
        editor = console.app.screen.query_one(ExpressionEditor)
        assert editor.text == ""
        await console.press(key)
        await console.shows(f"{MATCHING} of")
        assert (editor.text, editor.has_focus) == (CULPRIT, True)
        await console.press("ctrl+z")
        assert editor.text == ""
        await console.shows(TAKES_IT)


async def test_only_without_grey_text_tab_leaves_the_field(start: Start, incident_url: str) -> None:
    async with start(incident_url) as console:
        await console.filter_for("vendor-syncs")
        editor = console.app.screen.query_one(ExpressionEditor)
        await console.type("e")
        await console.press("tab")
        assert (editor.text, editor.has_focus) == ("event.", True)
        await console.type("data.vendor_id == 'acme_inc'")
        await console.press("tab")
        assert (editor.text, editor.has_focus) == (CULPRIT, False)


@pytest.mark.parametrize("read_only", [False, True], ids=["read-write", "read-only"])
async def test_h_leads_to_the_pane_and_enter_takes_from_it(start: Start, incident_url: str, read_only: bool) -> None:
    async with start(incident_url, read_only=read_only) as console:
        await console.press("h")
        await console.shows("What stands out", "against billing's other", CULPRIT, "29 %")
        # An enter so soon after the screen opened would belong to the key that opened it.
        await console.until(lambda: time.monotonic() >= console.app.screen._opening_until)
        await console.press("enter")
        editor = console.app.screen.query_one(ExpressionEditor)
        await console.until(lambda: (editor.text, editor.has_focus) == (CULPRIT, True))
        await console.shows(f"{MATCHING} of")


@pytest.mark.parametrize("read_only", [False, True], ids=["read-write", "read-only"])
async def test_values_are_added_and_excluded(start: Start, incident_url: str, read_only: bool) -> None:
    async with start(incident_url, size=(120, 36), read_only=read_only) as console:
        await console.press("h")
        await console.shows("against billing's other", CULPRIT)
        editor = console.app.screen.query_one(ExpressionEditor)
        await console.press("down", "=")
        first = editor.text
        assert first.startswith("event.data.")
        await console.focus(Examples)
        await console.press("[")
        await console.shows("that match")
        await console.until(lambda: not console.app.screen.query_one("#hot").has_class("stale"))
        await console.press("home", "-")
        assert editor.text.startswith(f"{first} && ")
        assert "!=" in editor.text or "!(" in editor.text


async def test_with_a_filter_the_pane_tells_matches_from_the_rest(start: Start, incident_url: str) -> None:
    async with start(incident_url, size=(120, 36)) as console:
        await console.filter_for("vendor-syncs", CULPRIT)
        await console.focus(Examples)
        await console.press("[")
        await console.shows("623 that match, against", "vendor_id acme_inc")


async def test_arrows_say_where_a_list_without_a_bar_goes_on(start: Start, incident_url: str) -> None:
    async with start(incident_url) as console:
        await console.filter_for("vendor-syncs")
        table = console.app.screen.query_one(HotTable)
        await console.until(lambda: len(table.keys) > table.size.height)

        def gutters() -> list[str]:
            return [table.render_line(y).text[:2].strip("▌ ") for y in range(table.size.height)]

        blank = [""] * (table.size.height - 1)
        assert gutters() == [*blank, "↓"]
        await console.focus(HotTable)
        await console.press("G")
        assert gutters() == ["↑", *blank]


ONE_LANE = """
select secateur.enqueue_many('billing', 'vendor-syncs', array_agg(jsonb_build_object('name', 'vendor/sync', 'data',
         jsonb_build_object('vendor_id', case when nth % 33 = 0 then 'globex' else 'acme_inc' end, 'lane', 'fast'))))
  from generate_series(1, 330) as nth
"""


async def test_the_review_tells_that_the_matches_are_not_of_one_piece(start: Start, incident_url: str) -> None:
    async with start(incident_url) as console:
        await console.database.execute(ONE_LANE)
        await console.filter_for("vendor-syncs", "has(event.data.lane)")
        await console.shows("330 of")
        await console.press("f9")
        await console.shows("! not of one piece: event.data.vendor_id: 97 % acme_inc, 3 % globex")
