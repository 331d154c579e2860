"""A canvas writes little, and the terminal shows the same as if everything had been written again."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from terminal_screen import TerminalScreen
from textual._compositor import ChopsUpdate, CompositorUpdate, LayoutUpdate
from textual.geometry import Region
from textual.strip import Strip

from secateur_tui.frame.painting import Canvas

WIDTH, HEIGHT = 24, 4
CONSOLE = Console(color_system="truecolor", force_terminal=True)
STYLES = [
    None,
    Style.parse("bold #ff0000 on #000000"),
    Style.parse("#ff0000 on #000000"),
    Style.parse("bold italic bright_green"),
    Style.parse("reverse #00ff00"),
    Style.parse("underline on blue"),
    Style.parse("default on default"),
    Style.parse("dim white on bright_black"),
]
TEXTS = st.text(st.sampled_from("ab 12 │▲ 好🚀"), max_size=6)
LINES = st.lists(st.tuples(TEXTS, st.sampled_from(STYLES)), max_size=6).map(
    lambda parts: Strip([Segment(*part) for part in parts]).adjust_cell_length(WIDTH, STYLES[1])
)
SCREENS = st.lists(LINES, min_size=HEIGHT, max_size=HEIGHT)


def whole(lines: list[Strip]) -> LayoutUpdate:
    return LayoutUpdate([[line] for line in lines], Region(0, 0, WIDTH, HEIGHT))


def part(lines: list[Strip], spans: list[tuple[int, int, int]]) -> ChopsUpdate:
    """An update of these spans, of lines that are cut in three."""
    chops = [dict(zip((0, 8, 16), in_thirds(line), strict=True)) for line in lines]
    return ChopsUpdate(chops, spans, [[8, 16, WIDTH]] * HEIGHT)


def in_thirds(line: Strip) -> list[Strip]:
    return [*line.divide([8, 16, WIDTH])]


def as_textual_writes(lines: list[Strip]) -> TerminalScreen:
    screen = TerminalScreen((WIDTH, HEIGHT))
    screen.write(whole(lines).render_segments(CONSOLE).replace("\n", ""))
    return screen


@settings(max_examples=50, deadline=None)
@given(st.lists(SCREENS, min_size=1, max_size=4))
def test_after_each_update_the_terminal_shows_the_newest(screens: list[list[Strip]]) -> None:
    canvas, terminal = Canvas(), TerminalScreen((WIDTH, HEIGHT))
    for lines in screens:
        terminal.write(canvas.paint(whole(lines), CONSOLE))
        assert terminal.cells == as_textual_writes(lines).cells


@settings(max_examples=50, deadline=None)
@given(SCREENS, SCREENS, st.integers(0, HEIGHT - 1), st.integers(0, 2))
def test_an_update_of_a_part_changes_that_part(old: list[Strip], new: list[Strip], y: int, third: int) -> None:
    shown = [in_thirds(line) for line in old]
    canvas, terminal = Canvas(), TerminalScreen((WIDTH, HEIGHT))
    terminal.write(canvas.paint(whole([Strip.join(line) for line in shown]), CONSOLE))
    terminal.write(canvas.paint(part(new, [(y, third * 8, third * 8 + 8)]), CONSOLE))
    shown[y][third] = in_thirds(new[y])[third]
    assert terminal.cells == as_textual_writes([Strip.join(line) for line in shown]).cells


def digits(text: str) -> list[Strip]:
    return [Strip([Segment(text.ljust(WIDTH), STYLES[2])])] * HEIGHT


def paint(canvas: Canvas, update: CompositorUpdate) -> str:
    return canvas.paint(update, CONSOLE)


def test_what_the_terminal_shows_already_is_not_written() -> None:
    canvas = Canvas()
    assert paint(canvas, whole(digits("12:00:01")))
    assert paint(canvas, whole(digits("12:00:01"))) == ""
    assert paint(canvas, part(digits("12:00:01"), [(0, 0, 8)])) == ""


def test_only_the_changed_cell_is_written() -> None:
    canvas = Canvas()
    paint(canvas, whole(digits("12:00:01")))
    written = paint(canvas, part(digits("12:00:02"), [(1, 0, 8)]))
    assert written == "\x1b[2;8H\x1b[38;2;255;0;0;48;2;0;0;0m2\x1b[0m"


def test_what_was_forgotten_is_written_again() -> None:
    canvas = Canvas()
    first = paint(canvas, whole(digits("12:00:01")))
    canvas.forget()
    assert paint(canvas, whole(digits("12:00:01"))) == first


def test_a_screen_of_another_size_is_written_whole() -> None:
    canvas, lines = Canvas(), digits("12:00:01")[:-1]
    lower = LayoutUpdate([[line] for line in lines], Region(0, 0, WIDTH, HEIGHT - 1))
    paint(canvas, whole(digits("12:00:01")))
    assert paint(canvas, lower) == paint(Canvas(), lower)


def test_control_characters_are_not_written() -> None:
    assert "\x07" not in Canvas().paint(whole([Strip([Segment("a\x07b\x1bc".ljust(WIDTH))])] * HEIGHT), CONSOLE)
