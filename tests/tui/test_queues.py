"""Queues: live depth, and the flood at a glance."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest
from console_driver import NARROW, SIZES, WIDE, Start
from textual.content import Content
from textual.geometry import Region
from textual.widgets._toast import Toast

from secateur.postgres.database import Database
from secateur.postgres.embedded import EmbeddedPostgres
from secateur.runs import Scope
from secateur.schema import install
from secateur_tui.frame.chrome import _kept
from secateur_tui.history.screen import HistoryScreen
from secateur_tui.queues.depth_table import DepthTable
from secateur_tui.queues.detail import DepthDetail
from secateur_tui.queues.screen import QueuesScreen


async def test_the_flood_is_seen_at_a_glance_at_each_size(start: Start, incident_url: str) -> None:
    async with start(incident_url) as console:
        await console.shows("flood: billing / vendor-syncs", "growing ▲")
        for size in SIZES:
            await console.pilot.resize_terminal(*size)
            await console.shows_stored("queues")


async def test_the_cursor_starts_on_the_flood(start: Start, incident_url: str) -> None:
    async with start(incident_url) as console:
        await console.shows("flood")
        assert console.app.screen.query_one(DepthTable).scope == Scope("billing", "vendor-syncs")


async def test_new_runs_show_within_a_refresh(start: Start, incident_url: str) -> None:
    async with start(incident_url, size=WIDE) as console:
        await console.shows("weekly-digest")
        await console.database.execute("select secateur.enqueue('shop', 'ship', '{}')")
        await console.shows("▾ shop", "ship")


async def test_what_is_forgotten_leaves_and_comes_back(start: Start, incident_url: str) -> None:
    async with start(incident_url, size=WIDE) as console:
        await console.database.execute("select secateur.register_function('retired', 'old-sync', '{}', 4)")
        await console.shows("retired", "old-sync")
        await console.database.execute("select secateur.forget('retired', null, 'nadia', 'cli')")
        await console.until(lambda: "retired" not in console.text and "old-sync" not in console.text)
        await console.database.execute("select secateur.enqueue('retired', 'old-sync', '{}')")
        await console.shows("retired", "old-sync")


async def test_nothing_is_painted_where_nothing_changed(start: Start, incident_url: str) -> None:
    async with start(incident_url, refresh_seconds=3600) as console:
        await console.shows("flood")
        table = console.app.screen.query_one(DepthTable)
        painted: list[Region] = []
        original = table.refresh

        def refresh(*regions: Region, **options: bool) -> DepthTable:
            painted.extend(regions)
            return original(*regions, **options)

        table.refresh = refresh  # type: ignore[method-assign, assignment]
        await console.database.execute("select secateur.enqueue('crm', 'welcome-mail', '{}')")
        table.show_depth(await console.app.session.queue.reader.depth())
        rows = {region.y for region in painted}
        # crm, welcome-mail and the totals at the bottom.
        assert len(rows) == 3


async def test_a_name_that_is_typed_before_the_first_figures_is_found(start: Start, incident_url: str) -> None:
    """Its letters would be commands."""
    async with Database.connect(incident_url) as other, AsyncExitStack() as locks:
        lock = await locks.enter_async_context(other.transaction())
        await lock.execute("lock table secateur.depth_totals in access exclusive mode")
        async with start(incident_url, looks=0) as console:
            await console.until(lambda: isinstance(console.app.screen, QueuesScreen))
            await console.press("slash")
            await console.type("invoices")
            assert console.app.feed.as_of is None
            await locks.aclose()
            await console.shows("only “invoices”", "1 function")
            await console.press("enter")
            table = console.app.screen.query_one(DepthTable)
            assert table.has_focus
            assert list(table.keys) == [Scope("billing"), Scope("billing", "invoices")]


async def test_sorting_keeps_the_cursor_on_its_row(start: Start, incident_url: str) -> None:
    async with start(incident_url) as console:
        await console.shows("flood")
        table = console.app.screen.query_one(DepthTable)
        await console.shows("by queued", "▾queued")
        listed = list(table.keys)
        assert listed[:2] == [Scope("billing"), Scope("billing", "vendor-syncs")]
        assert listed.index(Scope("crm")) < listed.index(Scope("growth"))
        await console.press("j", "j")
        chosen = table.scope
        await console.press("S")
        await console.shows("by queued, reversed", "▴queued")
        assert table.keys[0] == Scope("growth")
        assert table.scope == chosen


async def test_sorting_goes_through_all_columns(start: Start, incident_url: str) -> None:
    async with start(incident_url, size=WIDE) as console:
        await console.shows("flood")
        table = console.app.screen.query_one(DepthTable)
        seen = []
        for _ in table._layout.keys:
            await console.press("s")
            seen.append(table.sort)
        assert {"name", "queued", "running", "oldest", "in", "out", "drains"} <= set(seen)
        heading = next(line for line in console.text.splitlines() if "app / function" in line)
        oldest = heading.index("oldest")
        await console.pilot.click(DepthTable, offset=(oldest, 0))
        await console.shows("by oldest", "▾oldest")
        await console.pilot.click(DepthTable, offset=(oldest, 0))
        await console.shows("by oldest, reversed", "▴oldest")


async def test_apps_fold(start: Start, incident_url: str) -> None:
    async with start(incident_url) as console:
        await console.shows("invoices")
        detail = console.app.screen.query_one(DepthDetail)
        height = detail.size.height
        await console.press("space")
        await console.shows("▸ billing")
        assert "invoices" not in console.text
        assert detail.size.height > height, "it has what the list leaves"
        await console.press("space")
        await console.shows("▾ billing", "invoices")
        assert detail.size.height == height


async def test_find_narrows_the_list_and_esc_brings_it_back(start: Start, incident_url: str) -> None:
    async with start(incident_url) as console:
        await console.shows("flood")
        await console.press("slash")
        await console.type("MAIL")
        await console.shows("only “MAIL”", "welcome-mail")
        assert "score-leads" not in console.text
        await console.press("enter", "escape")
        await console.shows("score-leads")


async def test_an_empty_database_says_what_to_do(start: Start, embedded_url: str, size: tuple[int, int]) -> None:
    async with start(embedded_url, size=size) as console:
        await console.shows("no functions yet", "secateur.enqueue")
        await console.shows_stored("queues-empty")


async def test_a_database_without_the_schema_says_what_to_do(start: Start, empty_database_url: str) -> None:
    async with start(empty_database_url) as console:
        await console.shows("secateur install")


async def test_a_lost_database_is_said_and_comes_back(start: Start) -> None:
    with EmbeddedPostgres() as postgres:
        async with start(postgres.url, size=WIDE) as console:
            await install(console.database)
            await console.database.execute("select secateur.enqueue('shop', 'ship', '{}')")
            await console.shows("ship", "● live")
            await asyncio.to_thread(postgres.kill)
            await console.shows("no answer", "figures", "old", "prod @ pg-3/queue")
            assert "ship" in console.text, "the last figures stay"
            assert console.app.screen.query_one(DepthTable).has_class("stale")
            await asyncio.to_thread(postgres.start)
            await console.shows("● live")
            assert not console.app.screen.query_one(DepthTable).has_class("stale")


@pytest.mark.parametrize("tiny", [(1, 1), (30, 8)])
async def test_a_tiny_window_is_survived(start: Start, incident_url: str, tiny: tuple[int, int]) -> None:
    async with start(incident_url) as console:
        await console.shows("flood")
        for keys in ((), ("enter",), ("f9",), ("escape",), ("f4",), ("question_mark",)):
            await console.press(*keys)
            await console.pilot.resize_terminal(*tiny)
            await console.refreshed()
            await console.pilot.resize_terminal(*NARROW)
            await console.refreshed()


async def test_every_place_has_its_key(start: Start, incident_url: str) -> None:
    async with start(incident_url) as console:
        await console.shows("flood")
        await console.press("H")
        await console.until(lambda: isinstance(console.app.screen, HistoryScreen))
        await console.press("1")
        await console.shows("flood")
        await console.press("4")
        await console.until(lambda: isinstance(console.app.screen, HistoryScreen))
        await console.press("escape", "2")
        await console.shows("Matches")


async def test_the_footer_has_only_keys_that_work_now(start: Start, incident_url: str) -> None:
    async with start(incident_url, size=WIDE) as console:
        await console.shows("H history", ": go to", "? help")
        await console.press("enter")
        await console.shows("F4 history", "F1 help", "F9 review")
        assert "H history" not in console.text
        assert ": go to" not in console.text


async def test_keys_that_arrive_at_once_are_no_commands(start: Start, incident_url: str) -> None:
    async with start(incident_url) as console:
        await console.shows("flood")
        console.burst("slash", *"sqmail", "enter")
        await console.shows("only “sqmail”")
        console.burst("escape", "enter", *"size(event.data.vendor_id)", "escape", "H")
        await console.until(lambda: isinstance(console.app.screen, HistoryScreen))
        await console.press("escape", "enter")
        await console.shows("size(event.data.vendor_id)")


async def test_help_and_palette_come_from_the_table(start: Start, incident_url: str, size: tuple[int, int]) -> None:
    async with start(incident_url, size=size) as console:
        await console.shows("flood")
        await console.press("question_mark")
        await console.shows("1 Queues — you are here", "Pause the function or app of the row")
        if size == NARROW:
            first, second = _from_row_with("After a commit: review", console.text)
            column = first.index("After")
            assert not second[2:column].strip(), "what does not fit goes on beneath its beginning"
            assert second[column].strip()
        await console.press("end")
        await console.shows("an error never matches")
        await console.press("escape", "colon")
        await console.type("sort")
        await console.shows("Sort by")


async def test_help_is_searched(start: Start, incident_url: str) -> None:
    async with start(incident_url, size=NARROW) as console:
        await console.press("question_mark", "slash")
        await console.type("Postmortem")
        await console.shows("4 History", "P", "Write down what happened")
        assert "Pause the function" not in console.text
        await console.press("enter")
        await console.shows("esc show all")
        await console.press("slash")
        await console.type("xyzzy")
        await console.shows("No key or description has “xyzzy”")
        await console.press("escape")
        await console.shows("1 Queues — you are here", "Pause the function")
        await console.press("escape")
        await console.shows("flood")
        assert isinstance(console.app.screen, QueuesScreen)


async def test_a_message_covers_neither_figures_nor_keys(start: Start, incident_url: str) -> None:
    """However long it is, it is shown whole, and leaves the name of the database and of the place."""
    told = "The configuration has no other context to go to."
    async with start(incident_url, size=(60, 15), production=True) as console:
        await console.shows("flood")

        def message() -> tuple[str, Region]:
            toasts = console.app.screen.query(Toast)
            box = toasts.last().region if toasts else Region()
            rows = [row[box.x + 1 : box.right] for row in console.text.splitlines()[box.y : box.bottom]]
            return " ".join(" ".join(rows).split()), box

        for size, text in (((60, 15), told), (NARROW, told), (NARROW, f"{told} {told} {told} {told}")):
            await console.pilot.resize_terminal(*size)
            console.app.notify(text, markup=False)
            await console.until(lambda text=text: message()[0] == text)
            box = message()[1]
            assert box.right == size[0]
            assert box.height <= 2 or text != told
            covered = console.text.splitlines()
            assert "prod PRODUCTION" in covered[0]
            assert covered[1].startswith(" Queues ")
            assert covered[-1].startswith(" enter filter")
            assert "vendor-syncs  " in console.text


async def test_a_search_moves_no_column(start: Start, incident_url: str) -> None:
    """So many functions that the list scrolls, and a search that leaves a few."""
    async with start(incident_url, size=NARROW) as console:
        await console.database.execute(
            "select secateur.register_function('monolith', format('function-%s', nth), '{}', 3)"
            "  from generate_series(1, 50) as nth"
        )
        await console.shows("56 functions")
        for size in (NARROW, (60, 15)):
            await console.pilot.resize_terminal(*size)
            await console.shows("56 functions")
            titles = _from_row_with("app / function", console.text)[0]
            await console.press("slash")
            await console.type("vendor")
            await console.shows("1 function ", "only “vendor”")
            assert _from_row_with("app / function", console.text)[0] == titles
            await console.press("escape")


def _from_row_with(text: str, screen: str) -> list[str]:
    """The row that has the text, and the next one."""
    rows = screen.splitlines()
    first = next(index for index, row in enumerate(rows) if text in row)
    return rows[first : first + 2]


async def test_history_that_comes_too_late_ends_no_console(start: Start, incident_url: str) -> None:
    """As when somebody leaves while it is asked for: then the table is gone before it arrives."""
    async with start(incident_url) as console:
        await console.shows("flood")
        screen = console.app.screen
        assert isinstance(screen, QueuesScreen)
        await screen.query_one(DepthTable).remove()
        await screen._remember().wait()


def test_an_engine_stands_only_beside_its_database() -> None:
    names = {
        "brand": Content(" ✂ secateur "),
        "context": Content(" prod"),
        "database": Content(" @ pg-3/queue"),
        "engine": Content("  native"),
    }
    shown = {room: _kept(names, room).plain for room in (40, 26, 18, 17, 4)}
    assert shown == {
        40: " ✂ secateur  prod @ pg-3/queue  native",
        26: " prod @ pg-3/queue  native",
        18: " prod @ pg-3/queue",
        17: " ✂ secateur  prod",
        4: "",
    }
