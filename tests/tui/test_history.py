"""History: who, when, why, how far; stop and use again."""

from __future__ import annotations

import asyncio
import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from console_driver import Console, Start
from standing_incident import CULPRIT, stop_running

from secateur.engines.native.engine import NativeEngine
from secateur.ledger.cancellations import Cancellations
from secateur.looking.counter import MatchCounter
from secateur.postgres.database import Database
from secateur.requests import CancellationRequest
from secateur.words.figures import ago
from secateur_tui.filter.screen import FilterScreen
from secateur_tui.frame.columns import Cell, lay_out_cells
from secateur_tui.history.rows import COLUMNS
from secateur_tui.history.screen import HistoryScreen


async def cancel(url: str, expression: str = CULPRIT, reason: str = "acme retry storm") -> UUID:
    """A cancellation committed by somebody else and swept by nobody."""
    async with Database.connect(url) as database:
        cancellations = Cancellations(NativeEngine(database))
        request = CancellationRequest.parse(
            {"app_id": "billing", "function_id": "vendor-syncs", "if": expression, "reason": reason}
        )
        count = (await MatchCounter(cancellations.engine).preview(request)).count
        done = await cancellations.commit(request, author="jun", source="cli", expected=count)
    return done.id


async def history(console: Console) -> None:
    await console.press("H")
    await console.until(lambda: isinstance(console.app.screen, HistoryScreen))


async def test_an_empty_history_says_how_it_fills(start: Start, incident_url: str, size: tuple[int, int]) -> None:
    async with start(incident_url, size=size) as console:
        await history(console)
        await console.shows("No cancellation yet", "F9")


async def test_an_active_cancellation_shows_its_progress(
    start: Start, incident_url: str, size: tuple[int, int]
) -> None:
    await cancel(incident_url)
    # A read-only console does not sweep, so that it stays as it is.
    async with start(incident_url, size=size, read_only=True) as console:
        await history(console)
        await console.shows("jun", "sweeping", "from cli: acme retry storm", "no matching run is claimed")
        await console.shows("newer ones still match, 12.0/s")
        await console.shows_stored("history-active")


async def test_any_console_sweeps_what_is_open(start: Start, incident_url: str) -> None:
    await cancel(incident_url)
    async with start(incident_url) as console:
        await history(console)
        await stop_running(console.database)
        await console.shows("✓ complete")


async def test_stopping_asks_first(start: Start, incident_url: str) -> None:
    cancellation = await cancel(incident_url)
    async with start(incident_url) as console:
        # Without the sweep, which would complete it before it is stopped.
        console.app.workers.cancel_group(console.app, "sweep")
        await console.database.execute("update secateur.cancellations set state = 'active'")
        await console.database.execute("update secateur.sweeps set clean = false")
        await history(console)
        await console.shows("sweeping")
        await console.press("x")
        await console.shows("Stop this cancellation", "y stop", "esc no")
        await console.press("enter", "escape")
        await console.shows("sweeping")
        await console.press("x")
        await console.shows("y stop")
        await console.press("y")
        await console.shows("■ stopped", "by nadia")
        assert "x stop" not in console.text
    assert cancellation


async def test_a_cancellation_becomes_a_new_filter(start: Start, incident_url: str) -> None:
    await cancel(incident_url)
    async with start(incident_url) as console:
        await history(console)
        await console.shows("jun")
        await console.press("u")
        await console.until(lambda: isinstance(console.app.screen, FilterScreen))
        await console.shows("billing / vendor-syncs", CULPRIT, "at the commit")


async def test_find_narrows_the_history(start: Start, incident_url: str) -> None:
    await cancel(incident_url, reason="storm")
    await cancel(incident_url, "event.data.vendor_id == 'globex'", reason="another")
    async with start(incident_url) as console:
        await history(console)
        await console.shows("storm", "another")
        await console.press("slash")
        await console.type("globex")
        await console.until(lambda: "storm" not in console.text)
        await console.press("enter", "escape")
        await console.shows("storm", "another")
        await console.press("escape")
        await console.shows("Queues")


async def test_the_list_keeps_its_order_newest_first(start: Start, incident_url: str) -> None:
    await cancel(incident_url, reason="first")
    await cancel(incident_url, "event.data.vendor_id == 'globex'", reason="second")
    async with start(incident_url) as console:
        assert console.app.session.refresh_seconds < timedelta(seconds=1).total_seconds()
        await history(console)
        await console.shows("first", "second")
        assert console.text.index("second") < console.text.index("first")


