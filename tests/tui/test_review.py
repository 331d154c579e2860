"""Review: what will happen in one sentence, and no commit by accident."""

from __future__ import annotations

import asyncio
import json
import shlex
import subprocess
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from unittest.mock import Mock

import pytest
from console_driver import Console, Start
from standing_incident import ACME, ARRIVING, CULPRIT, seed, stop_running
from textual.widgets import Button, Input, Static

from patience import eventually
from secateur.cli.arguments import parse
from secateur.cli.requesting import read_request
from secateur.postgres.database import Database
from secateur.postgres.embedded import EmbeddedPostgres
from secateur.requests import CancellationRequest
from secateur.schema import install
from secateur_tui.filter.editor import ExpressionEditor
from secateur_tui.filter.screen import FilterScreen
from secateur_tui.history.screen import HistoryScreen
from secateur_tui.review import sentences as review_text
from secateur_tui.review.consent import Confirmation, Consent
from secateur_tui.review.copying import as_curl
from secateur_tui.review.screen import ReviewScreen

MATCHING = f"{ACME + ARRIVING:,}"


@asynccontextmanager
async def review(
    start: Start, url: str, expression: str = CULPRIT, find: str = "vendor-syncs", **options: Any
) -> AsyncIterator[Console]:
    """A console at the review of a filter, ready to be filled in."""
    async with start(url, **options) as console:
        await console.filter_for(find, expression)
        await console.shows("exact")
        await console.press("f9")
        await console.until(lambda: isinstance(console.app.focused, Input))
        yield console


async def committed(console: Console) -> int:
    found: int = await console.database.fetchval("select count(*) from secateur.cancellations")
    return found


async def consent(console: Console, word: str = "vendor-syncs", reason: str = "INC-4211") -> None:
    """Fill in both fields and stop at the commit button, ready to be pressed."""
    await console.type(reason)
    await console.press("enter")
    await console.type(word)
    await console.press("enter")
    await console.settled()


async def test_it_says_what_will_happen(start: Start, incident_url: str, size: tuple[int, int]) -> None:
    async with review(start, incident_url, size=size) as console:
        await console.shows(
            f"Cancel {MATCHING} runs of billing / vendor-syncs in prod.",
            "never start",
            "keep going",
            "12.0/s still match, NOT cancelled: F6 also those for 2 h",
            "the same as the filter showed",
        )
        await console.shows_stored("review")


async def test_a_commit_leads_to_its_history(start: Start, incident_url: str, size: tuple[int, int]) -> None:
    async with review(start, incident_url, size=size) as console:
        await consent(console)
        await console.press("enter")
        await console.until(lambda: isinstance(console.app.screen, HistoryScreen))
        await stop_running(console.database)
        await console.shows("✓ complete", "INC-4211", "in force since", "planned 623 · cancelled", "12.0/s: f also")
        await console.shows_stored("history")
        row = await console.database.fetchrow("select * from secateur.cancellations")
        assert row is not None
        assert (row["source"], row["created_by"], row["reason"]) == ("tui", "nadia", "INC-4211")
        assert row["expected"] == ACME + ARRIVING
        await console.press("1")
        await console.shows("Queues", "live")


