"""The places Runs and Run: every key, what they say, and what they look like at four sizes."""

from __future__ import annotations

import asyncio
import time
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from console_driver import WIDE, Console, Start
from standing_incident import CULPRIT
from textual.widget import Widget

import secateur
from patience import PATIENCE
from secateur.engines.native import searching
from secateur.engines.native.client import Queue
from secateur.engines.native.engine import NativeEngine
from secateur.engines.native.searching import NativeSearching
from secateur.engines.readings import Reading
from secateur.engines.searching import RunSearch
from secateur.postgres.database import Database
from secateur_tui.filter.examples import Examples
from secateur_tui.filter.screen import FilterScreen
from secateur_tui.frame.payload_tree import PayloadTree
from secateur_tui.history.screen import HistoryScreen
from secateur_tui.queues.screen import QueuesScreen
from secateur_tui.runs import listing
from secateur_tui.runs.listing import PAGE, RunsScreen
from secateur_tui.runs.single import RunScreen

FAILED = 5
ERROR = "KeyError: 'vendor_id'\n  in sync_vendor, at line 14"
FAIL = """
select secateur.fail('billing', held.id, held.claim_token, $3)
  from secateur.claim('billing', array[$2], $1, 'worker-2', interval '1 hour') as held
"""
LONG_AGO = """
update secateur.runs
   set claimed_at = now() - interval '1 hour 5 minutes 20 seconds',
       finished_at = now() - interval '1 hour 5 minutes 10 seconds'
 where status = 'failed'
"""
"""So that the ages on the screen stay as they are."""
SIZES = [(60, 15), (80, 24), (120, 36), (200, 50)]
by_size = pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")


async def fail(console: Console, runs: int = FAILED, function_id: str = "invoices") -> None:
    await console.database.execute("update secateur.functions set max_attempts = 1")
    await console.database.fetch(FAIL, runs, function_id, ERROR)
    await console.database.execute(LONG_AGO)


async def find(console: Console, function_id: str) -> None:
    """Put the cursor of Queues on the function."""
    await console.shows("flood")
    await console.press("slash")
    await console.type(function_id)
    await console.press("enter", "down")


async def runs_of(console: Console, function_id: str, key: str = "5") -> None:
    await find(console, function_id)
    await console.press(key)
    await console.until(lambda: isinstance(console.app.screen, RunsScreen))


async def search(console: Console, expression: str) -> None:
    await console.press("slash")
    await console.type(expression)
    await console.press("enter")


@by_size
async def test_failed_runs_are_listed_with_their_errors(start: Start, incident_url: str, size: tuple[int, int]) -> None:
    async with start(incident_url, size=size) as console:
        await console.shows("flood")
        assert "e failed" not in console.text, "nothing has failed"
        for key in ("e", "r"):
            await console.press(key)
            told = [each.message for each in console.app._notifications]
            assert told == ["No run of billing / vendor-syncs has failed."]
        console.app.clear_notifications()
        assert isinstance(console.app.screen, QueuesScreen)
        await fail(console)
        await console.until(lambda: any(each.failed for each in console.app.feed.depths))
        await runs_of(console, "invoices", "e")
        await console.shows("Runs: billing / invoices · failed", "KeyError: 'vendor_id'")
        await console.shows_stored("runs-failed")
        await console.press("enter")
        await console.until(lambda: isinstance(console.app.screen, RunScreen))
        await console.shows("It failed for good 1h ")
        await console.shows_stored("run-failed")
        await console.press("escape", "r")
        await console.shows("Retry failed runs: billing / invoices")
        await console.press("escape", "escape")
        await console.until(lambda: isinstance(console.app.screen, QueuesScreen))


async def test_status_and_order_are_chosen_by_keys(start: Start, incident_url: str) -> None:
    async with start(incident_url, size=WIDE) as console:
        await runs_of(console, "vendor-syncs")
        await console.shows("Runs: billing / vendor-syncs · every status", "newest first", "o oldest first")
        for status in ("queued", "scheduled", "running", "completed", "failed", "cancelled", "every status"):
            await console.press("s")
            await console.shows(f"Runs: billing / vendor-syncs · {status}")
        await console.press("s", "o")
        await console.shows("─ oldest first", "o newest first", "vendor_id")


async def test_an_expression_searches(start: Start, incident_url: str) -> None:
    async with start(incident_url, size=WIDE) as console:
        await runs_of(console, "vendor-syncs")
        await console.shows("listed")
        await search(console, "event.data.amount ==")
        await console.shows("✗ column ")
        await console.press("escape")
        await console.until(lambda: "✗ column" not in console.text)
        await search(console, "event.data.amount == 7 && run.status == 'queued'")
        await console.shows("3 listed", "looked at ", "that is all")
        heading = next(line for line in console.text.splitlines() if " attempts " in line)
        row = next(line for line in console.text.splitlines() if line.startswith("▌"))
        assert heading.index("data.amount") < heading.index("data.vendor_id"), "what is searched comes first"
        figures = row[heading.index("data.amount") :][: len("data.amount")]
        assert figures == "7".rjust(len("data.amount")), row
        await search(console, " && event.data.missing")
        await console.shows("No run matches.")


