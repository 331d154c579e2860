"""The places whose tests look at them in other sizes, or not at all, in each of the four sizes."""

from __future__ import annotations

import pytest
from console_driver import NARROW, SIZES, WIDE, Start
from standing_incident import ACME, ARRIVING, CULPRIT
from test_console_proposals import propose
from textual.widgets import Input

from secateur.checked_settings import Context
from secateur.cli.opening import Place
from secateur.settings import Settings
from secateur_tui.contexts import ConfiguredContexts
from secateur_tui.filter.editor import ExpressionEditor

CONFIGURED = {
    "prod": Context(database="postgresql://pg-3/queue", production=True),
    "staging": Context(database="postgresql://pg-staging/queue"),
    "reporting": Context(database="postgresql://pg-9/queue", read_only=True),
}


@pytest.mark.parametrize("size", SIZES, ids=["{}x{}".format(*size) for size in SIZES])
async def test_every_place_fits(start: Start, incident_url: str, size: tuple[int, int]) -> None:
    settings = Settings(contexts=CONFIGURED)
    contexts = ConfiguredContexts(Place(settings, settings.target(context="prod")))
    await propose(incident_url)
    async with start(incident_url, size=size, contexts=contexts) as console:
        await console.shows("flood", "A proposal waits")
        await console.until(lambda: "A proposal waits" not in console.text)
        await console.press("question_mark")
        await console.shows_stored("help")
        await console.press("escape", "ctrl+o")
        await console.shows_stored("contexts")
        await console.press("escape", "t")
        await console.shows("15 min", "longer")
        await console.shows_stored("times")
        await console.press("escape", "colon")
        await console.type("proposal acme")
        await console.press("enter")
        await console.until(lambda: isinstance(console.app.focused, Input))
        await console.shows("proposed by a model", f"{ACME + ARRIVING:,} runs")
        await console.shows_stored("proposal")
        await console.press("escape")
        await console.shows("flood")
        if size in (NARROW, WIDE):
            return  # what follows is looked at in these sizes by the tests of Filter
        await console.filter_for("vendor-syncs", f"{CULPRIT} && evnt.data.amount > 100")
        await console.shows("evnt", "–")
        await console.shows_stored("filter-mistake")
        editor = console.app.screen.query_one(ExpressionEditor)
        editor.text = "event.data."
        editor.move_cursor(editor.document.end)
        await console.press("ctrl+@")
        await console.shows("vendor_id", "string · 100 %")
        await console.shows_stored("filter-completion")
        await console.press("escape")
        editor.text = f"{CULPRIT} && event.data.amount > 100"
        await console.counted()
        await console.press("f2")
        await console.shows("✓ matches", "→ ")
        await console.shows_stored("explain-match")
