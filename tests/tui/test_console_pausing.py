"""Pause and resume from Queues: asked first, seen without colour, app and functions apart; and the depth's drift."""

from __future__ import annotations

from typing import Any

from console_driver import Console, Start

from secateur.runs import Scope
from secateur_tui.queues.depth_table import DepthTable
from secateur_tui.queues.screen import QueuesScreen

FLOOD = Scope("billing", "vendor-syncs")


async def claimed(console: Console, function_id: str = "vendor-syncs") -> int:
    """How many runs of a function a worker gets that asks for one."""
    found: int = await console.database.fetchval(
        "select count(*) from secateur.claim('billing', array[$1], 1, 'worker-2', '1 hour')", function_id
    )
    return found


async def paused_by(console: Console, table: str) -> Any:
    rows = await console.database.fetch(f"select * from secateur.{table} where paused_at is not null")
    return [(row.get("function_id", row["app_id"]), row["paused_by"]) for row in rows]


def row_of(console: Console, name: str) -> str:
    """Of the table; a narrow one cuts names."""
    rows = (line for line in console.text.splitlines() if line[1:].lstrip(" ▾").startswith(name[:9]))
    return next(rows, "")


async def answer(console: Console, key: str, *shown: str) -> None:
    """Press `p`, see what is asked, and answer it."""
    await console.press("p")
    await console.shows(*shown)
    await console.press(key)
    await console.until(lambda: isinstance(console.app.screen, QueuesScreen))


async def test_a_function_is_paused_and_resumed(start: Start, incident_url: str, size: tuple[int, int]) -> None:
    async with start(incident_url, size=size) as console:
        await console.shows("flood", "p pause")
        await answer(
            console,
            "y",
            "Pause billing / vendor-syncs?",
            "Nothing of it is claimed until somebody resumes it",
            "y pause",
            "esc no, leave it",
        )
        await console.shows("paused ‖", "1 paused", "p resume")
        await console.until(lambda: "paused ‖" in row_of(console, "vendor-syncs"))
        assert "paused" not in row_of(console, "invoices")
        assert await claimed(console) == 0
        assert await claimed(console, "invoices") == 1
        assert await paused_by(console, "functions") == [("vendor-syncs", "nadia")]
        entry = await console.database.fetchrow("select action, source from secateur.audit order by id desc limit 1")
        assert entry is not None
        assert tuple(entry) == ("pause", "tui")
        await answer(console, "y", "Resume billing / vendor-syncs?", "can be claimed again", "y resume")
        await console.shows("p pause", "growing ▲")
        assert await claimed(console) == 1


async def test_what_is_paused_stands_out(start: Start, incident_url: str, size: tuple[int, int]) -> None:
    async with start(incident_url, size=size) as console:
        await console.shows("flood")
        await console.press("p")
        await console.shows("Pause billing / vendor-syncs?")
        await console.shows_stored("pause")
        await console.press("y")
        await console.shows("paused ‖", "Paused: nothing of")
        await console.until(lambda: "Paused: nothing of" not in console.text)
        await console.shows_stored("queues-paused")


async def test_only_its_own_key_pauses(start: Start, incident_url: str) -> None:
    async with start(incident_url) as console:
        await console.shows("flood")
        await console.press("p", "enter", "space", "p")
        await console.shows("Pause billing / vendor-syncs?")
        await console.press("escape")
        await console.refreshed()
        assert "paused" not in console.text
        assert not await paused_by(console, "functions")


async def test_an_app_and_its_functions_are_paused_apart(start: Start, incident_url: str) -> None:
    async with start(incident_url) as console:
        await console.shows("flood")
        await answer(console, "y", "Pause billing / vendor-syncs?")
        await console.shows("p resume")
        await console.press("home")
        await console.shows("p pause")
        await answer(console, "y", "Pause the whole of billing?")
        await console.shows("2 paused", "p resume")
        await console.until(lambda: "paused ‖" in row_of(console, "invoices"))
        assert await paused_by(console, "apps") == [("billing", "nadia")]

        console.app.screen.query_one(DepthTable).move_to(FLOOD)
        await answer(console, "y", "It stays paused anyway", "resume billing as well, on its own row")
        await console.shows("p resume app")
        assert not await paused_by(console, "functions")
        await console.until(lambda: "paused ‖" in row_of(console, "vendor-syncs"))
        assert await claimed(console) == 0

        await answer(
            console, "a", "vendor-syncs waits because the whole of billing is paused", "a pause vendor-syncs itself"
        )
        await console.until(lambda: "p resume app" not in console.text)
        assert await paused_by(console, "functions") == [("vendor-syncs", "nadia")]

        await console.press("home")
        await answer(console, "y", "Resume the whole of billing?", "Still paused, each by itself: vendor-syncs")
        await console.shows("1 paused")
        assert await claimed(console) == 0
        assert await claimed(console, "invoices") == 1


async def test_a_pause_that_is_not_yet_in_force_is_said(start: Start, incident_url: str) -> None:
    async with start(incident_url) as console:
        await console.shows("flood")
        async with console.database.transaction() as connection:
            await connection.fetch("select secateur.share_app('billing')")
            pid = await connection.fetchval("select pg_backend_pid()")
            await answer(console, "y", "Pause billing / vendor-syncs?")
            await console.shows("Paused, not yet in force", f"pg_terminate_backend({pid})")
        assert await paused_by(console, "functions")


async def test_drift_of_the_depth_is_said(start: Start, incident_url: str, size: tuple[int, int]) -> None:
    async with start(incident_url, size=size) as console:
        await console.shows("flood")
        assert "off by" not in console.text
        await console.database.execute(
            "insert into secateur.depth_deltas (app_id, function_id, queued) values ('crm', 'welcome-mail', 12)"
        )
        checked = await console.database.fetchrow("select * from secateur.check_depth('crm')")
        assert checked is not None
        assert checked["drift"] == 12
        await console.shows("the depth was off by 12 runs at", "UTC, and was put right", "flood: billing")