async def test_the_end_of_the_list_asks_for_older_ones(start: Start, incident_url: str) -> None:
    async with start(incident_url) as console:
        await fail(console, PAGE * 2 + 30, "vendor-syncs")
        await console.until(lambda: any(each.failed for each in console.app.feed.depths))
        await runs_of(console, "vendor-syncs", "e")
        await console.shows(f"{PAGE} listed · n goes on")
        await console.press("end")
        await console.shows(f"{PAGE * 2} listed")
        await console.press("n")
        await console.shows(f"{PAGE * 2 + 30} listed · that is all")


async def test_a_rare_match_says_how_far_the_search_came(
    start: Start, incident_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searching, "MOST_READ", 500)
    monkeypatch.setattr(searching, "CHUNK", 300)
    async with start(incident_url, size=WIDE) as console:
        await runs_of(console, "vendor-syncs")
        await search(console, "event.data.vendor_id == 'nobody'")
        await console.shows("Nothing found so far: looked at ", " back to ", "n goes on")
        for _ in range(20):
            if "No run matches" in console.text:
                break
            await console.press("n")
            await console.until(lambda: "searching" not in console.text)
        await console.shows("No run matches.")


async def test_a_search_can_be_stopped(start: Start, incident_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    among = NativeSearching._among

    async def held(self: NativeSearching, reading: Reading, search: RunSearch, ids: list[UUID], wanted: int) -> Any:
        if search.filter is not None:
            await reading.connection.execute("select pg_advisory_xact_lock_shared(17)")
        return await among(self, reading, search, ids, wanted)

    monkeypatch.setattr(NativeSearching, "_among", held)
    async with start(incident_url, size=WIDE) as console, Database.connect(incident_url) as other:
        await runs_of(console, "vendor-syncs")
        await console.shows("listed")
        async with other.transaction() as holder:
            await holder.execute("select pg_advisory_xact_lock(17)")
            await search(console, "event.data.amount == 7")
            await console.shows("searching… esc stops")
            await until_waiting(holder, 1)
            await console.press("escape")
            await console.shows("stopped", "Stopped. / and enter search again.")
            await until_waiting(holder, 0)
            assert isinstance(console.app.screen, RunsScreen)
        await console.press("slash", "enter")
        await console.shows("data.amount", "that is all")
        await console.press("escape")
        await console.until(lambda: isinstance(console.app.screen, QueuesScreen))


async def until_waiting(connection: asyncpg.Connection, searches: int) -> None:
    """Until so many wait for the lock in the database."""
    deadline = time.monotonic() + PATIENCE
    waiting = "select count(*) from pg_locks where locktype = 'advisory' and objid = 17 and not granted"
    while await connection.fetchval(waiting) != searches:
        assert time.monotonic() < deadline, f"there never were {searches} searches that wait"
        await asyncio.sleep(0.02)


async def test_a_list_that_is_not_answered_says_so(start: Start, incident_url: str) -> None:
    async with start(incident_url) as console:
        await fail(console)
        await console.until(lambda: any(each.failed for each in console.app.feed.depths))
        await runs_of(console, "invoices", "e")
        await console.shows("KeyError")
        await console.database.execute("alter table secateur.runs rename to gone")
        await console.shows("! pg-3/queue has no secateur schema")
        await console.database.execute("alter table secateur.gone rename to runs")
        await console.shows(f"{FAILED} listed")


@by_size
async def test_a_run_says_what_holds_it_up(start: Start, incident_url: str, size: tuple[int, int]) -> None:
    async with start(incident_url, size=size) as console:
        queue = Queue(console.database, NativeEngine(console.database))
        await queue.pause("billing", "vendor-syncs", author="omar")
        await runs_of(console, "vendor-syncs")
        await console.press("s")
        await console.shows("queued")
        await console.press("o")
        await console.shows("oldest first")
        await console.until(lambda: isinstance(screen := console.app.screen, RunsScreen) and screen.listed)
        await console.press("enter")
        await console.shows("was paused by omar")
        await console.shows_stored("run")


async def test_a_run_leads_to_the_next_and_can_be_cancelled_and_restored(start: Start, incident_url: str) -> None:
    async with start(incident_url, size=WIDE) as console:
        await runs_of(console, "invoices")
        await console.press("s")
        await console.shows("queued", "54 listed")
        await console.press("enter")
        await console.shows("1 of 54", "Timeline", "INV-0053", "x cancel")
        await console.press("n")
        await console.shows("2 of 54", "INV-0052")
        await console.press("p")
        await console.shows("1 of 54", "INV-0053")
        await console.press("x")
        await console.shows("Cancel this one run of billing / invoices?")
        await console.press("y")
        await console.shows("It was cancelled just now by nadia", "U restore", "r retry")
        await console.press("U")
        await console.shows("Restore this one run of billing / invoices?")
        await console.press("y")
        await console.shows("x cancel", "It ")
        await console.until(lambda: "It was cancelled" not in console.text)
        await console.press("escape")
        await console.until(lambda: isinstance(console.app.screen, RunsScreen))


async def test_the_event_of_a_run_folds_is_copied_and_becomes_a_filter(start: Start, incident_url: str) -> None:
    async with start(incident_url, size=WIDE) as console:
        await runs_of(console, "vendor-syncs")
        await console.press("s")
        await console.shows("vendor-syncs · queued", "listed")
        await console.until(lambda: isinstance(screen := console.app.screen, RunsScreen) and screen.listed)
        await console.press("enter")
        await console.shows("Timeline", '"data": {', "tab event")
        await console.press("tab")
        tree = console.app.screen.query_one(PayloadTree)
        assert tree.has_focus
        await console.shows("tab timeline", "y copy", "event.data")
        await console.press("home", "space")
        await console.shows('▸ "data": {…} 3')
        await console.refreshed()
        assert '▸ "data": {…} 3' in console.text, "a look at the run leaves what is folded"
        await console.press("space")
        tree.move_to((("data", "region"), False))
        await console.shows("event.data.region")
        await console.press("y")
        assert console.app.clipboard == '"eu-west"'
        await console.press("y")
        assert console.app.clipboard == "event.data.region"
        await console.press("=")
        await console.until(lambda: isinstance(console.app.screen, FilterScreen))
        await console.shows("event.data.region == 'eu-west'")
        await console.press("escape")
        await console.until(lambda: isinstance(console.app.screen, QueuesScreen))
        await console.press("5", "s")
        await console.until(lambda: isinstance(screen := console.app.screen, RunsScreen) and screen.listed)
        await console.press("enter", "tab")
        await console.shows('"vendor_id"')
        tree = console.app.screen.query_one(PayloadTree)
        tree.move_to((("data", "amount"), False))
        await console.press("-")
        await console.until(lambda: isinstance(console.app.screen, FilterScreen))
        await console.shows("event.data.region == 'eu-west' && ", "event.data.amount != ")


@pytest.mark.parametrize("place", [Examples, PayloadTree])
async def test_an_example_leads_to_its_run(start: Start, incident_url: str, place: type[Widget]) -> None:
    async with start(incident_url, size=(120, 36)) as console:
        await console.filter_for("vendor-syncs", CULPRIT)
        await console.counted()
        assert "o open run" not in console.text
        await console.focus(Examples)
        await console.shows("enter payload", "o open run")
        if place is PayloadTree:
            await console.press("down", "enter")
            await console.until(lambda: isinstance(console.app.focused, PayloadTree))
        await console.press("o")
        await console.until(lambda: isinstance(console.app.screen, RunScreen))
        await console.shows("2 of " if place is PayloadTree else "1 of ", "Timeline", "acme_inc")
        await console.press("escape")
        await console.until(lambda: isinstance(console.app.screen, FilterScreen))
        assert isinstance(console.app.focused, place)


async def test_a_run_of_many_leads_to_its_cancellation_and_says_what_decided(start: Start, incident_url: str) -> None:
    request = {"app_id": "billing", "function_id": "vendor-syncs", "if": f"{CULPRIT} && event.data.amount < 900"}
    async with secateur.connect(incident_url) as queue:
        await queue.cancel(request, author="nadia", reason="a loop")
    async with start(incident_url, size=WIDE) as console:
        await runs_of(console, "vendor-syncs")
        await console.press(*"ssssss")
        await console.shows("vendor-syncs · cancelled", "acme_inc")
        await console.press("enter")
        await console.shows("It was cancelled", "by nadia (“a loop”)", "decided by", CULPRIT, "U its cancellation")
        await console.press("r")
        await console.until(lambda: isinstance(console.app.screen, FilterScreen))
        await console.shows("Retry failed and cancelled runs: billing / vendor-syncs", "run.id == '", "1 of ")
        await console.press("escape")
        await console.press("U")
        await console.until(lambda: isinstance(console.app.screen, HistoryScreen))
        await console.shows("a loop")


async def test_a_read_only_console_looks_but_changes_nothing(start: Start, incident_url: str) -> None:
    async with start(incident_url, size=WIDE, read_only=True) as console:
        await runs_of(console, "invoices")
        await console.press("s")
        await console.shows("54 listed")
        await console.press("enter")
        await console.shows("1 of 54", "Timeline")
        assert "x cancel" not in console.text
        await console.press("x")
        assert isinstance(console.app.screen, RunScreen)


def test_a_page_fits_in_a_list() -> None:
    assert listing.MOST % PAGE == 0
