"""Retry from the console: failed runs are seen on Queues, filtered, reviewed, queued again, and shown in History."""

from __future__ import annotations

from console_driver import Console

from conftest import Start
from secateur_tui.filter.screen import FilterScreen
from secateur_tui.history.screen import HistoryScreen
from secateur_tui.review.screen import ReviewScreen

FAILED = 5
FAIL = """
select secateur.fail('billing', held.id, held.claim_token, 'KeyError: vendor_id')
  from secateur.claim('billing', array['invoices'], $1, 'worker-2', interval '1 hour') as held
"""


async def fail(console: Console) -> None:
    await console.database.execute("update secateur.functions set max_attempts = 1")
    await console.database.fetch(FAIL, FAILED)


async def failed(console: Console) -> int:
    found: int = await console.database.fetchval("select count(*) from secateur.runs where status = 'failed'")
    return found


async def test_failed_runs_are_queued_again(start: Start, incident_url: str, size: tuple[int, int]) -> None:
    async with start(incident_url, size=size) as console:
        await console.shows("flood")
        assert "r retry" not in console.text, "nothing has failed"
        await fail(console)
        await console.press("slash")
        await console.type("invoices")
        await console.press("enter", "down")
        await console.shows("r retry")
        await console.press("r")
        await console.until(lambda: isinstance(console.app.screen, FilterScreen))
        await console.shows("Retry failed runs: billing / invoices", f"{FAILED} of {FAILED} runs", "exact")
        await console.press("f9")
        await console.until(lambda: isinstance(console.app.screen, ReviewScreen))
        await console.shows(f"Retry {FAILED} runs of billing / invoices", "Each waits again", "Retry these runs")
        assert await failed(console) == FAILED
        await console.press("enter")
        await console.settled()
        await console.press("enter")
        await console.until(lambda: isinstance(console.app.screen, HistoryScreen))
        await console.shows("retry of billing / invoices", "✓ retried", f"queued again {FAILED}")
        assert await failed(console) == 0
        await console.press("U")
        await console.shows("Undo the retry of billing / invoices", f"Of {FAILED} runs that it queued again")
        await console.press("y")
        await console.shows("undone", f"taken back {FAILED}")
        assert await failed(console) == FAILED
