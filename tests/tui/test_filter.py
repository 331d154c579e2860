"""Filter: checked at every keystroke, counted live, never old without saying so."""

from __future__ import annotations

import asyncio
import re
import time
from datetime import datetime

import pytest
from console_driver import SIZES, Console, Start
from standing_incident import ACME, ARRIVING, CULPRIT

from patience import eventually
from secateur.looking import wording
from secateur.requests import CancellationRequest
from secateur.runs import Count
from secateur_tui.filter.editor import ExpressionEditor
from secateur_tui.filter.examples import Examples
from secateur_tui.filter.matches import Matches, Stage
from secateur_tui.filter.screen import FilterScreen

MATCHING = f"{ACME + ARRIVING:,}"
WAITING_COUNTS = """
select array_agg(query_start) from pg_stat_activity
 where datname = current_database() and wait_event_type = 'Lock' and query like '%pg_relation_size(''secateur.runs'')%'
"""
"""When each count and each estimate that waits for a lock began; null if none does."""
MORE_RUNS = """
select secateur.enqueue_many('billing', 'vendor-syncs', array_agg(jsonb_build_object('name', 'vendor/sync', 'data',
         jsonb_build_object('vendor_id', (array['globex', 'acme_inc', 'initech', 'hooli'])[1 + nth % 4], 'amount', 1))))
  from generate_series(1, 40000) as nth
"""


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
async def test_a_filter_is_counted_with_examples(
    start: Start, incident_url: str, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Soon after midnight the incident began on another day, which would be told; the stored screens are of one day.
    monkeypatch.setattr(wording, "_clock", lambda moment, now: f"{moment:%H:%M}")
    async with start(incident_url, size=size) as console:
        await console.filter_for("vendor-syncs")
        await console.shows("of arrivals since")
        await console.shows_stored("filter-empty")
        await console.type(CULPRIT)
        await console.shows(f"{MATCHING} of", "exact", f"✓ {MATCHING}", "✗ 1,497", "acme_inc")
        await console.shows_stored("filter")
        await console.focus(Examples)
        await console.press("]", "]", "]")
        await console.until(lambda: vendors(console) == {"globex", "initech", "hooli"})
        await console.press("[", "[", "[")
        await console.until(lambda: vendors(console) == {"acme_inc"})


def vendors(console: Console) -> set[str]:
    """Of the examples that are listed."""
    found = re.findall("acme_inc|globex|initech|hooli", listed(console))
    return set(found)


def listed(console: Console) -> str:
    examples = console.app.screen.query_one(Examples)
    return "\n".join(examples._line(index).plain for index in range(len(examples.keys)))


async def test_a_mistake_is_shown_at_its_column(start: Start, incident_url: str, size: tuple[int, int]) -> None:
    async with start(incident_url, size=size) as console:
        await console.filter_for("vendor-syncs", f"{CULPRIT} && evnt.data.amount > 100")
        await console.shows("✗ 1:39", "evnt", "–")
        lines = console.text.splitlines()
        caret = next(line for line in lines if "▲" in line)
        above = lines[lines.index(caret) - 1]
        assert above[caret.index("▲") :].startswith("evnt")
        assert "F9" not in lines[-1]
        await console.shows_stored("filter-mistake")


async def test_runs_that_cannot_be_evaluated_are_counted_and_explained(
    start: Start, incident_url: str, size: tuple[int, int]
) -> None:
    async with start(incident_url, size=size) as console:
        await console.filter_for("vendor-syncs")
        await console.until(lambda: console.app.screen._hot_fields)
        await console.type("event.data.amount > 100")
        await console.shows("3 runs cannot be evaluated", "│ ! 3 ")
        await console.focus(Examples)
        await console.press("]", "]")
        await console.shows("to match them too: !has(event.data.amount) || …", "(missing)")
        await console.shows_stored("filter-errors")


async def test_counting_dims_the_old_figures_and_says_so(start: Start, incident_url: str) -> None:
    async with start(incident_url) as console:
        await console.filter_for("vendor-syncs", CULPRIT)
        await console.shows("exact")
        async with console.database.transaction() as connection:
            await connection.execute("lock table secateur.runs in access exclusive mode")
            await console.press("space")
            assert console.app.screen.query_one(Matches).tally.stage is Stage.COUNTING
            assert "runs before" in console.text
        await console.shows("exact")


async def test_an_older_query_is_cancelled_in_the_database(start: Start, incident_url: str) -> None:
    async with start(incident_url, size=(120, 36), refresh_seconds=3600) as console:
        await console.filter_for("vendor-syncs", "event.data.amount")
        blocker = console.database.transaction()
        async with blocker as connection:
            # Counting waits for this lock, as it would wait for a table too large.
            await connection.execute("lock table secateur.runs in access exclusive mode")
            older = None
            for text in (" > 1", "1", "2"):
                await console.type(text)

                async def only_newer_ones(older: datetime | None = older) -> datetime | None:
                    began = await console.database.fetchval(WAITING_COUNTS)
                    return max(began) if began and (older is None or min(began) > older) else None

                older = await eventually(only_newer_ones, "the newer count, and no older one")
        await console.shows("exact")


async def test_leaving_cancels_the_count_in_the_database(start: Start, incident_url: str) -> None:
    async with start(incident_url, refresh_seconds=3600) as console:
        await console.filter_for("vendor-syncs", CULPRIT)
        await console.shows("exact")
        async with console.database.transaction() as connection:
            await connection.execute("lock table secateur.runs in access exclusive mode")
            await console.press("space")
            await eventually(lambda: console.database.fetchval(WAITING_COUNTS), "the count")
            await console.press("escape")
            await console.shows("Queues")
            await eventually(lambda: console.database.fetchval(f"select ({WAITING_COUNTS}) is null"), "the count's end")


async def test_an_estimate_with_its_interval_stands_in_until_the_exact_count_is_there(
    start: Start, incident_url: str, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a backlog that is worth a sample; the exact count is held up, as by a slower disk."""
    exact_may_end = asyncio.Event()
    async with start(incident_url, size=size) as console:
        await console.database.execute(MORE_RUNS)
        await console.filter_for("vendor-syncs")
        counter = console.app.session.queue.reader.counter
        count = counter.count

        async def held_up(request: CancellationRequest, *, on_primary: bool = False) -> Count:
            await exact_may_end.wait()
            return await count(request, on_primary=on_primary)

        monkeypatch.setattr(counter, "count", held_up)
        await console.type(CULPRIT)
        await console.shows("≈ estimate", "95 % sure; the exact count is under way")
        shown = console.app.screen.query_one(Matches).tally.count
        assert shown is not None
        assert shown.low is not None
        assert shown.high is not None
        assert shown.low < shown.matched < shown.high
        found = re.search(r"about ([\d,]+) of 42,120 runs  \(([\d,]+) – ([\d,]+)\)", console.text)
        assert found is not None
        matched, low, high = (int(figure.replace(",", "")) for figure in found.groups())
        assert low <= shown.low < matched < shown.high <= high
        await console.type(" &&")
        await console.shows("counts return once the filter is valid")
        assert "estimate" not in console.text
        assert "95 % sure" not in console.text
        await console.press("backspace", "backspace", "backspace")
        await console.shows("≈ estimate", "95 % sure")
        exact_may_end.set()
        await console.shows(f"{ACME + ARRIVING + 10_000:,} of 42,120 runs", "exact")
        assert "estimate" not in console.text


async def test_an_exact_count_by_a_replica_says_so_and_how_old_it_is(
    start: Start, incident_url: str, size: tuple[int, int]
) -> None:
    async with start(incident_url, size=size, replica=incident_url) as console:
        await console.filter_for("vendor-syncs", CULPRIT)
        await console.shows(f"{MATCHING} of", "exact", "counted by the replica, as of", "UTC")


async def test_a_replica_that_cannot_be_read_is_told_of(
    start: Start, incident_url: str, empty_database_url: str
) -> None:
    async with start(incident_url, replica=empty_database_url) as console:
        await console.filter_for("vendor-syncs", CULPRIT)
        await console.shows(f"{MATCHING} of", "exact", "! counted here, not by the replica")


async def test_relative_times_show_the_instant_they_mean(start: Start, incident_url: str) -> None:
    async with start(incident_url) as console:
        await console.filter_for("vendor-syncs")
        await console.press("shift+tab", "shift+tab")
        await console.type("-2h")
        await console.shows("= ", "UTC, 2h 00m ago")
        await console.shows(f"{ARRIVING:,} of", "exact")
        await console.press("tab")
        await console.type("-3h")
        await console.shows("must be later than from", "–")
        await console.press("backspace", "backspace", "backspace")
        await console.type("tomorrowish")
        await console.shows("✗")


async def test_a_window_that_ends_in_the_future_has_to_be_asked_for(
    start: Start, incident_url: str, size: tuple[int, int]
) -> None:
    async with start(incident_url, size=size) as console:
        await console.filter_for("vendor-syncs", CULPRIT)
        await console.shows("exact")
        assert "F6" not in console.text
        await console.press("shift+tab")
        await console.type("+2h")
        await console.shows("! in the future: F6 makes it standing", "F6 make standing", "exact")
        assert "F9" not in console.text.splitlines()[-1]
        await console.press("f9")
        assert isinstance(console.app.screen, FilterScreen)
        await console.shows("The window ends in the future")
        await console.press("f6")
        await console.shows("◆ STANDING: also cancels what arrives", "F6 not standing", "F9 review")
        await console.until(lambda: "The window ends" not in console.text)
        await console.shows("exact")
        await console.shows_stored("filter-standing")
        await console.press("f6")
        await console.shows("! in the future", "F6 make standing")
        await console.press("f6", "escape", "enter")
        await console.shows("◆ STANDING", "+2h")


async def test_a_standing_wish_ends_with_the_future(start: Start, incident_url: str) -> None:
    async with start(incident_url) as console:
        await console.filter_for("vendor-syncs", CULPRIT)
        await console.press("shift+tab")
        await console.type("+1h")
        await console.press("f6")
        await console.shows("◆ STANDING")
        await console.press("backspace", "backspace", "backspace")
        await console.shows("at the commit", "F9 review")
        assert "F6" not in console.text
        await console.type("+1h")
        await console.shows("! in the future")
        assert "◆ STANDING" not in console.text
        await console.press("backspace", "backspace", "backspace")
        await console.type("+30d")
        await console.shows("✗ may be at most 7d 0h ahead")
        assert "F6" not in console.text
        await console.press("backspace", "backspace", "backspace", "backspace")
        await _stand_for_a_moment(console)
        await console.shows("exact", "F9 review")
        await console.until(lambda: "◆ STANDING" not in console.text)
        assert "F6" not in console.text
        screen = console.app.screen
        assert isinstance(screen, FilterScreen)
        assert not screen.draft.standing


async def _stand_for_a_moment(console: Console) -> None:
    """Longer where the future has come before a slow machine takes the key."""
    for end in ("+3s", "+9s", "+30s"):
        await console.type(end)
        await console.press("f6")
        await console.until(lambda: "◆ STANDING" in console.text or "F6" not in console.text)
        if "◆ STANDING" in console.text:
            return
        await console.press(*["backspace"] * len(end))
    raise AssertionError("it is over before it stands")


async def test_ten_thousand_pasted_characters_are_survived(start: Start, incident_url: str) -> None:
    async with start(incident_url) as console:
        await console.filter_for("vendor-syncs")
        editor = console.app.screen.query_one(ExpressionEditor)
        for text in (" || ".join([CULPRIT] * 300)[:10_000], "(" * 10_000, "'" * 9_999, "x\n" * 5_000):
            began = time.process_time()
            editor.text = text
            await console.pilot.pause()
            assert time.process_time() - began < 5
            await console.shows("✗")
        editor.text = CULPRIT
        await console.shows(f"{MATCHING} of", "exact")


async def test_leaving_keeps_what_was_typed(start: Start, incident_url: str) -> None:
    async with start(incident_url) as console:
        await console.filter_for("vendor-syncs", CULPRIT)
        await console.press("escape")
        await console.shows("Queues")
        await console.press("enter")
        await console.shows(CULPRIT)


async def test_a_whole_app_can_be_filtered(start: Start, incident_url: str) -> None:
    async with start(incident_url, size=(120, 36)) as console:
        await console.shows("flood")
        await console.press("home", "enter")
        await console.shows("billing / every function", "no condition", "vendor-syncs 2,")
        assert isinstance(console.app.screen, FilterScreen)


async def test_one_example_can_be_cancelled_alone(start: Start, incident_url: str, size: tuple[int, int]) -> None:
    async with start(incident_url, size=size) as console:
        await console.filter_for("vendor-syncs", CULPRIT)
        await console.counted()
        assert "x cancel" not in console.text
        await console.focus(Examples)
        await console.shows("x cancel run")
        chosen = console.app.screen.query_one(Examples).chosen
        assert chosen is not None
        await console.press("x")
        await console.shows(
            "Cancel this one run of billing / vendor-syncs?",
            chosen.id,
            "It waits, and never starts.",
            "y cancel this run",
        )
        await console.press("enter", "escape", "x")
        await console.shows("Cancel this one run")
        await console.press("y")
        await console.shows(f"{ACME + ARRIVING - 1} of", "exact", "Cancelled this run")
        cancelled = await console.database.fetch("select id from secateur.runs where status = 'cancelled'")
        assert [str(row["id"]) for row in cancelled] == [chosen.id]
        await console.press("4")
        await console.shows("one run of billing", "✓ complete", f"run      {chosen.id}", "U undo")
        assert "use as filter" not in console.text
        await console.press("U")
        await console.shows("1 run that waited goes back to what it was")
        await console.press("y")
        await console.shows("↺ undone", "1 came back as it was")
        assert not await console.database.fetch("select id from secateur.runs where status = 'cancelled'")


async def test_a_read_only_console_cancels_no_single_run(start: Start, incident_url: str) -> None:
    async with start(incident_url, read_only=True) as console:
        await console.filter_for("vendor-syncs", CULPRIT)
        await console.counted()
        await console.focus(Examples)
        await console.press("x")
        assert isinstance(console.app.screen, FilterScreen)
        assert "x cancel" not in console.text
