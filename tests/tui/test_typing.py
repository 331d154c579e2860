"""Text that arrives by the thousand, and keys that are held: nothing freezes, nothing is lost, and ctrl+q leaves."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from console_driver import WIDE, Start
from standing_incident import CULPRIT

from secateur.cel import filters
from secateur.cel.diagnostics import Reporter
from secateur.cel.syntax.ast import Node
from secateur_tui.app import ConsoleApp
from secateur_tui.filter.condition import ConditionField
from secateur_tui.filter.editor import ExpressionEditor
from secateur_tui.filter.matches import Matches, Stage
from secateur_tui.filter.request_fields import RequestFields
from secateur_tui.filter.screen import FilterScreen
from secateur_tui.history.screen import HistoryScreen

LONG = {
    "valid": " || ".join(["event.data.vendor_id == 'acme_inc'"] * 270),
    "prose": "lorem ipsum dolor sit amet, " * 357,
    "json": '{"a": [1, 2, {"b": "c"}]}, ' * 370,
    "brackets": "(" * 10_000,
}


def keys(text: str) -> list[str]:
    return ["space" if character == " " else character for character in text]


@pytest.mark.parametrize("kind", LONG)
async def test_ten_thousand_typed_characters_are_looked_at_a_few_times(
    start: Start, incident_url: str, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    checked: list[str] = []
    check = ConditionField.check

    def counted(self: ConditionField) -> object:
        checked.append(self.editor.text)
        return check(self)

    monkeypatch.setattr(ConditionField, "check", counted)
    async with start(incident_url) as console:
        await console.filter_for("vendor")
        checked.clear()
        console.burst(*keys(LONG[kind]), "end", "x", "backspace")
        await console.at_rest()
        assert console.app.screen.query_one(ExpressionEditor).text == LONG[kind]
        await console.until(lambda: checked and checked[-1] == LONG[kind])
        assert len(checked) < 100


async def test_a_keystroke_lays_out_nothing_and_is_painted_once_with_its_error(
    start: Start, incident_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A layout takes as long as all else; what is painted in a second turn is seen a frame later."""
    laid_out: list[bool] = []
    painted: list[str] = []
    lay_out, display = FilterScreen._refresh_layout, ConsoleApp._display

    def lay_out_and_note(screen: FilterScreen, *args: Any, **options: Any) -> None:
        laid_out.append(True)
        lay_out(screen, *args, **options)

    def display_and_note(app: ConsoleApp, *args: Any) -> None:
        painted.append(console.text)
        display(app, *args)

    async with start(incident_url, refresh_seconds=3600) as console:
        await console.filter_for("vendor-syncs", CULPRIT)
        await console.counted()
        await console.until(lambda: "✓ valid" in console.text)
        monkeypatch.setattr(FilterScreen, "_refresh_layout", lay_out_and_note)
        monkeypatch.setattr(ConsoleApp, "_display", display_and_note)
        await console.press("ampersand")
        assert laid_out == []
        first = next(each for each in painted if f"{CULPRIT}&" in each)
        assert "✗ 1:" in first, first
        await console.press("backspace")
        await console.counted()
        assert laid_out == []


async def test_a_keystroke_compiles_once(start: Start, incident_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also with the count, the examples and the review that follow."""
    compiled: list[str] = []
    parse = filters.parse

    def counted(source: str, reporter: Reporter) -> Node | None:
        compiled.append(source)
        return parse(source, reporter)

    monkeypatch.setattr(filters, "parse", counted)
    async with start(incident_url) as console:
        await console.filter_for("vendor", "event.data.vendor_id != 'compiled '")
        await console.shows("! valid", "exact")
        await console.press("left")
        for key in "once":
            await console.press(key)
            await console.shows("! valid")
            await console.counted()
        await console.press("f9")
        await console.shows("counted", "the same as the filter showed")
        beginnings = ("", "o", "on", "onc", "once")
        ours = [source for source in compiled if "compiled" in source]  # what stands out is compiled, too
        assert Counter(ours) == {f"event.data.vendor_id != 'compiled {text}'": 1 for text in beginnings}


async def test_ctrl_q_waits_for_no_held_key(start: Start, incident_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with start(incident_url) as console:
        await console.filter_for("vendor")
        forget, forgotten = console.app.type_ahead.forget, []
        monkeypatch.setattr(console.app.type_ahead, "forget", lambda: forgotten.append(forget()))
        console.burst(*keys(LONG["json"]), *["left", "right"] * 5_000, "ctrl+q")
        await console.until(lambda: console.app._exit)
        assert forgotten[0] > 5_000


async def test_keys_before_ctrl_q_have_their_effect(start: Start, incident_url: str) -> None:
    async with start(incident_url) as console:
        console.burst("H", "ctrl+q")
        await console.until(lambda: console.app._exit)
        assert isinstance(console.app.screen, HistoryScreen)


async def test_a_keystroke_hardly_lays_out_the_screen_anew(
    start: Start, incident_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every height is fixed, and to lay out takes longer than to check, to count and to paint."""
    async with start(incident_url, size=WIDE, refresh_seconds=3600) as console:
        await console.filter_for("vendor-syncs", CULPRIT)
        await console.counted()

        async def mistake() -> None:
            await console.type(")")
            await console.shows("✗ 1:")
            await console.press("backspace")
            await console.shows("✓ valid")
            await console.counted()

        await mistake()
        laid_out = 0
        lay_out = FilterScreen._refresh_layout

        def counting(self: FilterScreen, *arguments: Any, **options: Any) -> None:
            nonlocal laid_out
            laid_out += 1
            lay_out(self, *arguments, **options)

        monkeypatch.setattr(FilterScreen, "_refresh_layout", counting)
        await mistake()
        # The examples go, and come back.
        assert laid_out <= 2


async def test_an_expression_that_is_refused_is_not_being_counted(start: Start, incident_url: str) -> None:
    """Where a check takes long, it waits for a pause, and what is typed until then is no better than before."""
    async with start(incident_url) as console:
        await console.filter_for("vendor-syncs")
        screen = console.app.screen
        editor = screen.query_one(ExpressionEditor)
        editor.rewrite("true || " * 3_000 + "true")
        await console.shows("longer than 20,000 characters", "counts return once the filter is valid")
        screen.query_one(RequestFields)._check_took = 10.0
        editor.insert(" ")
        await console.until(lambda: not screen.query_one(RequestFields).is_checked)
        assert screen.query_one(Matches).tally.stage is Stage.INVALID
        assert "counting…" not in console.text
