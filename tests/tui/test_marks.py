"""Marks: several functions of an app in one filter, from Queues to the redo."""

from __future__ import annotations

from console_driver import NARROW, Console, Start
from standing_incident import stop_running
from test_review import consent
from test_taking_back import is_back, states
from textual.widgets import Input

from patience import eventually
from secateur.runs import Functions
from secateur_tui.queues.depth_table import DepthTable
from secateur_tui.queues.screen import QueuesScreen


async def go_to(console: Console, name: str) -> None:
    await console.press("g")
    table = console.app.screen.query_one(DepthTable)
    for _ in table.keys:
        if table.scope is not None and name in table.scope.names:
            return
        await console.press("j")
    raise AssertionError(f"there is no {name}")


async def test_what_is_marked_is_one_filter_from_queues_to_redo(start: Start, incident_url: str) -> None:
    async with start(incident_url, size=NARROW, confirm_above=100) as console:
        await console.shows("flood")
        for name in ("vendor-syncs", "invoices"):
            await go_to(console, name)
            await console.press("m")
        await console.shows("2 marked ●", " ● invoices", " ● vendor-syncs", "esc unmark")
        await console.press("enter")
        await console.shows("billing / invoices and vendor-syncs")
        await console.type("event.name != ''")
        await console.counted()
        await console.shows("2,174", "█")
        await console.press("f9")
        await console.until(lambda: isinstance(console.app.focused, Input))
        await console.shows(
            "Cancel 2,174 runs of billing / invoices and vendor-syncs", "type billing or 2,174  to confirm"
        )
        await consent(console, "billing")
        await console.press("enter")
        await console.shows("in force since", "billing / invoices ", "billing / vendor-syncs ")
        assert len(await states(console)) == 2
        await stop_running(console.database)
        await eventually(lambda: all_are(console, "complete"), "both sweeps")
        await console.press("1")
        await console.shows("2,054 cancelled")
        assert isinstance(console.app.screen, QueuesScreen)
        await console.press("z")
        await console.shows("Undo the cancellation of billing / invoices and vendor-syncs", "2,046 runs that waited")
        await console.press("y")
        await console.shows("are coming back")
        await eventually(lambda: is_back(console), "the undo of both")
        await console.shows("2,046 are back")
        await console.press("Z")
        await console.shows("Cancel again: billing / invoices and vendor-syncs")
        await console.press("y")
        await console.shows("Committed again")
        assert (await states(console))[:2] == ["undone", "undone"]
        assert len(await states(console)) == 4


async def all_are(console: Console, state: str) -> bool:
    return set(await states(console)) == {state}


async def test_marks_are_of_functions_of_one_app(start: Start, incident_url: str) -> None:
    async with start(incident_url) as console:
        await console.shows("flood")
        table = console.app.screen.query_one(DepthTable)
        await console.press("g", "m")
        await console.shows("Marks are for functions")
        assert table.marked is None
        await go_to(console, "invoices")
        await console.press("m")
        await go_to(console, "welcome-mail")
        await console.press("m")
        await console.shows("A filter is of one app, and functions of")
        await go_to(console, "vendor-syncs")
        await console.press("m")
        assert table.marked == Functions("billing", ("invoices", "vendor-syncs"))
        await console.press("5")
        await console.shows("Runs: billing / invoices and vendor-syncs")
        while not isinstance(console.app.screen, QueuesScreen):
            await console.press("escape")  # the first one may only stop the search
        await console.press("escape")
        await console.until(lambda: "marked" not in console.text)
        assert table.marked is None
