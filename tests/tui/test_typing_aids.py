"""What the editor does with keys that one presses without thinking, and what it says meanwhile."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from console_driver import Start
from standing_incident import CULPRIT

from secateur.errors import Unreachable
from secateur_tui.filter.completing import CompletionList
from secateur_tui.filter.editor import ExpressionEditor
from secateur_tui.filter.screen import FilterScreen
from secateur_tui.queues.screen import QueuesScreen


@pytest.mark.parametrize("key", ["f6", "f7"])
async def test_no_function_key_selects_what_the_next_letter_replaces(start: Start, incident_url: str, key: str) -> None:
    async with start(incident_url) as console:
        await console.filter_for("vendor-syncs", CULPRIT)
        await console.press(key)
        if key == "f6":
            await console.shows("F6 needs a window that ends later")
        await console.type(" Z")
        assert console.app.screen.query_one(ExpressionEditor).text == f"{CULPRIT} Z"


async def test_a_second_enter_is_not_typed_into_the_expression(start: Start, incident_url: str) -> None:
    async with start(incident_url) as console:
        console.burst("enter", "enter", "enter")
        await console.until(lambda: isinstance(console.app.screen, FilterScreen))
        await console.at_rest()
        editor = console.app.screen.query_one(ExpressionEditor)
        assert editor.text == ""
        await console.shows("exact")
        await console.type("a")
        await console.until(lambda: editor.text == "a")
        await console.press("enter")
        await console.type("b")
        assert editor.text == "a\nb"


async def test_brackets_and_quotes_are_paired_and_typed_over(start: Start, incident_url: str) -> None:
    async with start(incident_url) as console:
        await console.filter_for("vendor-syncs")
        editor = console.app.screen.query_one(ExpressionEditor)
        await console.press("(")
        assert (editor.text, editor.offset_in_text) == ("()", 1)
        await console.press("backspace")
        assert editor.text == ""
        await console.type("size(event.data.items[0")
        assert editor.text == "size(event.data.items[0])"
        await console.press("ctrl+w", "ctrl+w")
        assert editor.text == "size(event.data.items)"
        await console.press("ctrl+u")
        assert editor.text == ""
        await console.type(f"({CULPRIT}) && size(event.data) > 1")
        assert editor.text == f"({CULPRIT}) && size(event.data) > 1"
        await console.press("ctrl+z")
        assert len(editor.text) < len(f"({CULPRIT}) && size(event.data) > 1")


async def test_grey_text_inside_of_quotes_leads_behind_them(start: Start, incident_url: str) -> None:
    async with start(incident_url) as console:
        await console.filter_for("vendor-syncs", "event.data.vendor_id == ")
        editor = console.app.screen.query_one(ExpressionEditor)
        await console.press("'", "a")
        await console.until(lambda: editor.suggestion == "cme_inc")
        await console.press("tab")
        assert (editor.text, editor.offset_in_text) == (CULPRIT, len(CULPRIT))


async def test_message_and_grey_text_agree(start: Start, incident_url: str) -> None:
    async with start(incident_url) as console:
        await console.filter_for("vendor-syncs", "event.d")
        await console.shows("event.data", "… data: tab completes it")
        assert "did you mean" not in console.text


async def test_a_list_opened_early_waits_for_the_sample(
    start: Start, incident_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampled = asyncio.Event()
    async with start(incident_url) as console:
        reader = console.app.session.queue.reader
        shape = reader.shape

        async def held_up(*arguments: Any) -> Any:
            await sampled.wait()
            return await shape(*arguments)

        monkeypatch.setattr(reader, "shape", held_up)
        await console.filter_for("vendor-syncs", "event.data.")
        await console.press("ctrl+@")
        await console.shows("reading the backlog")
        assert "vendor_id  string" not in console.text
        sampled.set()
        await console.shows("vendor_id", "string · 100 %")
        assert "reading the backlog" not in console.text


async def test_a_suggestion_is_waited_for_as_it_would_be_taken(
    start: Start, incident_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    known, is_lost = asyncio.Event(), False
    async with start(incident_url) as console:
        await console.shows("flood")
        reader = console.app.session.queue.reader
        suggest = reader.suggest

        async def held_up(*arguments: Any) -> Any:
            await known.wait()
            if is_lost:
                raise Unreachable("the suggestion got lost")
            return await suggest(*arguments)

        monkeypatch.setattr(reader, "suggest", held_up)
        await console.filter_for("vendor-syncs", still_looking=True)
        editor = console.app.screen.query_one(ExpressionEditor)
        await console.shows("tab wait for a suggestion")
        assert "take the grey text" not in console.text
        # The keys of every other day: nobody reviews what has no condition yet.
        await console.press("tab", "f9")
        await console.shows("Still looking for what stands out")
        assert (isinstance(console.app.screen, FilterScreen), editor.has_focus) == (True, True)
        # Whoever types, or leaves, does not wait.
        await console.type("true")
        assert not editor.is_waiting
        await console.press(*["backspace"] * 4, "tab")
        assert (editor.is_waiting, editor.has_focus) == (True, True)
        await console.press("tab")
        assert (editor.is_waiting, editor.has_focus) == (False, False)
        await console.press("shift+tab", "tab")
        assert editor.is_waiting
        known.set()
        await console.shows(CULPRIT, "✓ valid")
        assert (editor.text, editor.has_focus) == (CULPRIT, True)
        # What is not found is not waited for.
        known.clear()
        is_lost = True
        await console.press("escape")
        await console.until(lambda: isinstance(console.app.screen, QueuesScreen))
        await console.filter_for("invoices", still_looking=True)
        editor = console.app.screen.query_one(ExpressionEditor)
        await console.press("tab")
        assert editor.is_waiting
        known.set()
        await console.shows("the suggestion got lost")
        assert not editor.is_waiting
        # The keys of every other day, which must not come to a review of every run unseen.
        await console.shows("no suggestion to take: F9 reviews every run")
        assert "wait for a suggestion" not in console.text
        await console.press("f9")
        await console.shows("F9 again reviews every run")
        assert isinstance(console.app.screen, FilterScreen)
        await console.press("tab")
        assert not editor.has_focus
        await console.press("f9")
        assert isinstance(console.app.screen, FilterScreen)
        await console.press("f9")
        await console.shows("Review", "every run")


@pytest.mark.parametrize("size", [(80, 24), (120, 36)], ids=str)
async def test_the_list_covers_neither_the_message_nor_the_counts(
    start: Start, incident_url: str, size: tuple[int, int]
) -> None:
    async with start(incident_url, size=size) as console:
        await console.press("enter")
        await console.type("event.")
        await console.press("ctrl+@")
        candidates = console.app.screen.query_one(CompletionList)
        await console.until(lambda: candidates.region.height > 2)
        assert candidates.region.y >= console.app.screen.query_one("#lower").region.y - 1


async def test_where_nothing_fits_the_key_says_so(start: Start, incident_url: str) -> None:
    async with start(incident_url) as console:
        await console.filter_for("vendor-syncs", "x.exists(")
        await console.press("ctrl+@")
        await console.shows("Nothing fits here.")
