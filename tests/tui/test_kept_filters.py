"""Earlier expressions and saved filters: ctrl+r, ctrl+s, and the palette."""

from __future__ import annotations

from pathlib import Path

import pytest
from console_driver import Start
from standing_incident import CULPRIT

from secateur_tui.expressions import Expressions, Kept
from secateur_tui.filter.editor import ExpressionEditor


@pytest.mark.parametrize("read_only", [False, True], ids=["read-write", "read-only"])
async def test_what_was_saved_is_found_again(start: Start, incident_url: str, tmp_path: Path, read_only: bool) -> None:
    path = tmp_path / "expressions.sqlite3"
    async with start(incident_url, read_only=read_only, expressions=Expressions(path, "prod")) as console:
        await console.filter_for("vendor-syncs", CULPRIT)
        await console.press("ctrl+s")
        await console.shows("Save this filter")
        await console.type("acme loop")
        await console.press("enter")
        await console.shows("Saved as acme loop")
        await console.press("escape")
        await console.press("colon")
        await console.type("acmeloop")
        await console.shows(f"acme loop: {CULPRIT}")
        await console.press("enter")
        await console.shows("billing / vendor-syncs", CULPRIT)
    async with start(incident_url, read_only=read_only, expressions=Expressions(path, "prod")) as console:
        await console.press("h")
        await console.press("ctrl+r")
        await console.shows("Saved and earlier", "acme loop")
        await console.type("loop")
        await console.press("enter")
        editor = console.app.screen.query_one(ExpressionEditor)
        assert (editor.text, editor.has_focus) == (CULPRIT, True)


async def test_what_was_reviewed_is_remembered_and_escape_leaves_the_expression(
    start: Start, incident_url: str
) -> None:
    async with start(incident_url) as console:
        await console.filter_for("vendor-syncs")
        await console.press("ctrl+r")
        await console.shows("Nothing was saved or used before.")
        await console.type(CULPRIT)
        await console.shows("exact")
        await console.press("f9", "escape")
        editor = console.app.screen.query_one(ExpressionEditor)
        await console.type(" && false")
        await console.press("ctrl+r")
        await console.shows("Saved and earlier", CULPRIT)
        await console.press("escape")
        assert editor.text == f"{CULPRIT} && false"
        await console.press("ctrl+r", "enter")
        assert editor.text == CULPRIT
        await console.press("ctrl+z")
        assert editor.text == f"{CULPRIT} && false"


async def test_only_valid_expressions_are_saved_and_a_taken_name_says_so(start: Start, incident_url: str) -> None:
    known = Expressions()
    await known.keep(Kept("billing", "vendor-syncs", "true", name="mine"))
    async with start(incident_url, expressions=known) as console:
        await console.filter_for("vendor-syncs", "event.")
        await console.press("ctrl+s")
        await console.shows("Only a valid filter can be saved.")
        await console.type("name == 'x'")
        await console.press("ctrl+s", "enter")
        await console.type("mine")
        await console.shows("replaces the filter that has this name")
        await console.press("escape")
        assert [each.if_ for each in known.kept if each.name] == ["true"]


async def test_a_file_that_cannot_be_written_stops_nobody(start: Start, incident_url: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    broken = Expressions(tmp_path / "file" / "expressions.sqlite3", "prod")
    async with start(incident_url, expressions=broken) as console:
        await console.filter_for("vendor-syncs", CULPRIT)
        await console.press("f9")
        # That is told for some seconds only.
        await console.shows("expressions cannot be kept")
        await console.shows("Cancel 623 runs of")
