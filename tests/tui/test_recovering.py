"""What a pane asks for fails or takes too long: the pane says so, and asks again by itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from console_driver import WIDE, Console, Start
from standing_incident import ACME, ARRIVING, CULPRIT

from secateur.postgres.database import Database
from secateur_tui import session
from secateur_tui.filter.completing import CompletionList
from secateur_tui.filter.editor import ExpressionEditor
from secateur_tui.filter.matches import Matches
from secateur_tui.frame.depth_plot import DepthPlot
from secateur_tui.frame.hot_table import HotTable
from secateur_tui.session import within

TIMEOUT = "did not answer within 1 s; trying"


@pytest.fixture(autouse=True)
def soon_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "LONGEST_AGAIN_SECONDS", 1.0)


@asynccontextmanager
async def locked(url: str, *tables: str) -> AsyncIterator[None]:
    """Who reads these tables meanwhile waits, as on a disk that is far too slow, and gives up after a second."""
    async with Database.connect(url) as database, database.transaction() as connection:
        await connection.execute(f"lock table {', '.join(tables)} in access exclusive mode")
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(session, "within", lambda _, question: within(1.0, question))
            yield


async def test_queues_asks_again_for_the_past_and_for_what_stands_out(start: Start, incident_url: str) -> None:
    async with AsyncExitStack() as held:
        await held.enter_async_context(locked(incident_url, "secateur.depth_samples"))
        async with start(incident_url, size=WIDE) as console:
            await console.shows("flood")
            plot, found = console.app.screen.query_one(DepthPlot), console.app.screen.query_one(HotTable)
            await console.shows(TIMEOUT)
            assert plot.series is None
            await held.aclose()
            await console.until(lambda: plot.series is not None and found.chosen is not None)
            assert TIMEOUT not in console.text
            async with locked(incident_url, "secateur.runs"):
                await console.press("down")
                await console.shows(TIMEOUT)
                assert found.chosen is None or not found.display
            await console.until(lambda: found.display and TIMEOUT not in console.text)


async def filtering(console: Console) -> None:
    await console.press("enter")
    await console.type(CULPRIT + " && event.data.")
    await console.press("ctrl+@")


async def test_filter_asks_again_for_fields_counts_and_examples(start: Start, incident_url: str) -> None:
    async with start(incident_url, size=WIDE) as console:
        await console.shows("flood")
        async with locked(incident_url, "secateur.runs"):
            await filtering(console)
            listed = console.app.screen.query_one(CompletionList)
            await console.until(lambda: "the backlog was not read" in str(listed.border_subtitle))
            assert "vendor_id" not in console.text.partition("╭")[2]
            await console.press("escape")
            console.app.screen.query_one(ExpressionEditor).text = CULPRIT
            await console.shows("not counted", TIMEOUT, "There are examples once the runs are counted.")
        await console.shows(f"{ACME + ARRIVING:,} of 2,1", "exact", "acme_inc")
        await console.type(" && event.data.")
        await console.press("ctrl+@")
        await console.shows("vendor_id", "string · 100 %")
        await console.press("escape")
        console.app.screen.query_one(ExpressionEditor).text = CULPRIT
        await console.counted()
        async with locked(incident_url, "secateur.runs"):
            await console.press("f5")
            await console.shows(TIMEOUT, f"{ACME + ARRIVING:,} of 2,1", "exact · ", "acme_inc")
        await console.until(lambda: not console.app.screen.query_one(Matches).tally.note)


async def test_runs_ask_again(start: Start, incident_url: str) -> None:
    async with start(incident_url, size=WIDE) as console:
        await console.shows("flood")
        async with locked(incident_url, "secateur.runs"):
            await console.press("5")
            await console.shows(TIMEOUT)
        await console.shows("100 listed")


async def test_a_review_counts_again(start: Start, incident_url: str) -> None:
    async with start(incident_url, size=WIDE, query_timeout_seconds=5) as console:
        await console.shows("flood")
        async with locked(incident_url, "secateur.runs"):
            await console.press("enter")
            await console.type(CULPRIT)
            await console.shows("not counted")
            await console.press("f9")
            await console.shows("Not counted", "still not counted: the database did not answer within 5 s")
        await console.shows(f"Cancel {ACME + ARRIVING:,} runs", "exact, just now", "/s still match")
