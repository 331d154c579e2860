"""What a terminal shows after the bytes that a console wrote to it."""

from __future__ import annotations

import re

from rich.cells import split_graphemes

_TOKEN = re.compile(
    r"\x1b\[(?P<arguments>[?><=]?[\d;$]*)(?P<command>[a-zA-Z])"
    r"|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)"
    r"|(?P<control>[\x00-\x1a\x1c-\x1f])|(?P<text>[^\x00-\x1f]+)"
)
_BEGINNING = re.compile(r"\x1b(?:\[[?><=]?[\d;$]*|\][^\x07]*)?\Z")
_IGNORED = "hlup"
"""Modes of the terminal and its keyboard, which draw nothing."""

Cell = tuple[str, str]


class TerminalScreen:
    """A grid of characters with their SGR parameters; takes the sequences that the console uses, and no others."""

    def __init__(self, size: tuple[int, int]) -> None:
        self._width, self._height = size
        self._held = ""
        """The beginning of a sequence whose end has not come yet."""
        self.cells: dict[tuple[int, int], Cell] = {}
        self._x = self._y = 0
        self._attributes: set[str] = set()
        self._colours = {"3": "", "4": ""}

    def write(self, painted: str) -> None:
        painted = self._held + painted
        beginning = _BEGINNING.search(painted)
        self._held = beginning[0] if beginning else ""
        painted = painted.removesuffix(self._held)
        position = 0
        while position < len(painted):
            token = _TOKEN.match(painted, position)
            assert token is not None, painted[position : position + 40]
            position = token.end()
            if token["text"]:
                self._put(token["text"])
            elif token["control"]:
                self._x, self._y = (0 if token["control"] == "\r" else self._x), self._y + (token["control"] == "\n")
            elif token["command"] and token["command"] not in _IGNORED:
                self._obey(token["command"], token["arguments"])

    @property
    def lines(self) -> list[str]:
        """The characters, line by line, without trailing blanks."""
        return [
            "".join(self.cells.get((x, y), (" ", ""))[0] for x in range(self._width)).rstrip()
            for y in range(self._height)
        ]

    def _put(self, text: str) -> None:
        colours = "".join(self._colours.values())
        drawn = self._attributes - {"1", "2", "3"}
        for start, end, width in split_graphemes(text)[0]:
            for column in range(width):
                character = text[start:end] if column == 0 else ""
                look = f"{sorted(self._attributes)}{colours}"
                if character == " ":
                    look = f"{sorted(drawn)}{colours if drawn else self._colours['4']}"
                self.cells[self._x, self._y] = (character, look)
                self._x += 1

    def _obey(self, command: str, arguments: str) -> None:
        numbers = [number for number in arguments.split(";") if number]
        match command:
            case "H":
                row, column = (*map(int, numbers), 1, 1)[:2]
                self._x, self._y = column - 1, row - 1
            case "C":
                self._x += int(numbers[0])
            case "m":
                self._look(numbers or ["0"])
            case _:
                raise AssertionError(f"unknown sequence {command!r} {arguments!r}")

    def _look(self, codes: list[str]) -> None:
        codes = [*codes]
        while codes:
            code = codes.pop(0)
            if code == "0":
                self._attributes, self._colours = set(), {"3": "", "4": ""}
            elif code in ("38", "48"):
                many = 4 if codes[0] == "2" else 2
                self._colours[code[0]] = f"<{';'.join([code, *codes[:many]])}>"
                del codes[:many]
            elif code in ("39", "49"):
                self._colours[code[0]] = ""
            elif re.fullmatch("[39][0-7]", code):
                self._colours["3"] = f"<{code}>"
            elif re.fullmatch("4[0-7]|10[0-7]", code):
                self._colours["4"] = f"<{code}>"
            else:
                self._attributes.add(code)
