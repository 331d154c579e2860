"""What lies between the commit key and its guarantee on the screen, in statements and in drawings of the screen."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from console_driver import WIDE, Start
from test_review import consent, review

from patience import PATIENCE
from secateur_tui.app import ConsoleApp
from secateur_tui.history.screen import HistoryScreen
from secateur_tui.review.committing import Committing
from secateur_tui.review.consent import Consent
from secateur_tui.review.gathering import Gathering
from secateur_tui.review.screen import ReviewScreen


async def test_the_guarantee_is_painted_after_one_statement_and_no_layout(
    start: Start, incident_url: str, statements: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    laid_out = 0
    seen: list[tuple[str, list[str], int]] = []
    lay_out, lead_on = ReviewScreen._refresh_layout, ConsoleApp._show_committed

    def counting(self: ReviewScreen, *given: Any, **named: Any) -> None:
        nonlocal laid_out
        laid_out += 1
        lay_out(self, *given, **named)

    def painted(self: ConsoleApp, *given: Any) -> None:
        commits = [each for each in statements if "commit_cancellations" in each and not each.startswith("explain")]
        seen.append((console.text, commits, laid_out))
        lead_on(self, *given)

    monkeypatch.setattr(ConsoleApp, "_show_committed", painted)
    async with review(start, incident_url, size=WIDE, refresh_seconds=3600) as console:
        await consent(console)
        monkeypatch.setattr(ReviewScreen, "_refresh_layout", counting)
        await console.press("enter")
        await console.until(lambda: isinstance(console.app.screen, HistoryScreen))
    ((text, commits, layouts),) = seen
    assert "guaranteed" in text
    assert len(commits) == 1
    # Where the database takes its time, `committing…` takes one.
    assert layouts <= 1


async def test_at_the_button_a_session_is_made_ready_and_nothing_is_written(
    start: Start, incident_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = asyncio.Event()
    make_ready = Gathering.make_ready

    async def watched(self: Gathering) -> None:
        await make_ready(self)
        made.set()

    async def refused(self: Gathering) -> None:
        raise AssertionError("nobody is at the button")

    monkeypatch.setattr(Gathering, "make_ready", refused)
    async with review(start, incident_url) as console:
        monkeypatch.setattr(Gathering, "make_ready", watched)
        await consent(console)
        await asyncio.wait_for(made.wait(), PATIENCE)
        assert await console.database.fetchval("select count(*) from secateur.cancellations") == 0


async def test_the_commit_is_on_its_way_before_the_screen_is_drawn_anew(
    start: Start, incident_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    begin, close = Committing.start, Consent.close

    def began(self: Committing, *given: Any) -> None:
        order.append("commit")
        begin(self, *given)

    def closed(self: Consent) -> None:
        order.append("draw")
        close(self)

    monkeypatch.setattr(Committing, "start", began)
    monkeypatch.setattr(Consent, "close", closed)
    async with review(start, incident_url) as console:
        await consent(console)
        lock = console.database.transaction()
        async with lock as blocking:
            await blocking.execute("select from secateur.apps where app_id = 'billing' for update")
            await blocking.execute("lock table secateur.cancellations in exclusive mode")
            await console.press("enter")
            await console.shows("committing…")
            assert order == ["commit", "draw"]
        await console.until(lambda: isinstance(console.app.screen, HistoryScreen))
