"""Writes only the changed cells to the terminal, whatever was drawn again.

Textual writes whole widgets, and the whole screen after each layout. Over a slow link, that makes a console lag. So the
app hands each update to a `Canvas`, which knows what the terminal shows and writes the difference, as curses does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TypeAlias

from rich.cells import split_graphemes
from rich.color import Color, ColorSystem
from rich.console import COLOR_SYSTEMS, Console
from rich.style import Style
from textual._compositor import ChopsUpdate, CompositorUpdate, LayoutUpdate
from textual.geometry import Region
from textual.strip import Strip

_CHEAP_GAP = 4
"""Up to this many unchanged cells are written again, because jumping over them is no shorter."""
_ATTRIBUTES = {
    "bold": "1",
    "dim": "2",
    "italic": "3",
    "underline": "4",
    "blink": "5",
    "reverse": "7",
    "conceal": "8",
    "strike": "9",
    "underline2": "21",
    "overline": "53",
}
"""Rich's names of visible attributes, and their SGR parameters."""
_NOT_ON_BLANKS = ("1", "2", "3")
"""Attributes that do not show on a blank."""

_CONTROLS = dict.fromkeys((*range(0x20), *range(0x7F, 0xA0)))
"""Characters that take no cell and must not reach the terminal."""


@dataclass(frozen=True, slots=True)
class Look:
    """How a cell looks, as parameters of SGR; an empty colour is the terminal's own."""

    attributes: tuple[str, ...] = ()
    colour: str = ""
    background: str = ""


_PLAIN = Look()

Cell: TypeAlias = tuple[str, Look]
"""A character and its look; the second cell of a wide character has no text."""


@dataclass(slots=True)
class Canvas:
    """What the terminal shows."""

    _lines: dict[int, dict[int, Cell]] = field(default_factory=dict)
    """The cells by line and column; unknown cells are missing."""
    _region: Region | None = None
    """The region that the newest whole screen covered."""

    def forget(self) -> None:
        """Forget all cells: the terminal was resized, or another program wrote to it."""
        self._lines.clear()

    def paint(self, update: CompositorUpdate, console: Console) -> str:
        """What to write to the terminal for this update; empty if the terminal already shows it."""
        if isinstance(update, LayoutUpdate) and update.region != self._region:
            # What was painted between the terminal's change of size and ours went elsewhere: a terminal moves what is
            # written below its last line into that line.
            self.forget()
            self._region = update.region
        system = COLOR_SYSTEMS[console.color_system or "truecolor"]
        lines: dict[int, dict[int, Cell]] = {}
        for y, x, strip in _strips(update):
            lines.setdefault(y, {}).update(_cells(strip, x, system))
        pen = _Pen()
        for y, fresh in lines.items():
            known = self._lines.setdefault(y, {})
            changed = [x for x, cell in fresh.items() if known.get(x) != cell]
            if not changed:
                continue
            # Terminals disagree about the width of some characters, so a line with one that is not one cell wide is
            # written whole.
            uneven = _is_uneven(known)
            known.update(fresh)
            if uneven or _is_uneven(known):
                changed = [*known]
            for start, end in _runs(sorted(changed), known):
                pen.write(start, y, [known[x] for x in range(start, end)])
        return pen.finish()


class Difference(CompositorUpdate):
    """An update that is written already."""

    def __init__(self, written: str) -> None:
        self._written = written

    def render_segments(self, console: Console) -> str:
        return self._written


