"""Keys that are held, pasted or pressed blindly decide nothing."""

from __future__ import annotations

import asyncio
import time

import pytest
from console_driver import NARROW, Console, Start
from standing_incident import CULPRIT
from textual import events

from patience import PATIENCE
from secateur.runs import Scope
from secateur_tui.frame.background import sleep_on_time
from secateur_tui.frame.question import QuestionScreen
from secateur_tui.history.screen import HistoryScreen
from secateur_tui.queues.depth_table import DepthTable
from secateur_tui.queues.screen import QueuesScreen
from secateur_tui.review.consent import CommitButton
from secateur_tui.review.pressing import FRESH_SECONDS

KEY_REPEAT_SECONDS = 1 / 30


async def committed(console: Console) -> int:
    found: int = await console.database.fetchval("select count(*) from secateur.cancellations")
    return found


async def paused(console: Console) -> int:
    found: int = await console.database.fetchval("select count(*) from secateur.functions where paused_at is not null")
    return found


def table(console: Console) -> DepthTable:
    return console.app.screen.query_one(DepthTable)


@pytest.mark.parametrize("fresh", ["enter", "click"])
async def test_a_held_enter_never_commits(start: Start, incident_url: str, fresh: str) -> None:
    async with start(incident_url, confirm_above=10_000) as console:
        await console.filter_for("vendor", CULPRIT)
        await console.shows("exact")
        await console.press("f9")
        await console.shows("enter goes on")
        button = console.app.screen.query_one(CommitButton)
        pressed_at = began = time.monotonic()
        # Repeated as evenly as by a keyboard, however slow the machine is.
        while pressed_at < button.settles_at + 2 * FRESH_SECONDS or not button.has_focus:
            assert pressed_at < began + PATIENCE
            pressed_at += KEY_REPEAT_SECONDS
            enter = events.Key("enter", "\r")
            enter.time = pressed_at
            console.app.post_message(enter)
            await console.at_rest()
        assert await committed(console) == 0
        # The connection stalled, or the keyboard took long to repeat it: then the next ones come at once.
        for times in range(1, 4):
            enter = events.Key("enter", "\r")
            enter.time = pressed_at + 2 * FRESH_SECONDS + times * KEY_REPEAT_SECONDS
            console.app.post_message(enter)
        await console.shows("enter is held down: let go of it")
        assert await committed(console) == 0
        await console.settled()
        if fresh == "enter":
            pressed_at += 3 * FRESH_SECONDS
            await console.until(lambda: time.monotonic() > pressed_at + FRESH_SECONDS)
            await console.press("enter")
        else:
            await console.pilot.click(CommitButton)
        await console.until(lambda: isinstance(console.app.screen, HistoryScreen))
        assert await committed(console) == 1


async def test_what_comes_while_the_loop_stands_still_is_waited_for() -> None:
    stalled, seconds = 0.5, 0.1
    began = time.monotonic()
    asyncio.get_running_loop().call_later(seconds / 2, time.sleep, stalled)
    await sleep_on_time(seconds)
    assert time.monotonic() - began >= seconds / 2 + stalled + seconds


async def test_text_that_comes_as_keys_answers_no_question(start: Start, incident_url: str) -> None:
    async with start(incident_url) as console:
        console.burst(*"copy")
        await console.at_rest()
        assert isinstance(console.app.screen, QuestionScreen)
        assert await paused(console) == 0
        await console.press("y")
        await console.until(lambda: isinstance(console.app.screen, QueuesScreen))
        await console.shows("Paused")
        assert await paused(console) == 1


async def test_no_is_taken_at_once(start: Start, incident_url: str) -> None:
    async with start(incident_url) as console:
        console.burst("p", "escape")
        await console.at_rest()
        assert isinstance(console.app.screen, QueuesScreen)


async def test_a_paste_that_the_terminal_does_not_mark_is_dropped(start: Start, incident_url: str) -> None:
    async with start(incident_url) as console:
        before = table(console).scope
        console.burst(*("copy the quick brown fox jumps over " * 200).replace(" ", ""))
        await console.at_rest()
        await console.shows("Pasted text was ignored")
        assert isinstance(console.app.screen, QueuesScreen)
        assert table(console).scope == before
        assert await paused(console) == 0


async def test_the_first_character_of_such_a_paste_does_nothing_either(start: Start, incident_url: str) -> None:
    """A terminal delivers it before the others."""
    async with start(incident_url) as console:
        first, *others = ("pyqUxZ the quick brown fox jumps over " * 10).replace(" ", "")
        console.burst(first)
        for _ in range(3):
            await asyncio.sleep(0)
        console.burst(*others)
        await console.at_rest()
        await console.shows("Pasted text was ignored")
        assert isinstance(console.app.screen, QueuesScreen)
        assert await paused(console) == 0


async def test_a_held_key_is_no_paste(start: Start, incident_url: str) -> None:
    async with start(incident_url) as console:
        await console.press("g")
        console.burst(*["j"] * 200)
        await console.at_rest()
        assert table(console).scope == Scope("growth", "weekly-digest")


async def test_a_search_that_is_given_up_puts_the_cursor_back(start: Start, incident_url: str) -> None:
    async with start(incident_url) as console:
        before = table(console).scope
        for text in ("digest", "no such function"):
            await console.press("slash")
            await console.type(text)
            await console.press("escape")
            assert table(console).scope == before
            assert "▌" in console.text


async def test_the_row_that_keys_act_on_is_on_the_screen(start: Start, incident_url: str) -> None:
    async with start(incident_url, size=NARROW) as console:
        await console.database.execute(
            "select secateur.register_function('monolith', format('function-%s', nth), '{}', 3)"
            "  from generate_series(1, 200) as nth"
        )
        await console.shows("206 functions")
        await console.press("slash")
        await console.type("function-77")
        await console.press("enter", "down", "escape")
        await console.until(lambda: "▌" in console.text)
        assert table(console).scope == Scope("monolith", "function-77")
        assert any("▌" in line and "function-77" in line for line in console.text.splitlines())
        await console.pilot.resize_terminal(60, 15)
        await console.until(lambda: "▌" in console.text)
        assert table(console).scope == Scope("monolith", "function-77")
