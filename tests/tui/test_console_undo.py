"""Undo from History: said before, followed live, and what did not come back with the reason."""

from __future__ import annotations

import re
from uuid import UUID

from console_driver import Console, Start
from standing_incident import ACME, ARRIVING, stop_running
from test_history import cancel, history

from secateur.postgres.database import Database
from secateur_tui.history.screen import HistoryScreen

RUNNING = 2
"""Of the matching runs, how many run."""
WAITED = ACME - RUNNING


async def complete(console: Console) -> None:
    """Let the console's own sweep end the cancellation that is open."""
    await history(console)
    await console.shows(f"stopping {RUNNING}")
    await stop_running(console.database)
    await console.shows("✓ complete", "can be undone until")


async def waiting(database: Database) -> int:
    """Unfinished runs of the flood's vendor that the cancellation meant, as the queue has them."""
    found: int = await database.fetchval(
        """
        select count(*) from secateur.runs
         where event -> 'data' ->> 'vendor_id' = 'acme_inc' and status = 'queued' and started_at < now()
        """
    )
    return found


async def swept_in_part(url: str, runs: int) -> UUID:
    """A cancellation whose sweep has only come so far."""
    cancellation = await cancel(url)
    async with Database.connect(url) as database:
        cancelled = 0
        while cancelled < runs:
            step = await database.fetchrow(
                "select * from secateur.sweep_cancellation('billing', $1, 200)", cancellation
            )
            assert step is not None
            assert not step["idle"]
            cancelled += step["cancelled"]
    return cancellation


async def test_an_undo_says_what_comes_back_and_brings_it_back(
    start: Start, incident_url: str, size: tuple[int, int]
) -> None:
    async with start(incident_url, size=size) as console:
        before = await waiting(console.database)
        await cancel(incident_url)
        await complete(console)
        await console.press("U")
        await console.shows(
            "Undo the cancellation of billing / vendor-syncs by jun",
            f"{WAITED} runs that waited go back to what they were",
            f"{RUNNING} runs stopped while running stay cancelled; a queues",
            "Undo is possible until",
            "y undo",
            f"a undo, queue the {RUNNING} too",
            "esc no, leave it",
        )
        await console.shows_stored("undo")
        await console.press("enter", "escape")
        await console.shows("✓ complete")
        await console.press("U")
        await console.shows("y undo")
        await console.press("y")
        await console.shows(
            "↺ undone", f"{WAITED} came back as they were", f"! {RUNNING} did not come back", "by nadia"
        )
        await console.shows("it was stopped while it ran", "U queue stopped runs")
        assert await waiting(console.database) == before
        await console.shows_stored("history-undone")
        await console.press("U")
        await console.shows(f"Queue {RUNNING} runs of billing / vendor-syncs again?", "y queue them again")
        await console.press("y")
        await console.shows(f"{ACME} came back as they were")
        assert "did not come back" not in console.text
        assert "U " not in console.text.splitlines()[-1]
        assert await waiting(console.database) == before + RUNNING


async def test_what_was_stopped_can_be_queued_again_at_once(start: Start, incident_url: str) -> None:
    await cancel(incident_url)
    async with start(incident_url) as console:
        await complete(console)
        await console.press("U")
        await console.shows(f"a undo, queue the {RUNNING} too")
        await console.press("a")
        await console.shows("↺ undone", f"{ACME} came back as they were")
        assert "did not come back" not in console.text


async def test_a_restore_is_followed_live(start: Start, incident_url: str, size: tuple[int, int]) -> None:
    async with start(incident_url, size=size) as console:
        console.app.workers.cancel_group(console.app, "sweep")
        cancellation = await swept_in_part(incident_url, 100)
        await history(console)
        await console.shows("sweeping", "while it is active")
        # The list is older than the question.
        console.app.screen.workers.cancel_group(console.app.screen, "history")
        console.app.screen.chosen.cancelled = 7
        cancelled: int = await console.database.fetchval(
            "select count(*) from secateur.runs where status = 'cancelled'"
        )
        await console.press("U")
        await console.shows(
            f"{cancelled} runs that waited go back",
            f"Its sweep goes on: {ACME + ARRIVING} runs planned",
            "So does what it cancels until you answer; then it cancels nothing.",
        )
        await console.press("y")
        await console.shows(f"restoring 0 of {cancelled}", "↺ restoring ──── 0%", "1 under way")
        await console.database.execute("select secateur.restore_cancellation('billing', $1, 50)", cancellation)
        await console.shows(f"restoring 50 of {cancelled}", "↺ restoring ━")
        await console.shows_stored("history-restoring")
        await console.database.execute("select secateur.restore_cancellation('billing', $1, 10000)", cancellation)
        await console.shows("↺ undone", f"{cancelled} came back as they were", "0 under way")


async def test_a_stopped_one_can_be_undone(start: Start, incident_url: str) -> None:
    async with start(incident_url) as console:
        console.app.workers.cancel_group(console.app, "sweep")
        await swept_in_part(incident_url, 100)
        await history(console)
        await console.shows("sweeping")
        await console.press("x")
        await console.shows("y stop")
        await console.press("y")
        await console.shows("■ stopped", "can be undone until", "U undo")
        await console.press("U")
        await console.shows("runs that waited go back", "Undo is possible until")
        assert "then it cancels nothing" not in console.text


async def test_what_another_cancellation_has_is_told_apart(start: Start, incident_url: str) -> None:
    await cancel(incident_url)
    async with start(incident_url) as console:
        await complete(console)
        await cancel(incident_url, "event.data.vendor_id == 'acme_inc' && event.data.amount < 100")
        await console.shows("1 under way")
        await console.press("down")
        await console.until(lambda: "U undo" in console.text)
        await console.press("U")
        await console.shows("What another cancellation matches too goes over to that one.")
        await console.press("y")
        await console.shows("↺ undone", "matches it too")
        handed_over = re.search(r"(\d+) went over to another", console.text)
        assert handed_over is not None
        assert int(handed_over[1]) > 0


async def test_too_late_is_too_late(start: Start, incident_url: str) -> None:
    await cancel(incident_url)
    async with start(incident_url) as console:
        await complete(console)
        await console.shows("U undo")
        console.app.workers.cancel_group(console.app, "upkeep")
        await console.database.execute("update secateur.retention set cancelled = '0'")
        await console.shows("could be undone until")
        await console.until(lambda: "U undo" not in console.text)
        await console.press("U")
        assert isinstance(console.app.screen, HistoryScreen)


async def test_a_read_only_console_cannot_undo(start: Start, incident_url: str) -> None:
    await swept_in_part(incident_url, 100)
    async with start(incident_url, read_only=True) as console:
        await history(console)
        await console.shows("sweeping")
        await console.press("U")
        assert isinstance(console.app.screen, HistoryScreen)
        assert "U undo" not in console.text


async def test_an_undo_that_is_not_yet_in_force_is_said(start: Start, incident_url: str) -> None:
    await cancel(incident_url)
    async with start(incident_url) as console:
        await complete(console)
        async with console.database.transaction() as connection:
            await connection.fetch("select secateur.share_app('billing')")
            pid = await connection.fetchval("select pg_backend_pid()")
            await console.press("U")
            await console.shows("y undo")
            await console.press("y")
            await console.shows("asking the database…")
            await console.shows("undo not yet in force", f"process {pid}")
            await console.shows("◌ pending")
        await console.until(lambda: "◌ pending" not in console.text)
