"""What the console paints in every kind of terminal: text that can be read, or a start that is refused in words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product

import pytest
from console_driver import Start
from pseudo_terminal import Terminal
from rich.color import Color, ColorSystem
from textual.color import Color as TextualColor
from textual.theme import Theme

from patience import PATIENCE, wait_for
from secateur_tui.app import ConsoleApp
from secateur_tui.themes import THEMES

DARK, LIGHT, SIXTEEN = "secateur-dark", "secateur-light", "secateur-16"
FEW = ("linux", "xterm", "screen", "vt100")
"""Terminals of 16 colours or none."""
MANY = ("xterm-256color", "tmux-256color")
TRUE = "xterm-256color truecolor"
"""TERM, and COLORTERM after it."""
LETTERS, FRAMES = 2.5, 1.5
"""The least contrast of what is read, and of lines, bars and signs."""


@dataclass(frozen=True, slots=True)
class Look:
    """How a character is painted; a colour is what the SGR sequence says of it, None the terminal's own."""

    colour: str | None = None
    behind: str | None = None
    reverse: bool = False


COLOURS = ("primary", "secondary", "accent", "warning", "error", "success", "foreground", "background")
parse = TextualColor.parse

_TOKEN = re.compile(
    r"\x1b\[(?P<sgr>[\d;:]*)m|\x1b\[[0-?]*[ -/]*[@-~]|\x1b[\]PX^_].*?(?:\x07|\x1b\\)|\x1b[ -/]*[0-~]|(?P<text>.)",
    re.DOTALL,
)


def painted(stream: bytes) -> Iterator[tuple[str, Look]]:
    """Every visible character, in the order in which they were painted."""
    look = Look()
    for token in _TOKEN.finditer(stream.decode(errors="replace")):
        if token["sgr"] is not None:
            look = _after(look, token["sgr"])
        elif (text := token["text"]) and text.isprintable() and not text.isspace():
            yield text, look


def _after(look: Look, parameters: str) -> Look:
    codes = parameters.replace(":", ";").split(";")
    while codes:
        code = int(codes.pop(0) or 0)
        if code == 0:
            look = Look()
        elif code in (7, 27):
            look = replace(look, reverse=code == 7)
        elif code in (38, 48):
            length = 2 if codes[0] == "5" else 4
            colour, codes = ";".join(codes[:length]), codes[length:]
            look = replace(look, colour=colour) if code == 38 else replace(look, behind=colour)
        elif 30 <= code <= 37 or 90 <= code <= 97:
            look = replace(look, colour=f"5;{code - 30 if code < 40 else code - 82}")
        elif 40 <= code <= 47 or 100 <= code <= 107:
            look = replace(look, behind=f"5;{code - 40 if code < 50 else code - 92}")
        elif code == 39:
            look = replace(look, colour=None)
        elif code == 49:
            look = replace(look, behind=None)
    return look


def contrast(one: str, other: str) -> float:
    """Of two colours, from 1 to 21, as the WCAG defines it."""
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


