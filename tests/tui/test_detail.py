"""The chosen row's detail in Queues, and the time view."""

from __future__ import annotations

import asyncio
import json
import re
from datetime import UTC, datetime, timedelta

import pytest
from console_driver import SIZES, WIDE, Console, Start
from standing_incident import seed, stop_running
from test_review import consent, review
from textual.widgets import Input

from secateur.looking.aftermath import still_arriving
from secateur.looking.counter import MatchCounter
from secateur.looking.history import Series
from secateur.postgres.database import Database
from secateur.records import Cancellation
from secateur_tui import live
from secateur_tui.frame.hot_table import HotTable
from secateur_tui.queues.detail import DepthDetail
from secateur_tui.queues.screen import QueuesScreen
from secateur_tui.queues.timeline import TimelineScreen

ARRIVE = """
select secateur.enqueue_many('billing', 'vendor-syncs', array_fill($1::jsonb, array[60]),
                             started_at => array_fill(now() + interval '1 hour', array[60]))
"""
"""Sixty runs that count as just arrived, however late that is looked at."""


async def test_what_stands_out_becomes_a_filter(start: Start, incident_url: str) -> None:
    async with start(incident_url, size=WIDE) as console:
        await console.shows("flood", "▾queued")
        await console.until(lambda: console.app.screen.query_one(HotTable).chosen is not None)
        await console.press("tab")
        picked = console.app.screen.query_one(HotTable).chosen
        assert picked is not None
        await console.press("enter")
        await console.shows("Matches", picked.condition)
        await console.press("escape")
        await console.shows("flood")


async def test_the_detail_follows_the_cursor(start: Start, incident_url: str) -> None:
    async with start(incident_url, size=WIDE) as console:
        await console.shows(" billing / vendor-syncs ──", "┤", "└")
        await console.press("down")
        await console.shows(" billing / invoices ──")
        await console.press("home")
        await console.shows(" billing / every function ──")


async def test_there_is_detail_where_there_is_room(start: Start, incident_url: str) -> None:
    async with start(incident_url) as console:
        await console.shows("flood")
        shown = {}
        for width, height in SIZES:
            await console.pilot.resize_terminal(width, height)
            await console.pilot.pause()
            detail = console.app.screen.query_one(DepthDetail)
            shown[height] = detail.size.height if detail.display else 0
        assert shown[15] == 0
        assert 0 < shown[24] < shown[36] < shown[50]


async def test_nothing_is_asked_for_a_detail_that_nobody_sees(start: Start, incident_url: str) -> None:
    async with start(incident_url) as console:
        await console.shows("flood", "┤")
        await console.press("4")
        await console.until(lambda: not following(console))
        await console.press("1")
        await console.until(lambda: following(console))


def following(console: Console) -> bool:
    return any(each.group in ("plot", "suggest") and each.is_running for each in console.app.workers)


async def test_the_time_view_shows_each_range(start: Start, embedded_url: str) -> None:
    async with Database.connect(embedded_url) as database:
        await seed(database)
        await database.execute("select secateur.pause('billing', 'vendor-syncs', 'nadia', 'cli')")
    async with start(embedded_url, size=WIDE) as console:
        await console.shows("flood")
        await console.press("t")
        await console.shows(
            "15 min", "queued", "in/s", "out/s", "paused by nadia", "none of secateur's processes was alive"
        )
        await console.press("t")
        await console.shows("paused by nadia")
        screen = console.app.screen
        assert isinstance(screen, TimelineScreen)
        assert screen._range == "2h"
        await console.press("T")
        assert screen._range == "15m"
        await console.shows("15 min", "queued  ", "in/s")
        await console.press("left", "left")
        at = re.search(r"queued  (\d\d:\d\d:\d\d)  [\d,–]+  in \S+/s  out \S+/s", console.text)
        assert at is not None
        await console.press("home")
        assert f"queued  {at[1]}" not in console.text
        assert re.search(r"queued  \d\d:\d\d:\d\d  ", console.text)
        for key in ("end", "left", "right"):
            await console.press(key)
        assert not re.search(r"queued  \d\d:\d\d:\d\d  ", console.text), "at its right end the cursor goes away"
        for size in SIZES:
            await console.pilot.resize_terminal(*size)
            await console.shows("└", "┤")
        await console.press("escape")
        await console.shows("flood")
        await console.press("t", "enter")
        await console.shows("Matches")