async def test_a_sweep_that_fails_is_warned_of(
    start: Start, incident_url: str, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    # A commit that is younger than the span of the rate has a higher one, which the screen shows until its next look.
    monkeypatch.setattr("secateur.looking.aftermath.RATE_SECONDS", 2.0)
    cancellation = await cancel(incident_url)
    async with Database.connect(incident_url) as database:
        for _ in range(3):
            await NativeEngine(database).ledger.note_sweep_failure(
                "billing", cancellation, "could not extend file: No space left on device"
            )
    async with start(incident_url, size=size, read_only=True) as console:
        await console.shows("! a sweep makes no progress, H shows which")
        await console.shows_stored("queues-sweep-fails")
        await history(console)
        await console.shows("! sweep fails", "its sweep has failed 3 times since", "newer ones still match, 12.0/s")
        await console.shows_stored("history-sweep-fails")


async def test_runs_that_are_held_back_are_warned_of(start: Start, incident_url: str, size: tuple[int, int]) -> None:
    condition = "event.data.t.exists(a, event.data.l.exists(b, a == b))"
    slow = {"name": "slow", "data": {"t": list(range(3000)), "l": list(range(10_000, 20_000))}}
    async with Database.connect(incident_url) as database:
        await database.execute(
            "select secateur.enqueue('billing', 'slow', $1::jsonb) from generate_series(1, 2)", json.dumps(slow)
        )
        cancellations = Cancellations(NativeEngine(database))
        request = CancellationRequest.parse({"app_id": "billing", "function_id": "slow", "if": condition})
        await cancellations.commit(request, author="jun", source="cli")
        held = 0
        while held < 2:
            await database.fetch("select * from secateur.claim_batch('billing', array['slow'], 10, 'w', '1 hour')")
            (record,) = await cancellations.list(limit=1)
            held = record.undecided
    async with start(incident_url, size=size, read_only=True) as console:
        await history(console)
        await console.shows("◌ holding back 2", "2 held back: the condition takes too long on them")
        await console.shows_stored("history-held-back")


async def test_newer_runs_that_match_are_told_of_with_the_key_that_takes_them(start: Start, incident_url: str) -> None:
    await cancel(incident_url)
    async with start(incident_url) as console:
        await history(console)
        await stop_running(console.database)
        await console.shows("✓ complete", "none of the runs from before", "is left")
        event = '{"data": {"vendor_id": "acme_inc"}}'
        await console.database.execute(
            "select secateur.enqueue('billing', 'vendor-syncs', $1) from generate_series(1, 300)", event
        )
        await console.shows("! newer ones still match, ", "/s: f also those for 2 h")
        await console.press("f")
        await console.shows("Review: standing", "◆ STANDING: also matching runs that arrive until", CULPRIT)
        await console.press("escape")
        await console.until(lambda: isinstance(console.app.screen, HistoryScreen))


async def test_one_that_stands_takes_what_arrives_and_offers_nothing_more(start: Start, incident_url: str) -> None:
    async with Database.connect(incident_url) as database:
        cancellations = Cancellations(NativeEngine(database))
        until = datetime.now(UTC) + timedelta(hours=1)
        request = CancellationRequest.parse(
            {"app_id": "billing", "if": CULPRIT, "standing": True, "started_before": until.isoformat()}
        )
        await cancellations.commit(request, author="jun", source="cli")
    async with start(incident_url) as console:
        await history(console)
        await console.shows("◆ standing until", "not counted before")
        assert "also those" not in console.text


async def test_p_writes_the_postmortem(
    start: Start, incident_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    await cancel(incident_url)
    async with start(incident_url, size=(120, 36)) as console:
        await history(console)
        await stop_running(console.database)
        await console.shows("✓ complete")
        await console.press("P")
        await console.shows("wrote postmortem-billing-vendor-syncs-")
        (name,) = os.listdir(tmp_path)
        assert name in console.text
        document = (await asyncio.to_thread((tmp_path / name).read_text, encoding="utf-8")).replace("\\", "")
        for told in ("# Cancellation of billing / vendor-syncs", CULPRIT, "acme retry storm", "planned 623"):
            assert told in document
        await console.press("P")
        await console.until(lambda: len(os.listdir(tmp_path)) == 2)


async def test_a_postmortem_that_cannot_be_written_says_so(
    start: Start, incident_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    await cancel(incident_url)
    async with start(incident_url, size=(120, 36)) as console:
        await history(console)
        await console.shows("jun")
        gone.rmdir()
        await console.press("P")
        await console.shows("! no postmortem was written")


@pytest.mark.parametrize("at", [(60, 15), (80, 24), (120, 36), (200, 50)], ids=lambda at: f"{at[0]}x{at[1]}")
async def test_it_has_rows_and_details_at_every_size(start: Start, incident_url: str, at: tuple[int, int]) -> None:
    await cancel(incident_url)
    # A read-only console does not sweep, so that it stays as it is.
    async with start(incident_url, size=at, read_only=True) as console:
        await history(console)
        await console.shows("sweeping", "in force since", "newer ones still match, 12.0/s", "planned 623")
        assert any("▌" in line and "billing / " in line for line in console.text.splitlines())
        await console.shows_stored("history-sizes")


async def test_columns_stay_where_they_are_while_time_passes() -> None:
    committed = datetime(2026, 11, 27, 12, tzinfo=UTC)
    seen = {}
    starts = set()
    for seconds in (1, 59, 62, 601, 3_605, 40_000, 90_000):
        rows = [{column.key: Cell("x") for column in COLUMNS}]
        rows[0]["when"] = Cell(ago(committed, committed + timedelta(seconds=seconds)).removesuffix(" ago"))
        starts.add(lay_out_cells(COLUMNS, rows, 100, seen).line(rows[0]).plain.index("x"))
    assert len(starts) == 1


@pytest.mark.parametrize(
    "state",
    ["✓ complete", "sweeping ━━━─ 81%", "◌ holding back 1,234", "↺ restoring ━━── 50%", "◆ standing until 12-31"],
)
def test_at_eighty_columns_no_name_or_state_is_cut(state: str) -> None:
    """A reason gives way as a whole: the lines below the list have it."""
    texts = {"when": "12h 03m", "who": "nadia", "where": "billing / vendor-syncs", "state": state}
    texts |= {"cancelled": "1,234,567", "planned": "≈ 1,230,000", "reason": "INC-4211", "if": CULPRIT}
    row = {key: Cell(text) for key, text in texts.items()}
    for room, whole in ((76, {"when", "who", "where", "state", "cancelled"}), (56, {"when", "where", "state"})):
        shown = lay_out_cells(COLUMNS, [row], room)
        assert whole <= set(shown.keys)
        assert all(shown.width_of(key) >= len(texts[key]) for key in whole)