async def test_the_guarantee_is_told_before_the_history_is_there(
    start: Start, incident_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(*_: Any, **__: Any) -> None:
        await asyncio.Event().wait()

    async with review(start, incident_url) as console:
        await consent(console)
        shown = []
        told = review_text.committed
        monkeypatch.setattr(review_text, "committed", lambda records: shown.extend(records) or told(records))
        monkeypatch.setattr(console.app.session.queue.cancellations, "list", never)
        await console.press("enter")
        await console.until(lambda: isinstance(console.app.screen, HistoryScreen))
        await console.shows("in force since", "no matching run is claimed", "INC-4211")
        assert [record.reason for record in shown] == ["INC-4211"]


@pytest.mark.parametrize("at", [(60, 15), (200, 50)], ids=lambda at: f"{at[0]}x{at[1]}")
async def test_it_fits_every_size(start: Start, incident_url: str, at: tuple[int, int]) -> None:
    async with start(incident_url, size=at) as console:
        await console.press("slash")
        await console.type("vendor-syncs")
        await console.press("enter", "down", "enter")
        await console.type(CULPRIT)
        await console.shows("exact")
        await console.press("f9")
        await console.shows("enter goes on", "type vendor-syncs or 623  to confirm")
        await console.until(lambda: console.app.screen._gathered.arrivals is not None)
        await console.shows_stored("review")


async def test_with_the_database_down_it_stays_in_its_window(start: Start) -> None:
    with EmbeddedPostgres() as postgres:
        async with _prepared(start, postgres) as console:
            await consent(console)
            await asyncio.to_thread(postgres.kill)
            await console.press("enter")
            await console.shows("unknown whether it was committed", "r ask again")
            await console.until(lambda: "╰" in console.text and "╭─ Review" in console.text)
            lines = console.text.splitlines()
            assert max(map(len, lines)) <= 80
            assert len(lines) <= 24
            assert any(line.startswith("╰─") for line in lines), "the window has a bottom"
            assert "[ Leave ]" in console.text
            assert "Cancel 623 runs of billing" in console.text


async def test_esc_leaves_without_writing(start: Start, incident_url: str) -> None:
    async with review(start, incident_url) as console:
        await consent(console)
        await console.press("escape")
        await console.shows("Matches", CULPRIT)
        assert await committed(console) == 0


async def test_it_waits_for_no_count(start: Start, incident_url: str) -> None:
    async with start(incident_url) as console:
        await console.filter_for("vendor-syncs", CULPRIT)
        await console.shows("exact")
        async with console.database.transaction() as connection:
            await connection.execute("lock table secateur.runs in access exclusive mode")
            await console.press("f9")
            await console.shows(f"Cancel {MATCHING} runs", "counting exactly", "enter goes on")
            await consent(console)
            assert not console.app.screen.query_one("#commit", Button).disabled
        assert await committed(console) == 0


async def test_keys_before_the_figure_is_painted_are_discarded(
    start: Start, incident_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Mock()
    monkeypatch.setattr(ReviewScreen, "_open", lambda screen: opened())
    async with start(incident_url) as console:
        await console.filter_for("vendor-syncs", CULPRIT)
        await console.shows("exact")
        await console.press("f9")
        await console.type("vendor-syncs")
        await console.press("enter", "enter", "tab", "enter", "f", "f6")
        assert isinstance(console.app.screen, ReviewScreen)
        assert opened.called
        assert all(field.value == "" and field.disabled for field in console.app.screen.query(Input))
        assert "STANDING" not in console.text
        assert await committed(console) == 0


async def test_keys_typed_before_it_was_seen_are_not_taken_as_its_own(start: Start, incident_url: str) -> None:
    """A busy machine takes seconds to open it, and nobody knows meanwhile whether the key was heard."""
    async with start(incident_url) as console:
        await console.filter_for("vendor-syncs", CULPRIT)
        await console.shows("exact")
        console.burst("f9", *"vendor", "enter")
        await console.shows("enter goes on")
        await console.at_rest()
        assert [field.value for field in console.app.screen.query(Input)] == ["", ""]
        assert console.app.focused is console.app.screen.query_one("#reason")
        behind = console.app.screen_stack[-2]._compositor.render_strips()
        assert any(" in review" in strip.text for strip in behind)
        await console.press("escape")
        await console.shows("✓ valid")
        assert console.app.screen.query_one(ExpressionEditor).text == CULPRIT
        assert "opening the review" not in console.text


async def test_enter_in_a_field_only_moves_on(start: Start, incident_url: str) -> None:
    async with review(start, incident_url) as console:
        assert console.app.focused is console.app.screen.query_one("#reason")
        await console.press("enter")
        assert console.app.focused is console.app.screen.query_one("#confirm")
        await console.press("enter")
        await console.shows("to confirm, type vendor-syncs or")
        # The next count has another figure.
        console.app.screen.query_one(Consent).ask_for(Confirmation("vendor-syncs", frozenset({86_166}), 86_166))
        told = console.app.screen.query_one("#outcome", Static).content
        assert str(told) == "to confirm, type vendor-syncs or 86,166 exactly"
        console.burst(*"vendor-syncs", "enter", "enter", "enter")
        await console.at_rest()
        assert console.app.focused is console.app.screen.query_one("#commit")
        await console.shows("press it once more")
        assert await committed(console) == 0, "keys repeated at once are no decision"


async def test_whoever_is_asked_to_type_before_the_count_is_there_need_not_after_it(
    start: Start, incident_url: str
) -> None:
    async with (
        Database.connect(incident_url) as other,
        AsyncExitStack() as locks,
        start(incident_url, confirm_above=10_000) as console,
    ):
        await console.filter_for("vendor-syncs")
        lock = await locks.enter_async_context(other.transaction())
        await lock.execute("lock table secateur.runs in access exclusive mode")
        await console.type(CULPRIT)
        await console.shows("✓ valid")
        await console.press("f9")
        await console.shows("type vendor-syncs")
        await console.press("enter")
        assert console.app.focused is console.app.screen.query_one("#confirm")
        await locks.aclose()
        await console.shows("no need to type", f"Cancel {MATCHING} runs")
        # What is typed for it all the same goes nowhere else.
        await console.type("f")
        assert console.app.screen.query_one("#confirm", Input).value == "f"
        await console.press("backspace", "enter")
        await console.settled()
        assert await committed(console) == 0


async def test_the_wrong_word_does_not_enable_the_commit(start: Start, incident_url: str) -> None:
    async with review(start, incident_url) as console:
        button = console.app.screen.query_one("#commit", Button)
        await console.press("enter")
        for word, enabled in (("vendor-sync", False), ("invoices", False), (MATCHING, True), ("vendor-syncs", True)):
            console.app.screen.query_one("#confirm", Input).value = word
            await console.pilot.pause()
            assert button.disabled is not enabled


async def test_pressing_twice_commits_once(start: Start, incident_url: str) -> None:
    async with review(start, incident_url) as console:
        await consent(console)
        button = console.app.screen.query_one("#commit", Button)
        button.press()
        button.press()
        await console.until(lambda: isinstance(console.app.screen, HistoryScreen))
        assert await committed(console) == 1


async def test_keys_that_arrive_at_once_go_where_they_were_meant(start: Start, incident_url: str) -> None:
    async with review(start, incident_url) as console:
        console.burst(*"storm", "enter", *"vendor-syncs", "enter", "enter")
        await console.at_rest()
        assert console.app.focused is console.app.screen.query_one("#commit")
        reason, confirm = (
            console.app.screen.query_one("#reason", Input),
            console.app.screen.query_one("#confirm", Input),
        )
        assert (reason.value, confirm.value) == ("storm", "vendor-syncs")
        assert await committed(console) == 0, "a key that was typed ahead is no decision"


async def test_below_the_threshold_no_word_is_asked_for(start: Start, incident_url: str) -> None:
    async with review(start, incident_url, "event.data.amount >= 500", "invoices", confirm_above=100) as console:
        assert not console.app.screen.query_one("#confirmation").display
        await console.press("enter")
        assert console.app.focused is console.app.screen.query_one("#commit")


async def test_without_a_condition_it_warns(start: Start, incident_url: str, size: tuple[int, int]) -> None:
    async with review(start, incident_url, "", size=size) as console:
        await console.shows("NO CONDITION: every run of this function")
        await console.shows_stored("review-no-condition")


async def test_nothing_to_cancel_cannot_be_committed(start: Start, incident_url: str) -> None:
    async with review(start, incident_url, "event.data.vendor_id == 'nobody'") as console:
        await console.shows("nothing matches: nothing to cancel")
        assert console.app.screen.query_one("#commit", Button).disabled


async def test_the_drift_since_the_filter_is_said(start: Start, incident_url: str) -> None:
    async with start(incident_url) as console:
        await console.filter_for("vendor-syncs", CULPRIT)
        await console.shows("exact")
        event = '{"data": {"vendor_id": "acme_inc"}}'
        await console.database.execute("select secateur.enqueue('billing', 'vendor-syncs', $1)", event)
        await console.press("f9")
        await console.shows("1 more than the filter showed")


async def test_the_request_can_be_copied(start: Start, incident_url: str) -> None:
    async with review(start, incident_url) as console:
        await console.type("y")
        assert console.app.screen.query_one("#reason", Input).value == "y"
        await console.press("ctrl+y")
        await console.shows("Copy, for prod", "j JSON", "c command", "u curl")
        await console.press("c")
        await console.shows("copied: command")
        command = shlex.split(console.app.clipboard)
        assert command[:2] == ["secateur", "cancel"]
        request = read_request(parse(command[1:]), UTC)(datetime.now(UTC))
        console.app.screen.query_one("#sheet").focus()
        await console.press("y", "j")
        assert CancellationRequest.parse(console.app.clipboard) == request
        assert (request.if_, request.reason) == (CULPRIT, "y")
        await console.press("y", "u")
        assert sent_by(console.app.clipboard) == request.body()
        await console.press("y", "escape")
        assert isinstance(console.app.screen, ReviewScreen)


def sent_by(commands: str) -> Any:
    """The body that the command sends, by a shell in which curl and secateur only tell what they are given."""
    told = subprocess.run(
        ["bash", "-c", "curl() { printf '%s\\n' \"$@\" >&2; cat; }\n" + commands], capture_output=True, check=True
    )
    assert "http://127.0.0.1:8484/v1/cancellations" in told.stderr.decode().splitlines()
    return json.loads(told.stdout)


def test_curl_sends_any_request() -> None:
    nasty = 'event.data.a == "\'$HOME`id`\\\\"\n|| event.data.JSON == 1'
    request = CancellationRequest.parse({"app_id": "a'b", "if": nasty, "reason": "JSON"})
    assert sent_by(as_curl(request, "key")) == request.body()


async def test_what_arrives_can_be_cancelled_too(start: Start, incident_url: str) -> None:
    async with review(start, incident_url) as console:
        await console.shows("12.0/s still match, NOT cancelled: F6 also those for 2 h")
        await console.press("f6")
        await console.shows("Review: standing", "◆ STANDING: also matching runs that arrive until")
        await console.press("f6")
        await console.until(lambda: "STANDING" not in console.text)
        console.app.screen.query_one("#sheet").focus()
        await console.shows("f also those for 2 h")
        await console.press("f")
        await console.shows("◆ STANDING")
        console.app.screen.query_one("#reason").focus()
        await consent(console)
        await console.press("enter")
        await console.shows("◆ standing until")
        row = await console.database.fetchrow(
            "select standing, started_before - created_at > '119 min' as ahead from secateur.cancellations"
        )
        assert row is not None
        assert (row["standing"], row["ahead"]) == (True, True)


@asynccontextmanager
async def standing_review(start: Start, url: str, expression: str = CULPRIT, **options: Any) -> AsyncIterator[Console]:
    """A console at the review of a standing cancellation, ready to be filled in."""
    async with start(url, **options) as console:
        await console.filter_for("vendor-syncs", expression)
        await console.press("shift+tab")
        await console.type("+3h")
        await console.press("f6")
        await console.shows("◆ STANDING", "exact")
        await console.press("f9")
        await console.until(lambda: isinstance(console.app.focused, Input))
        yield console


async def test_a_standing_one_also_cancels_what_arrives(start: Start, incident_url: str, size: tuple[int, int]) -> None:
    async with standing_review(start, incident_url, size=size) as console:
        await console.shows(
            "Review: standing",
            "◆ STANDING: also matching runs that arrive until",
            "12.0/s still match, and are cancelled too",
            "Cancel these, and what arrives",
        )
        await console.shows_stored("review-standing")
        await console.press("enter")
        await console.type(MATCHING)
        await console.press("enter")
        await console.shows("to confirm, type vendor-syncs exactly")
        await console.press(*["backspace"] * len(MATCHING))
        await console.type("vendor-syncs")
        await console.press("enter")
        await console.settled()
        await console.shows("and what arrives in the window")
        await console.press("enter")
        await console.until(lambda: isinstance(console.app.screen, HistoryScreen))
        await console.shows("◆ standing until", "◆ standing: runs that arrive until", "x stop", "U undo")
        event = '{"data": {"vendor_id": "acme_inc"}}'
        late = await console.database.fetchval("select secateur.enqueue('billing', 'vendor-syncs', $1)", event)
        state = "select status = 'cancelled' from secateur.runs where id = $1"
        await eventually(lambda: console.database.fetchval(state, late), "the cancellation of what arrived late")
        row = await console.database.fetchrow("select standing, state, request from secateur.cancellations")
        assert row is not None
        assert (row["standing"], row["state"]) == (True, "active")
        await console.press("U", "y")
        await console.shows("undone at")
        await console.press("1", "enter")
        await console.shows(CULPRIT, "exact")
        assert "STANDING" not in console.text, "what was meant once is not one key from being committed again"
        await console.press("f9")
        assert isinstance(console.app.screen, FilterScreen)
        assert "press F6 to make it standing" in [*console.app._notifications][-1].message


async def test_a_standing_one_may_match_nothing_yet(start: Start, incident_url: str) -> None:
    async with standing_review(start, incident_url, "event.data.vendor_id == 'nobody'") as console:
        await console.shows("Cancel 0 runs", "◆ STANDING")
        assert "nothing matches" not in console.text
        await consent(console)
        await console.press("enter")
        await console.until(lambda: isinstance(console.app.screen, HistoryScreen))
        await console.shows("◆ standing until")


async def held_lock(connection: Any) -> int:
    """Hold the app's lock as an open claim does, until the transaction ends; the process id."""
    assert await connection.fetchval("select secateur.share_app('billing')")
    pid: int = await connection.fetchval("select pg_backend_pid()")
    return pid


async def test_a_pending_commit_says_whom_it_waits_for_and_is_followed(
    start: Start, incident_url: str, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with review(start, incident_url, size=size) as console:
        looks = Mock(side_effect=console.app.session.queue.cancellations.get)
        monkeypatch.setattr(console.app.session.queue.cancellations, "get", looks)
        await consent(console)
        async with console.database.transaction() as connection:
            pid = await held_lock(connection)
            await console.press("enter")
            await console.shows(
                "committed, and pending",
                f"process {pid}",
                "may still start",
                f"select pg_terminate_backend({pid})",
                "esc leave, History goes on following it",
            )
            assert await committed(console) == 1
            seen = looks.call_count
            await console.until(lambda: looks.call_count > seen + 1)
            assert isinstance(console.app.screen, ReviewScreen)
        await console.until(lambda: isinstance(console.app.screen, HistoryScreen))
        await console.shows("in force since")
        in_force = "select in_force_at > created_at from secateur.cancellations"
        assert await console.database.fetchval(in_force)


async def test_a_pending_commit_can_be_left_to_the_history(start: Start, incident_url: str) -> None:
    async with review(start, incident_url) as console:
        await consent(console)
        async with console.database.transaction() as connection:
            pid = await held_lock(connection)
            await console.press("enter")
            await console.shows("committed, and pending")
            await console.press("r", "enter")
            assert await committed(console) == 1
            await console.press("escape")
            await console.until(lambda: isinstance(console.app.screen, HistoryScreen))
            await console.shows("◌ pending", f"pending: waiting for process {pid}", f"pg_terminate_backend({pid})")
        await console.shows("✓ in force since")


async def test_a_bug_in_the_commit_leaves_nobody_waiting(
    start: Start, incident_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def stumble(*_: Any, **__: Any) -> None:
        raise LookupError("a bug")

    async with review(start, incident_url) as console:
        with monkeypatch.context() as patched:
            patched.setattr(console.app.session.queue.cancellations, "commit_all", stumble)
            await consent(console)
            await console.press("enter")
            await console.shows("unknown whether it was committed", "LookupError: a bug", "r ask again")
        await console.press("r")
        await console.until(lambda: isinstance(console.app.screen, HistoryScreen))
        assert await committed(console) == 1


async def test_after_a_lost_connection_the_same_key_is_asked_again(start: Start) -> None:
    with EmbeddedPostgres() as postgres:
        async with _prepared(start, postgres) as console:
            await consent(console)
            await asyncio.to_thread(postgres.kill)
            await console.press("enter")
            await console.shows("unknown whether it was committed", "r ask again")
            await asyncio.to_thread(postgres.start)
            await console.shows("r ask again")
            await console.press("r")
            await console.until(lambda: isinstance(console.app.screen, HistoryScreen))
            assert await committed(console) == 1


def _prepared(start: Start, postgres: EmbeddedPostgres) -> AbstractAsyncContextManager[Console]:
    @asynccontextmanager
    async def prepared() -> AsyncIterator[Console]:
        from secateur.postgres.database import Database

        async with Database.connect(postgres.url) as database:
            await install(database)
            await seed(database)
        async with review(start, postgres.url) as console:
            yield console

    return prepared()


SLOW = "event.data.amount + 1 >= 1"
SLOWLY = """
create or replace function secateur_cel.json_int_v1(given jsonb) returns numeric language plpgsql as $$
begin perform pg_sleep(0.1); return 1; end $$
"""
"""Each of two thousand runs takes a tenth of a second, so that not even a sample is looked through in time; those that
run, which a commit looks at, are eight."""


async def test_a_count_that_takes_too_long_takes_only_the_figure(
    start: Start, incident_url: str, size: tuple[int, int]
) -> None:
    async with start(incident_url, size=size, query_timeout_seconds=5) as console:
        await console.filter_for("vendor-syncs")
        await console.database.execute(SLOWLY)
        await console.type(SLOW)
        await console.press("f9")
        await console.shows("Cancel every matching run of billing / vendor-syncs in prod.", "not yet: at most 2,120")
        await console.shows("did not answer within 5 s", "Not counted: at most 2,120")
        await console.shows_stored("review-not-counted")
        await console.type("a loop")
        await console.press("enter")
        await console.type("2,120")
        await console.press("enter")
        await console.shows("to confirm, type vendor-syncs exactly")
        await console.press(*["backspace"] * 5)
        await console.type("vendor-syncs")
        await console.press("enter")
        await console.settled()
        await console.shows("enter cancels whatever matches")
        await console.press("enter")
        await console.until(lambda: isinstance(console.app.screen, HistoryScreen))
        await console.shows("not counted before")
        row = await console.database.fetchrow("select state, expected, expected_exact from secateur.cancellations")
        assert row is not None
        assert tuple(row) == ("active", None, None)


async def test_a_figure_of_the_filter_that_cannot_be_counted_again_is_told_with_its_age(
    start: Start, incident_url: str
) -> None:
    async with start(incident_url, query_timeout_seconds=5, confirm_above=10_000) as console:
        await console.filter_for("vendor-syncs", SLOW)
        await console.shows("exact")
        await console.database.execute(SLOWLY)
        await console.press("f9")
        await console.shows("Cancel 2,117 runs", "counting exactly")
        assert not console.app.screen.query_one("#confirmation").display
        await console.shows("still not counted again: the database")
        await console.shows("type vendor-syncs  to confirm")
        await consent(console)
        await console.press("enter")
        await console.until(lambda: isinstance(console.app.screen, HistoryScreen))
        row = await console.database.fetchrow("select expected, expected_exact from secateur.cancellations")
        assert row is not None
        assert tuple(row) == (2_117, True)
