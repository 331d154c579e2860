"""The palette, the other databases of the configuration, and the search by a few letters."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import pytest
from console_driver import Console, Start

from secateur.cli.opening import find_place
from secateur_tui.contexts import ConfiguredContexts
from secateur_tui.filter.screen import FilterScreen
from secateur_tui.frame.fuzzy import best
from secateur_tui.frame.palette import PaletteScreen
from secateur_tui.history.screen import HistoryScreen
from secateur_tui.queues.screen import QueuesScreen


def found(wanted: str, *texts: str) -> list[str]:
    return [text for text, _ in best(wanted, texts, str)]


@pytest.mark.parametrize(
    ("wanted", "texts", "expected"),
    [
        ("", ("b", "a"), ["b", "a"]),
        ("vs", ("invoices", "billing / vendor-syncs"), ["billing / vendor-syncs"]),
        ("vs", ("invoices", "x"), ["invoices"]),
        ("vend", ("reverse command", "hot values command", "vendor-syncs function"), ["vendor-syncs function"]),
        ("VENDOR", ("vendor-syncs", "x"), ["vendor-syncs"]),
        ("pause", ("does not pa-u-se", "pause"), ["pause", "does not pa-u-se"]),
        ("sync billing", ("billing / vendor-syncs", "billing / invoices"), ["billing / vendor-syncs"]),
        ("syncs", ("async / xyncs", "vendor-syncs"), ["vendor-syncs", "async / xyncs"]),
        ("zz", ("a", "z"), []),
    ],
)
def test_a_few_letters_find_the_best_first(wanted: str, texts: tuple[str, ...], expected: list[str]) -> None:
    assert found(wanted, *texts) == expected


def test_long_texts_of_repeated_letters_are_searched_at_once() -> None:
    began = time.process_time()
    assert found("a" * 30 + "b", "a" * 10_000, "ab" * 5_000) == ["ab" * 5_000]
    assert time.process_time() - began < 1


async def test_the_letters_that_were_found_are_marked_as_they_are_typed(start: Start, incident_url: str) -> None:
    """The rows stay the same, and only their looks change."""
    async with start(incident_url) as console:
        await console.shows("flood")
        await console.press("colon", *"vend")
        await console.shows("1 of", "billing / vendor-syncs")

        def marked() -> str:
            segments = (segment for strip in console.app.screen._compositor.render_strips() for segment in strip)
            return "".join(each.text for each in segments if each.style is not None and each.style.underline)

        await console.until(lambda: marked() == "vend")


async def test_it_leads_to_commands_functions_and_themes(start: Start, incident_url: str) -> None:
    async with start(incident_url, size=(80, 24)) as console:
        await console.shows("flood", ": go to")
        await console.press("colon")
        await console.shows("  p           pause  ", "Pause the function or app")
        await console.type("vendsync")
        await console.shows("1 of", "billing / vendor-syncs")
        await console.press("enter")
        await console.until(lambda: isinstance(console.app.screen, FilterScreen))
        await console.shows("billing / vendor-syncs")
        await console.press("ctrl+p")
        await console.type("hist")
        await console.press("enter")
        await console.until(lambda: isinstance(console.app.screen, HistoryScreen))
        await console.press("colon")
        await console.type("qqqq")
        await console.shows("nothing has these letters")
        await console.press("enter", "escape")
        assert isinstance(console.app.screen, HistoryScreen)


async def test_every_theme_that_is_offered_works(start: Start, incident_url: str) -> None:
    async with start(incident_url) as console:
        await console.shows("flood")
        offered = [entry for entry in console.app.offers if entry.kind == "theme"]
        for entry in offered:
            await console.press("colon")
            await console.type(entry.name)
            await console.press("enter")
            assert console.app.theme == entry.name
            await console.shows("flood")


async def test_the_palette_at_each_size(start: Start, incident_url: str) -> None:
    async with start(incident_url) as console:
        await console.shows("flood")
        await console.press("colon")
        await console.type("vend")
        for width, height in ((60, 15), (80, 24), (120, 36), (200, 50)):
            await console.pilot.resize_terminal(width, height)
            await console.shows_stored("palette")


@pytest.fixture
def contexts(incident_url: str, tmp_path: Path) -> ConfiguredContexts:
    config = tmp_path / "config.toml"
    config.write_text(
        f'[contexts.staging]\ndatabase = "{incident_url}"\n'
        f'[contexts.locked]\ndatabase = "{incident_url}"\nread_only = true\nproduction = true\n'
        '[contexts.gone]\ndatabase = "postgresql://nobody@127.0.0.1:1/none"\n'
    )
    flags = argparse.Namespace(config=str(config), database=None, context="staging", engine=None, read_only=False)
    return ConfiguredContexts(find_place(flags))


async def test_another_database_is_shown_in_place(
    start: Start, incident_url: str, contexts: ConfiguredContexts
) -> None:
    async with start(incident_url, contexts=contexts) as console:
        await console.shows("flood", "READ-WRITE")
        await console.filter_for("vendor-syncs", "true")
        await _go_to(console, "locked")
        await console.shows("locked", "READ-ONLY", "flood")
        assert isinstance(console.app.screen, QueuesScreen)
        assert console.app.session.confirm_above == 0
        await _go_to(console, "staging")
        await console.shows("staging", "READ-WRITE", "flood")
        await _go_to(console, "gone")
        await console.shows("gone: ", "staging", "flood")
        assert console.app.session.context == "staging"
    await contexts.close_all()


async def _go_to(console: Console, name: str) -> None:
    await console.press("ctrl+o")
    await console.until(lambda: isinstance(console.app.screen, PaletteScreen))
    await console.type(name)
    await console.press("enter")


async def test_without_other_contexts_the_key_says_so(start: Start, incident_url: str) -> None:
    async with start(incident_url) as console:
        await console.shows("flood")
        await console.press("ctrl+o")
        await console.shows("The configuration has no")
        assert isinstance(console.app.screen, QueuesScreen)