class _Pen:
    """Writes cells, with as few moves and changes of the look as are needed."""

    def __init__(self) -> None:
        self._written: list[str] = []
        self._place: tuple[int, int] | None = None
        self._look = _PLAIN

    def write(self, x: int, y: int, cells: Sequence[Cell]) -> None:
        for column, (text, look) in enumerate(cells, x):
            if not text:
                continue
            if self._place != (column, y):
                self._move(column, y)
            if look != self._look and not (text == " " and look == _on_blank(self._look)):
                self._written.append(_change(self._look, look))
                self._look = look
            self._written.append(text)
            is_even = text.isascii() or column + 1 == x + len(cells) or cells[column + 1 - x][0] != ""
            self._place = (column + 1, y) if len(text) == 1 and is_even else None

    def _move(self, x: int, y: int) -> None:
        if self._place is not None and self._place[1] == y and self._place[0] < x:
            self._written.append(f"\x1b[{x - self._place[0]}C")
        else:
            self._written.append(f"\x1b[{y + 1};{x + 1}H")

    def finish(self) -> str:
        if self._look != _PLAIN:
            self._written.append("\x1b[0m")
        return "".join(self._written)


def _strips(update: CompositorUpdate) -> Iterator[tuple[int, int, Strip]]:
    """Line, column and content of what the update paints."""
    if isinstance(update, LayoutUpdate):
        for y, strips in enumerate(update.strips, update.region.y):
            x = update.region.x
            for strip in strips:
                yield y, x, strip
                x += strip.cell_length
    elif isinstance(update, ChopsUpdate):
        for y, start, end in update.spans:
            for (x, chop), stop in zip(update.chops[y].items(), update.chop_ends[y], strict=False):
                # A chop that the span does not touch may lack the widgets that lie over it.
                if chop is not None and x < end and stop > start:
                    yield y, x, chop


def _cells(strip: Strip, x: int, system: ColorSystem) -> Iterator[tuple[int, Cell]]:
    for text, style, _ in strip:
        look = _PLAIN if style is None else _look(style, system)
        if text.isascii() and text.isprintable():
            widths = [(character, 1) for character in text]
        else:
            text = text.translate(_CONTROLS)
            widths = [(text[start:end], width) for start, end, width in split_graphemes(text)[0]]
        for character, width in widths:
            for column in range(width):
                yield x, (character if column == 0 else "", look if character != " " else _on_blank(look))
                x += 1


def _is_uneven(line: Mapping[int, Cell]) -> bool:
    return any(len(text) != 1 for text, _ in line.values())


def _runs(changed: Sequence[int], line: Mapping[int, Cell]) -> Iterator[tuple[int, int]]:
    """Start and end of the runs of cells to write, over gaps that are cheaper to write than to jump over."""
    start = end = changed[0]
    for x in changed:
        between = [line.get(gap) for gap in range(end, x)]
        if x - end > _CHEAP_GAP or any(cell is None or cell[1] != line[x][1] for cell in between):
            yield start, end
            start = x
        end = x + 1
    yield start, end


@lru_cache(4096)
def _look(style: Style, system: ColorSystem) -> Look:
    return Look(
        tuple(code for name, code in _ATTRIBUTES.items() if getattr(style, name)),
        _codes(style.color, system, foreground=True),
        _codes(style.bgcolor, system, foreground=False),
    )


def _codes(color: Color | None, system: ColorSystem, *, foreground: bool) -> str:
    if color is None or color.is_default:
        return ""
    return ";".join(color.downgrade(system).get_ansi_codes(foreground))


@lru_cache(4096)
def _on_blank(look: Look) -> Look:
    """The part of the look that shows on a blank; includes the colour if something is drawn with it, or if it is
    reversed."""
    seen = tuple(code for code in look.attributes if code not in _NOT_ON_BLANKS)
    return replace(look, attributes=seen, colour=look.colour if seen else "")


@lru_cache(4096)
def _change(before: Look, after: Look) -> str:
    """The shortest sequence from one look to the other."""
    codes = [code for code in after.attributes if code not in before.attributes]
    if len(codes) + len(before.attributes) > len(after.attributes):
        if after == _PLAIN:
            return "\x1b[0m"
        before, codes = _PLAIN, ["0", *after.attributes]
    if after.colour != before.colour:
        codes.append(after.colour or "39")
    if after.background != before.background:
        codes.append(after.background or "49")
    return f"\x1b[{';'.join(codes)}m"
