"""Help while writing a condition: completion, warnings with their fix, and the explanation of one run."""

from __future__ import annotations

from console_driver import Start
from standing_incident import CULPRIT

from secateur_tui.filter.completing import CompletionList
from secateur_tui.filter.editor import ExpressionEditor
from secateur_tui.filter.examples import Examples
from secateur_tui.filter.screen import FilterScreen


async def test_fields_that_are_really_there_are_offered(start: Start, incident_url: str, size: tuple[int, int]) -> None:
    async with start(incident_url, size=size) as console:
        await console.filter_for("vendor-syncs", "event.data.")
        await console.press("ctrl+@")
        await console.shows("vendor_id", "string · 100 %", "amount", "int · 99 %")
        await console.shows_stored("filter-completion")
        await console.press("down", "up", "tab")
        editor = console.app.screen.query_one(ExpressionEditor)
        assert editor.text == "event.data.vendor_id"
        assert "string · 100 %" not in console.text
        await console.type(" ==  ")
        await console.press("ctrl+@")
        await console.shows("'acme_inc'", "'globex'")
        await console.press("enter")
        assert editor.text == "event.data.vendor_id ==  'acme_inc'"
        await console.counted()


async def test_the_list_follows_the_word_and_closes_with_it(start: Start, incident_url: str) -> None:
    async with start(incident_url) as console:
        await console.filter_for("vendor-syncs", "event.data.")
        await console.press("ctrl+@")
        await console.shows("region ", "string · 99 %")
        await console.type("am")
        candidates = console.app.screen.query_one(CompletionList)
        assert candidates.is_open
        assert candidates.option_count == 1
        await console.type(" ")
        assert not console.app.screen.query_one(CompletionList).is_open
        await console.press("backspace", "ctrl+@")
        assert console.app.screen.query_one(CompletionList).is_open
        await console.press("escape")
        assert not console.app.screen.query_one(CompletionList).is_open
        assert isinstance(console.app.screen, FilterScreen)


async def test_the_rest_of_a_word_stands_grey_behind_the_cursor(start: Start, incident_url: str) -> None:
    async with start(incident_url) as console:
        await console.filter_for("vendor-syncs", "event.data.ven")
        editor = console.app.screen.query_one(ExpressionEditor)
        await console.until(lambda: editor.suggestion == "dor_id")
        assert editor.text == "event.data.ven"
        await console.press("right")
        assert editor.text == "event.data.vendor_id"


async def test_a_field_that_nobody_has_is_warned_about_and_mended(
    start: Start, incident_url: str, size: tuple[int, int]
) -> None:
    async with start(incident_url, size=size) as console:
        await console.filter_for("vendor-syncs", f"{CULPRIT} && event.data.amont > 100")
        await console.shows("none of 2,120 sampled", "`amount`?", "F3", "! valid, but see below", "! 623 runs cannot")
        await console.counted()
        await console.shows_stored("filter-warning")
        await console.press("alt+enter")
        editor = console.app.screen.query_one(ExpressionEditor)
        assert editor.text == f"{CULPRIT} && event.data.amount > 100"
        await console.counted()
        assert "F3" not in console.text
        await console.press("ctrl+z")
        assert "amont" in editor.text


async def test_a_mistake_is_mended_by_its_suggestion(start: Start, incident_url: str) -> None:
    async with start(incident_url) as console:
        await console.filter_for("vendor-syncs", "event.data.vendor_id = acme_inc")
        await console.shows("✗ 1:22", "write `==`")
        await console.press("f3")
        await console.shows("write 'acme_inc'")
        await console.press("f3")
        await console.shows("✓ valid", "exact")
        assert console.app.screen.query_one(ExpressionEditor).text == CULPRIT


async def test_one_run_is_explained(start: Start, incident_url: str, size: tuple[int, int]) -> None:
    async with start(incident_url, size=size) as console:
        await console.filter_for("vendor-syncs", f"{CULPRIT} && event.data.amount > 100")
        await console.shows("exact", "│ ! 3 ")
        await console.press("f2")
        await console.shows("✓ matches", "event.data.amount", "→ ")
        await console.shows_stored("explain-match")
        await console.press("escape")
        await console.focus(Examples)
        await console.press("]", "]", "f2")
        await console.shows("cannot be evaluated", "without this it would", "no such field")
        await console.press("f2")
        assert isinstance(console.app.screen, FilterScreen)


async def test_near_misses_come_first_with_what_keeps_them_out(
    start: Start, incident_url: str, size: tuple[int, int]
) -> None:
    async with start(incident_url, size=size) as console:
        await console.filter_for("vendor-syncs", "event.data.vendor_id == 'globex' && event.data.amount < 5")
        await console.counted()
        await console.focus(Examples)
        await console.press("]")
        await console.shows("kept out by")
        await console.shows_stored("filter-near-misses")
        await console.press("f2")
        await console.shows("without this it would")
        await console.shows_stored("explain-near-miss")


async def test_without_an_example_there_is_nothing_to_explain(start: Start, incident_url: str) -> None:
    async with start(incident_url) as console:
        await console.filter_for("vendor-syncs")
        assert "F2" not in console.text.splitlines()[-1]
        await console.press("f2")
        assert isinstance(console.app.screen, FilterScreen)
