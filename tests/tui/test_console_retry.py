"""Retry from the console: failed runs are seen on Queues, filtered, reviewed, queued again, and shown in History."""

from __future__ import annotations

from console_driver import WIDE, Console, Start

from secateur_tui.filter.screen import FilterScreen
from secateur_tui.history.screen import HistoryScreen
from secateur_tui.review.screen import ReviewScreen

FAILED = 5
ERROR = "KeyError: 'vendor_id'\n  in sync_vendor, at line 14"
FAIL = """
select secateur.fail('billing', held.id, held.claim_token, $3)
  from secateur.claim('billing', array[$2], $1, 'worker-2', interval '1 hour') as held
"""


async def fail(console: Console, runs: int = FAILED, function_id: str = "invoices") -> None:
    await console.database.execute("update secateur.functions set max_attempts = 1")
    await console.database.fetch(FAIL, runs, function_id, ERROR)


async def failed(console: Console) -> int:
    found: int = await console.database.fetchval("select count(*) from secateur.runs where status = 'failed'")
    return found


async def test_failed_runs_are_queued_again(start: Start, incident_url: str, size: tuple[int, int]) -> None:
    async with start(incident_url, size=size) as console:
        await console.shows("flood")
        assert "e failed" not in console.text, "nothing has failed"
        await fail(console)
        await console.press("slash")
        await console.type("invoices")
        await console.press("enter", "down")
        await console.shows("fail")
        await console.press("r")
        await console.until(lambda: isinstance(console.app.screen, FilterScreen))
        await console.shows("Retry failed runs: billing / invoices", f"{FAILED} of {FAILED} runs", "exact")
        await console.press("f9")
        await console.until(lambda: isinstance(console.app.screen, ReviewScreen))
        await console.shows(
            f"Retry {FAILED} runs of billing / invoices", "Each waits again", f"[ Retry {FAILED} runs ]"
        )
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
        await console.shows("undone", f"{FAILED} became what they were")
        assert await failed(console) == FAILED


async def find(console: Console, function_id: str) -> None:
    """Put the cursor of Queues on the function."""
    await console.press("slash")
    await console.type(function_id)
    await console.press("enter", "down")


async def test_examples_of_a_retry_show_what_failed(start: Start, incident_url: str, size: tuple[int, int]) -> None:
    async with start(incident_url, size=size) as console:
        await fail(console)
        await find(console, "invoices")
        await console.shows("fail")
        await console.press("r")
        await console.shows("review & retry", "KeyError: 'vend")
        await console.shows_stored("filter-retry")
        await console.press("f2")
        await console.shows("Failed: run", "in sync_vendor, at line 14", "attempts")
        await console.press("escape")
        await console.type("event.data.amount > 5")
        await console.shows("✓ valid")
        await console.counted()
        await console.press("f2")
        await console.shows("Why: run", "in sync_vendor, at line 14", "matches")
        await console.press("escape", "shift+tab")
        await console.type("+1h")
        await console.shows("must be in the past")
        assert "standing" not in console.text


async def test_cancelled_runs_are_retried_if_asked_for(start: Start, incident_url: str) -> None:
    async with start(incident_url, size=WIDE) as console:
        await fail(console)
        (run,) = await console.database.fetch(
            "select id from secateur.runs where function_id = 'invoices' and status = 'queued' limit 1"
        )
        cancellations = console.app.session.queue.cancellations
        await cancellations.cancel_run(run["id"], author="nadia", source="tui")
        await find(console, "invoices")
        await console.shows("fail")
        await console.press("r")
        await console.shows(f"{FAILED} of {FAILED} runs", "F7 also cancelled")
        await console.press("f7")
        await console.shows("Retry failed and cancelled runs: billing / invoices", f"{FAILED + 1} of {FAILED + 1} runs")
        await console.press("escape", "r")
        await console.shows("Retry failed and cancelled runs", "F7 failed only")
        await console.press("f9")
        await console.shows(f"Retry {FAILED + 1} runs", "every failed and every cancelled run")
        await console.press("enter")
        await console.settled()
        await console.press("enter")
        await console.shows("✓ retried", f"queued again {FAILED + 1}")
        assert await failed(console) == 0
        await console.press("u")
        await console.shows("Retry failed and cancelled runs: billing / invoices")
