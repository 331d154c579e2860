"""Read-only: the same places, and nothing in them that could write."""

from __future__ import annotations

import pytest
from console_driver import SIZES, Console, Start
from standing_incident import CULPRIT

from secateur.postgres.database import Database
from secateur_tui.filter.screen import FilterScreen
from secateur_tui.history.screen import HistoryScreen
from secateur_tui.keymap import ACTIONS
from secateur_tui.queues.screen import QueuesScreen

DANGEROUS = {action.id for action in ACTIONS if action.dangerous}


async def watcher(url: str) -> str:
    """The database as a role that may only read."""
    async with Database.connect(url) as database:
        await database.execute("drop role if exists watcher")
        await database.execute("create role watcher login")
        await database.execute("grant usage on schema secateur to watcher")
        await database.execute("grant select on all tables in schema secateur to watcher")
    return url.replace("postgres@", "watcher@", 1)


async def drop_watcher(url: str) -> None:
    async with Database.connect(url) as database:
        await database.execute("drop owned by watcher")
        await database.execute("drop role watcher")


async def test_a_role_that_may_only_read_sees_everything(
    start: Start, incident_url: str, size: tuple[int, int]
) -> None:
    try:
        async with start(await watcher(incident_url), size=size, read_only=True) as console:
            await console.shows("READ-ONLY", "flood")
            await console.shows_stored("queues-read-only")
            await console.filter_for("vendor-syncs", CULPRIT)
            await console.counted()
            await console.press("escape", "escape", "H")
            await console.shows("No cancellation yet")
    finally:
        await drop_watcher(incident_url)


async def test_no_key_palette_entry_or_help_of_it_can_write(start: Start, incident_url: str) -> None:
    async with start(incident_url, read_only=True) as console:
        await console.filter_for("vendor-syncs", CULPRIT)
        await console.shows("exact")
        offered = {active.binding.id for active in console.app.screen.active_bindings.values()}
        assert not offered & DANGEROUS
        assert "F9" not in console.text
        await console.press("f9", "ctrl+enter")
        assert isinstance(console.app.screen, FilterScreen)
        assert not any("review" in entry.name.lower() for entry in console.app.offers if entry.kind == "command")
        await console.press("f1")
        await console.shows("read-only: it cannot change anything")
        assert "F9" not in console.text


async def test_queues_have_no_pause(start: Start, incident_url: str) -> None:
    async with start(incident_url, read_only=True) as console:
        await console.shows("flood")
        await console.press("p")
        await console.refreshed()
        assert isinstance(console.app.screen, QueuesScreen)
        assert "p pause" not in console.text


async def test_history_has_no_stop(start: Start, incident_url: str) -> None:
    async with start(incident_url, read_only=True) as console:
        await console.press("H")
        await console.until(lambda: isinstance(console.app.screen, HistoryScreen))
        await console.press("x")
        assert isinstance(console.app.screen, HistoryScreen)
        assert "x stop" not in console.text


async def test_its_sessions_cannot_write(start: Start, incident_url: str) -> None:
    async with start(incident_url, read_only=True) as console:
        assert await console.database.fetchval("show default_transaction_read_only") == "on"


def told(console: Console) -> str:
    """The newest message."""
    return [*console.app._notifications][-1].message


async def test_a_role_that_may_only_read_is_read_only_from_the_first_frame(start: Start, incident_url: str) -> None:
    try:
        async with start(await watcher(incident_url), size=(120, 36), production=True) as console:
            assert "READ-ONLY (role watcher)" in console.text
            assert " prod PRODUCTION " in console.text
            assert "READ-WRITE" not in console.text
            await console.shows("flood")
            offered = {active.binding.id for active in console.app.screen.active_bindings.values()}
            assert not offered & DANGEROUS
            for key in ("p", "z"):
                await console.press(key)
                assert told(console) == "READ-ONLY, because of the role watcher: nothing can be changed from here."
                console.app.clear_notifications()
            await console.filter_for("vendor-syncs", CULPRIT)
            await console.press("f9")
            assert "nothing can be changed" in told(console)
            assert isinstance(console.app.screen, FilterScreen)
    finally:
        await drop_watcher(incident_url)


async def test_a_session_that_postgres_lets_only_read_is_read_only(start: Start, incident_url: str) -> None:
    async with Database.connect(incident_url) as database:
        name = await database.fetchval("select current_database()")
        await database.execute(f'alter database "{name}" set default_transaction_read_only = on')
        try:
            async with start(incident_url) as console:
                assert "READ-ONLY (session)" in console.text
        finally:
            await database.execute(f'alter database "{name}" reset default_transaction_read_only')


@pytest.mark.parametrize("size", SIZES, ids=["{}x{}".format(*size) for size in SIZES])
async def test_production_is_said_in_words_wherever_one_is(
    start: Start, incident_url: str, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also without colours, and in the smallest window."""
    monkeypatch.setenv("NO_COLOR", "1")
    async with start(incident_url, size=size, production=True) as console:
        await console.shows("flood")
        for keys in (["t"], ["escape", "enter"], ["escape", "5"], ["H"], ["1"]):
            await console.press(*keys)
            await console.until(lambda: " prod PRODUCTION " in console.text.partition("\n")[0])


async def test_who_may_write_is_told_so(start: Start, incident_url: str) -> None:
    async with start(incident_url) as console:
        assert "READ-WRITE" in console.text
        assert "PRODUCTION" not in console.text
