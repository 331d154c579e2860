"""The editor colours the expression language and points at the column that is wrong."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from textual.app import App, ComposeResult
from textual.pilot import Pilot

from secateur.cel import ExpressionError, compile
from secateur_tui.filter.check_line import CheckLine
from secateur_tui.filter.editor import ExpressionEditor
from secateur_tui.themes import THEMES, toned


class Desk(App[None]):
    """An editor with its verdict, and nothing else."""

    CSS = "ExpressionEditor { height: auto; padding: 0; border: none; } CheckLine { height: auto; }"

    def __init__(self, text: str) -> None:
        super().__init__()
        for theme in THEMES:
            self.register_theme(theme)
        self.theme = THEMES[0].name
        self._text = text

    def compose(self) -> ComposeResult:
        yield ExpressionEditor(self._text)
        yield CheckLine()


@asynccontextmanager
async def desk(text: str, width: int = 60) -> AsyncIterator[tuple[Pilot[None], ExpressionEditor, CheckLine]]:
    app = Desk(text)
    async with app.run_test(size=(width, 12)) as pilot:
        yield pilot, app.query_one(ExpressionEditor), app.query_one(CheckLine)


def lines(app: App[None]) -> list[str]:
    return [strip.text.rstrip() for strip in app.screen._compositor.render_strips()]


def colours(editor: ExpressionEditor, row: int) -> dict[str, str]:
    """Each word of a row with its colour."""
    return {
        segment.text.strip(): segment.style.color.name
        for segment in editor.render_line(row)
        if segment.style and segment.style.color and segment.text.strip()
    }


async def test_words_are_coloured_by_what_they_are() -> None:
    async with desk("event.data.vendor_id == 'acme' && size(event.data.items) > 10", 80) as (_, editor, _verdict):
        shown = colours(editor, 0)
    different = [shown[word] for word in ("vendor_id", "==", "'acme'", "size", "10")]
    assert len(set(different)) == len(different)


async def test_columns_are_right_behind_characters_of_several_bytes() -> None:
    async with desk("event.data.x == 'é課' && event.data.y == 'z'") as (_, editor, _verdict):
        shown = colours(editor, 0)
    assert shown["'é課'"] == shown["'z'"]


async def test_a_string_over_two_lines_is_survived() -> None:
    async with desk("'''a\nb''' == event.data.x\n&& true") as (_, editor, _verdict):
        # The cursor stands on the first character.
        assert colours(editor, 1)["b'''"] == colours(editor, 0)["''a"]


async def test_marked_places_are_underlined() -> None:
    async with desk("event.data.x >\n  amont") as (pilot, editor, _verdict):
        editor.mark([(17, 22)])
        await pilot.pause()
        marked = [segment.text for segment in editor.render_line(1) if segment.style and segment.style.underline]
        assert marked == ["amont"]
        editor.mark([])
        await pilot.pause()
        assert not [segment for segment in editor.render_line(1) if segment.style and segment.style.underline]


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        (
            "event.data.amount > amont",
            ["event.data.amount > amont", " " * 20 + "▲", "✗ 1:21 there is no variable `amont`"],
        ),
        ("true &&\n  amont", ["true &&", "  amont", "  ▲", "✗ 2:3 there is no variable `amont`"]),
        (
            "amont &&\n  true",
            ["amont &&", "  true", "amont &&", "▲", "✗ 1:1 there is no variable `amont`"],
        ),
    ],
)
async def test_a_caret_stands_under_the_column(source: str, shown: list[str]) -> None:
    async with desk(source) as (pilot, _, verdict):
        with pytest.raises(ExpressionError) as raised:
            compile(source)
        verdict.show(source, raised.value.diagnostics[:1], toned(("", "plain")))
        await pilot.pause()
        written = lines(pilot.app)
    assert [line.partition(";")[0] for line in written[: len(shown)]] == shown


async def test_a_place_far_to_the_right_is_shown_with_its_surroundings() -> None:
    source = " || ".join(["event.data.vendor_id == 'acme'"] * 8) + " || amont"
    async with desk(source, width=50) as (pilot, _, verdict):
        with pytest.raises(ExpressionError) as raised:
            compile(source)
        verdict.show(source, raised.value.diagnostics[:1], toned(("", "plain")))
        await pilot.pause()
        written = lines(pilot.app)
    caret = next(line for line in written if line.endswith("▲"))
    above = written[written.index(caret) - 1]
    assert above[caret.index("▲") :].startswith("amont")


async def test_the_message_has_the_first_claim_to_the_room_and_its_place_the_next() -> None:
    source = " || ".join(["event.data.vendor_id == 'acme'"] * 8) + " || amont"
    told = "✗ 1:273 there is no variable `amont`; did you mean `event.data.amount`?"
    async with desk(source, width=50) as (pilot, _, verdict):
        with pytest.raises(ExpressionError) as raised:
            compile(source)
        problem = replace(raised.value.diagnostics[0], suggestion="did you mean `event.data.amount`?")
        for height, above in ((1, 0), (2, 0), (3, 1), (4, 2)):
            verdict.styles.height = height
            verdict.show(source, [problem], toned(("", "plain")))
            await pilot.pause()
            shown = [line for line in lines(pilot.app)[verdict.region.y :][:height] if line]
            place, message = shown[:above], " ".join(" ".join(shown[above:]).split())
            assert told.startswith(message)
            assert message == told or height == 1
            assert len(place) != 1 or "|| ▲amont" in place[0]
            assert len(place) != 2 or place[0][place[1].index("▲") :].startswith("amont")


async def test_no_text_breaks_it() -> None:
    async with desk("") as (pilot, editor, _verdict):
        for text in ("'" * 500, "((((", "\t\r\n\x00", "課金 ☃ \N{FAMILY}", "// c", '"""', "`a", "1.e", "a" * 10_000):
            editor.text = text
            await pilot.pause()