def _luminance(colour: str) -> float:
    kind, *numbers = colour.split(";")
    triplet = Color.from_ansi(int(numbers[0])).get_truecolor() if kind == "5" else tuple(map(int, numbers))
    red, green, blue = (
        part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4
        for part in (each / 255 for each in triplet)
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def caret_on_first(word: str, stream: bytes) -> bool:
    """Whether the word was painted once with a caret on its first letter: unlike the next letter, and seen as such."""
    cells = list(painted(stream))
    for place in range(len(cells) - len(word) + 1):
        if "".join(text for text, _ in cells[place : place + len(word)]) != word:
            continue
        (_, first), (_, second) = cells[place : place + 2]
        if first.reverse != second.reverse and first.behind == second.behind:
            return True
        if None not in (first.colour, first.behind) and first.behind != second.behind:
            assert contrast(first.colour, first.behind) >= LETTERS, f"the caret hides what it is on: {first}"
            assert second.behind is None or contrast(first.behind, second.behind) >= FRAMES, f"{first} in {second}"
            return True
    return False


def open_filter(terminal: Terminal) -> None:
    terminal.read_until("flood")
    terminal.send(b"\r")
    terminal.read_until("Matches")


def walk(terminal: Terminal) -> None:
    """From an empty filter through the places that paint in colours of their own."""
    terminal.send(b"event.data.vendor_id == 'acme_inc'")
    terminal.read_until("exact")
    terminal.send(b"\x1b[20~")
    terminal.read_until("enter goes on")
    terminal.send(b"\x1b")
    terminal.read_until("What stands out")
    terminal.send(b" &&")
    terminal.read_until("✗")
    terminal.send(b"\x1b")
    terminal.read_until("flood")
    terminal.send(b"p")
    terminal.read_until("Pause")
    terminal.send(b"n?")
    terminal.read_until("you are here")
    terminal.send(b"qq")
    assert terminal.process.wait(PATIENCE) == 0


def check_caret(terminal: Terminal) -> None:
    """Leaves the filter empty again."""
    terminal.send(b"tru\x1b[D\x1b[D\x1b[D")

    def seen() -> bool:
        terminal.send(b"\x0c")  # paints all of it in one piece
        return caret_on_first("tru", terminal.everything)

    wait_for(seen, "the caret")
    terminal.send(b"\x1b[3~" * 3)


def check_readable(stream: bytes) -> None:
    texts: dict[Look, str] = {}
    for text, look in painted(stream):
        texts[look] = texts.get(look, "") + text
    assert sum(map(len, texts.values())) > 1000
    for look, text in texts.items():
        told = f"{text[-80:]!r} is painted in {look}"
        if look.colour is not None and look.behind is not None:
            # Also what lies behind a dialog.
            least = LETTERS if any(map(str.isalnum, text)) else FRAMES
            assert contrast(look.colour, look.behind) >= least, told
        # The terminal's own background may be black.
        assert look.colour not in ("5;0", "5;16") or look.behind is not None, told


@pytest.mark.parametrize(
    ("term", "theme"),
    [("linux", None), ("xterm-256color", DARK), ("xterm-256color", LIGHT), (TRUE, LIGHT)],
)
def test_all_that_is_painted_can_be_read(
    incident_url: str, terminals: list[Terminal], term: str, theme: str | None
) -> None:
    """In every theme, and in every number of colours; which terminal is painted in which is tested below."""
    term, _, colours = term.partition(" ")
    variables = {"NO_COLOR": None, "COLORTERM": colours or None, "SECATEUR_THEME": theme}
    terminals.append(Terminal(incident_url, term, **variables))
    open_filter(terminals[0])
    check_caret(terminals[0])
    walk(terminals[0])
    stream = terminals[0].everything
    check_readable(stream)
    assert b"\\u" not in stream
    if term in FEW:
        assert b"[38;" not in stream
    assert (b"8;2;" in stream) == bool(colours)


@pytest.mark.parametrize("theme", [each for each in THEMES if not each.ansi], ids=lambda theme: theme.name)
@pytest.mark.parametrize("system", [ColorSystem.EIGHT_BIT, ColorSystem.TRUECOLOR], ids=["256", "truecolor"])
@pytest.mark.parametrize("ground", ["background", "row-cursor"])
def test_every_colour_can_be_read_also_behind_a_dialog(theme: Theme, system: ColorSystem, ground: str) -> None:
    """On the background and on the cursor's row; what stands behind a dialog is paler by a quarter."""
    colours = {name: getattr(theme, name) for name in COLOURS} | {
        name: theme.variables[name] for name in ("text-quiet", "syntax-number", "row-cursor")
    }
    page, behind = parse(colours["background"]), parse(colours[ground])
    for name in colours.keys() - {"background", "row-cursor"}:
        for paler in (0.0, 0.25):
            pair = (parse(colours[name]).blend(page, paler), behind.blend(page, paler))
            assert contrast(*(sgr_of(each, system) for each in pair)) >= LETTERS, f"{name}, {paler:.0%} paler"


def sgr_of(colour: TextualColor, system: ColorSystem) -> str:
    shown = Color.from_rgb(*colour.rgb).downgrade(system)
    return f"5;{shown.number}" if shown.number is not None else "2;{};{};{}".format(*colour.rgb)


@pytest.mark.parametrize(("term", "theme"), [("xterm-256color", LIGHT)])
def test_no_color_leaves_the_terminals_own_colours(
    incident_url: str, terminals: list[Terminal], term: str, theme: str | None
) -> None:
    terminals.append(Terminal(incident_url, term, NO_COLOR="1", COLORTERM=None, SECATEUR_THEME=theme))
    open_filter(terminals[0])
    check_caret(terminals[0])
    walk(terminals[0])
    looks = {look for _, look in painted(terminals[0].everything)}
    assert looks == {Look(), Look(reverse=True)}, "only the reverse video says what is chosen"


async def test_few_colours_are_the_terminals_own_and_many_are_the_themes(
    embedded_url: str, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every terminal and theme is painted as one of those that are looked at above."""

    def palette(term: str, theme: str | None, no_color: str | None) -> tuple[str, str | None]:
        term, _, colours = term.partition(" ")
        for name, value in {"TERM": term, "COLORTERM": colours or None, "NO_COLOR": no_color}.items():
            monkeypatch.delenv(name, raising=False)
            if value is not None:
                monkeypatch.setenv(name, value)
        app = ConsoleApp(session, theme=theme)
        assert app.no_color == (no_color == "1")
        return app.theme, app.console.color_system

    async with start(embedded_url) as console:
        session = console.app.session
    themes = (None, DARK, LIGHT, SIXTEEN)
    for theme, term in product(themes, FEW):
        assert palette(term, theme, None) == (SIXTEEN, "standard")
    for theme, term in product(themes, MANY):
        assert palette(term, theme, None) == (theme or DARK, "256")
    for theme, no_color in product(themes, (None, "")):
        assert palette(TRUE, theme, no_color) == (theme or DARK, "truecolor")
    for theme, term in product(themes, (*FEW, *MANY, TRUE)):
        assert palette(term, theme, "1")[0] == SIXTEEN
