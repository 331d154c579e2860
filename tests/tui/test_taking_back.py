"""Undo and redo of what this console did last, from any place."""

from __future__ import annotations

from console_driver import Console, Start
from standing_incident import CULPRIT, stop_running
from test_review import consent, review

from patience import eventually


async def states(console: Console) -> list[str]:
    rows = await console.database.fetch("select state from secateur.cancellations order by serial")
    return [row["state"] for row in rows]


async def commit(console: Console) -> None:
    await consent(console)
    await console.press("enter")
    await console.shows("in force since")
    await stop_running(console.database)
    await console.shows("✓ complete")


async def test_z_undoes_and_shift_z_redoes_after_a_question(start: Start, incident_url: str) -> None:
    async with review(start, incident_url) as console:
        await commit(console)
        await console.press("1")
        await console.shows("flood")
        await console.press("z")
        await console.shows("Undo the cancellation of billing / vendor-syncs", "y undo")
        await console.press("n")
        assert await states(console) == ["complete"]
        await console.press("z")
        await console.shows("y undo")
        await console.press("y")
        await console.shows("are coming back")
        await eventually(lambda: is_back(console), "the undo")
        await console.press("Z")
        await console.shows("Cancel again: billing / vendor-syncs", CULPRIT)
        await console.press("y")
        await console.shows("Committed again")
        first, second = await states(console)
        assert first == "undone"
        assert second in ("active", "complete")
        await console.press("Z")
        await console.shows("has undone nothing")


async def is_back(console: Console) -> bool:
    return (
        await console.database.fetchval("select bool_and(restored_at is not null) from secateur.cancellations") is True
    )


async def test_what_was_undone_in_the_history_can_be_redone(start: Start, incident_url: str) -> None:
    async with review(start, incident_url) as console:
        await commit(console)
        await console.press("U")
        await console.shows("y undo")
        await console.press("y")
        await console.shows("↺")
        await console.press("z")
        await console.shows("has committed nothing")
        await console.press("Z")
        await console.shows("Cancel again")
        await console.press("escape")


async def test_without_a_commit_both_say_so(start: Start, incident_url: str) -> None:
    async with start(incident_url) as console:
        await console.press("z")
        await console.shows("has committed nothing")
        await console.press("Z")
        await console.shows("has undone nothing")
