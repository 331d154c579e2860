"""Everything the console shows, in ASCII: for terminals and logs whose encoding or font has nothing else."""

from __future__ import annotations

import unicodedata
from functools import lru_cache

from rich.cells import cell_len
from rich.segment import Segment
from textual.color import Color
from textual.filter import LineFilter

_SIGNS = {
    **dict.fromkeys("─━═╌┄", "-"),
    **dict.fromkeys("│┃║▌▐▎▏▍▋▊▉", "|"),
    **dict.fromkeys("╭╮╰╯┌┐└┘├┤┬┴┼┏┓┗┛╔╗╚╝", "+"),
    **dict.fromkeys("▁▂▔", "_"),
    **dict.fromkeys("▃▄", "-"),
    **dict.fromkeys("▅▆", "="),
    **dict.fromkeys("▇█■▓▒▚", "#"),
    **dict.fromkeys("░·•", "."),
    **dict.fromkeys("▲▴↑", "^"),
    **dict.fromkeys("▼▾↓", "v"),
    **dict.fromkeys("→▸▶", ">"),
    **dict.fromkeys("←◀", "<"),
    **dict.fromkeys("“”„″", '"'),
    **dict.fromkeys("‘’′", "'"),
    **dict.fromkeys("–—−", "-"),
    **dict.fromkeys("●◆", "*"),
    **dict.fromkeys("○◌◇◷", "o"),
    "✓": "+",
    "✗": "x",
    "✂": "%",
    "‖": "=",
    "≈": "~",
    "±": "~",
    "×": "x",
    "…": ".",
    "∞": "8",
    "↺": "<",
    "≥": ">",
    "≤": "<",
}
_BRAILLE = range(0x2800, 0x2900)
_BY_DOTS = " ..::-=##"


class AsciiOnly(LineFilter):
    """Paints every character as one or two of ASCII, as wide as it was."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        return [
            Segment(text, style, control) if control or text.isascii() else Segment(in_ascii(text), style)
            for text, style, control in segments
        ]


def in_ascii(text: str) -> str:
    """The text in ASCII, each character as wide as it was; letters lose their accents, the rest becomes `?`."""
    return text if text.isascii() else "".join(map(_sign, text))


@lru_cache(4096)
def _sign(character: str) -> str:
    if character.isascii():
        return character
    if ord(character) in _BRAILLE:
        return _BY_DOTS[(ord(character) - _BRAILLE.start).bit_count()]
    if (sign := _SIGNS.get(character)) is not None:
        return sign
    width = cell_len(character)
    letter = unicodedata.normalize("NFKD", character)[:1]
    return letter if width == 1 and letter.isascii() else "?" * width