async def test_the_time_view_zooms_in_where_its_cursor_is(start: Start, incident_url: str) -> None:
    async with start(incident_url, size=WIDE) as console:
        await console.shows("flood")
        await console.press("t", "t")
        screen = console.app.screen
        assert isinstance(screen, TimelineScreen)

        async def asked() -> Series:
            await console.until(lambda: screen._series is not None)
            assert screen._series is not None
            return screen._series

        async def look_closer(length: timedelta) -> Series:
            looked_at = screen._looked_at
            await console.press("T")
            series = await asked()
            assert series.steps.until - series.steps.since == length
            assert looked_at is not None
            assert abs(looked_at - series.steps.since - length / 2) < timedelta(seconds=2)
            assert re.search(r"queued  \d\d:\d\d:\d\d  ", console.text), "the cursor stays where it was"
            return series

        await asked()
        await console.press("t")
        await asked()
        await console.press(*["left"] * 40)
        await look_closer(timedelta(hours=2))
        before = await look_closer(timedelta(minutes=15))
        since, until = before.steps.since, before.steps.until
        assert f" {since:%d %b %H:%M} – {until:%H:%M} " in console.text
        await console.press("home", "left")
        earlier = await asked()
        assert earlier.steps.since < since < earlier.steps.until < until, "beyond the edge is what was before"
        await console.press("G")
        now = await asked()
        assert now.steps.until > datetime.now(UTC) - timedelta(minutes=1)
        assert screen._looked_at is None


async def test_f_cancels_what_still_arrives_as_well(
    start: Start, incident_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a commit: the same filter for two hours, in the review, with its confirmation."""
    async with Database.connect(incident_url) as database:
        ended = "update secateur.runs set started_at = now() - interval '1 hour' where started_at > now()"
        await database.execute(ended)  # what arrives in this incident would arrive after the commit, too
    known = asyncio.Event()

    async def look(counter: MatchCounter, cancellation: Cancellation, now: datetime) -> float | None:
        await known.wait()
        return await still_arriving(counter, cancellation, now)

    monkeypatch.setattr(live, "still_arriving", look)
    async with review(start, incident_url) as console:
        await consent(console)
        await console.press("enter")
        await console.shows("in force since")
        await stop_running(console.database)
        await console.press("1")
        await console.shows("▾queued", "z undo")
        # Though nobody knows yet what still arrives.
        await console.until(lambda: re.search(r"✂ [1-9][\d,]* cancelled (just|\d)", console.text))
        known.set()
        await console.press("f")
        assert isinstance(console.app.screen, QueuesScreen), "nothing that matches arrives yet"
        event = json.dumps({"name": "vendor/sync", "data": {"vendor_id": "acme_inc"}})
        await console.database.execute(ARRIVE, event)
        await console.shows("/s still match: f also those", "f also arriving")
        await console.press("f")
        await console.shows("STANDING")
        await console.press("escape")
        for size in SIZES:
            await console.pilot.resize_terminal(*size)
            await console.shows("still match: f", "z undo")  # in fewer words where there is less room
        await console.press("f")
        await console.until(lambda: isinstance(console.app.focused, Input))
        await consent(console)
        await console.press("enter")
        await console.shows("in force since")
        await console.press("1")
        await console.shows("✂∞")
        assert await console.database.fetchval("select count(*) from secateur.cancellations where standing") == 1


async def test_a_reader_is_offered_no_commit(start: Start, incident_url: str) -> None:
    async with start(incident_url, read_only=True) as console:
        await console.shows("flood", "t times")
        await console.press("f")
        assert isinstance(console.app.screen, QueuesScreen)
