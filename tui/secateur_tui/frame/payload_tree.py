"""A payload as JSON that folds, in colour, with the path of the row under the cursor.

Every place that shows a run's event can use it: Filter, and the run itself.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from textual.content import Content
from textual.message import Message

from secateur.cel.syntax.writing import field_access
from secateur.words.figures import number
from secateur.words.lines import cells, one_line, shorten
from secateur_tui.frame.line_table import LineTable
from secateur_tui.keymap import bindings_of
from secateur_tui.themes import TONES, toned

Steps: TypeAlias = tuple[str | int, ...]
"""The keys and indexes that lead to a value from the payload."""

OPEN_LINES = 60
"""A payload is opened level by level until it has this many lines."""
MOST_MEMBERS = 500
"""At most this many members of one object or list are listed; a row says how many more there are."""
_LONGEST_TEXT = 2_000
"""How many characters of a value are read for its line."""
_INDENT = 2
_NONE = object()


@dataclass(frozen=True, slots=True)
class Line:
    """One row: a member, or the number of further members of its parent."""

    path: Steps
    value: Any
    more: int = 0
    """The number of members that are not listed; such a row has no value."""

    @property
    def key(self) -> tuple[Steps, bool]:
        return self.path, bool(self.more)


class PayloadTree(LineTable):
    """Shows any decoded JSON. `lit` are the paths of fields to stand out, such as those that an expression reads.

    A payload of any size is shown at once: rows are made when they come into sight, and values are cut.
    """

    BINDINGS = bindings_of("payload")

    @dataclass
    class Picked(Message):
        """The user wants only the runs that have this value here, or only the others."""

        path: Steps
        value: Any
        exclude: bool

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._payload: Any = _NONE
        self._lit: frozenset[Steps] = frozenset()
        self._open: set[Steps] = set()
        self._lines: list[Line] = []
        self._copied: tuple[Steps, bool] | None = None

    def show(self, payload: Any, lit: Collection[Sequence[str | int]] = ()) -> None:
        """Show a payload. Rows that were opened or folded by hand stay so while it is the same payload."""
        if payload is not self._payload:
            self._payload, self._open = payload, opened_at_first(payload)
        self._lit = frozenset(tuple(each) for each in lit)
        self._relist()

    def clear(self) -> None:
        """Show no payload."""
        self._payload, self._open, self._lines = _NONE, set(), []
        self.show_rows(Content(""), [], self._made)

    def _relist(self) -> None:
        self._lines = list(_lines(self._payload, self._open))
        self.show_rows(self._heading_line(), [line.key for line in self._lines], self._made)

    @property
    def chosen(self) -> Line | None:
        """The row under the cursor."""
        key = self.cursor_key
        return next((line for line in self._lines if line.key == key and not line.more), None)

    def _heading_line(self) -> Content:
        line = self.chosen
        return toned((shorten(written(line.path), self.line_width), "field") if line else ("event", "quiet"))

    def on_line_table_moved(self) -> None:
        self._copied = None
        self.show_rows(self._heading_line(), self.keys, self._made)

    def on_resize(self) -> None:
        super().on_resize()
        if self._payload is not _NONE:
            self._relist()

    def _made(self, index: int) -> Content:
        line = self._lines[index]
        indent = " " * (_INDENT * (len(line.path) - 1))
        if line.more:
            return toned((f"{indent}  … {number(line.more)} more", "quiet"))
        sign = "" if not _members(line.value) else "▾ " if line.path in self._open else "▸ "
        key = line.path[-1] if line.path else ""
        name = str(key) if isinstance(key, int) else one_line(_quoted(key)) if line.path else ""
        name, colon = shorten(name, max(4, self.line_width - len(indent) - 4)), ": " if line.path else ""
        text, tone = self._value(line)
        room = self.line_width - len(indent) - 2 - cells(name) - len(colon)
        look = f"bold underline {TONES['field']}" if line.path in self._lit else TONES["field"]
        return (
            toned((f"{indent}{sign or '  '}", "quiet"))
            + Content.styled(name, look)
            + toned((colon, "quiet"), (shorten(text, max(3, room)), tone))
        )

    def _value(self, line: Line) -> tuple[str, str]:
        value = line.value
        if isinstance(value, dict | list):
            amount = len(value)
            if line.path in self._open and amount:
                return ("{" if isinstance(value, dict) else "["), "quiet"
            around = "{…}" if isinstance(value, dict) else "[…]"
            return (f"{around} {number(amount)}" if amount else around.replace("…", "")), "quiet"
        if isinstance(value, str):
            return _quoted(value), "good"
        return json_text(value), "warn"

    def action_fold(self) -> None:
        """Open or close the row; on a plain value, its parent."""
        if (line := self.chosen) is not None:
            path = line.path if _members(line.value) else line.path[:-1]
            self._set(path, path not in self._open)

    def action_open(self) -> None:
        if (line := self.chosen) is not None and _members(line.value):
            self._set(line.path, True)

    def action_close(self) -> None:
        """Close the row; if it is closed, its parent."""
        if (line := self.chosen) is not None:
            self._set(line.path if line.path in self._open else line.path[:-1], False)

    def _set(self, path: Steps, is_open: bool) -> None:
        if not path:
            return
        (self._open.add if is_open else self._open.discard)(path)
        self._relist()
        self.move_to((path, False))

    def action_copy(self) -> None:
        """Copy the value; pressed again, the path."""
        if (line := self.chosen) is None:
            return
        value = (line.path, False) != self._copied
        self._copied = (line.path, False) if value else None
        self.app.copy_to_clipboard(json_text(line.value) if value else written(line.path))
        told = "Copied the value; once more copies its path." if value else f"Copied {written(line.path)[:200]}"
        self.notify(told, markup=False)

    def action_add(self) -> None:
        self._pick(exclude=False)

    def action_exclude(self) -> None:
        self._pick(exclude=True)

    def _pick(self, *, exclude: bool) -> None:
        if (line := self.chosen) is not None:
            self.post_message(self.Picked(line.path, line.value, exclude))


def opened_at_first(payload: Any) -> set[Steps]:
    """The objects and lists that are open at first: the upper levels, until there are enough lines."""
    opened: set[Steps] = {()}
    lines, waiting = len(_members(payload)), deque[tuple[Steps, Any]]([((), payload)])
    while waiting:
        path, value = waiting.popleft()
        for key, member in _members(value):
            below = len(_members(member))
            if below and lines + below <= OPEN_LINES:
                lines += below
                opened.add((*path, key))
                waiting.append(((*path, key), member))
    return opened


def _lines(payload: Any, opened: Collection[Steps]) -> Iterator[Line]:
    if not isinstance(payload, dict | list):
        yield Line((), payload)
        return
    pending: list[Line] = _below((), payload)
    while pending:
        line = pending.pop()
        yield line
        if not line.more and line.path in opened:
            pending += _below(line.path, line.value)


def _below(path: Steps, value: Any) -> list[Line]:
    """The members, last first."""
    members = _members(value)
    lines = [Line((*path, key), member) for key, member in members]
    left = len(value) - len(members) if isinstance(value, dict | list) else 0
    if left:
        lines.append(Line((*path, len(members)), None, left))
    return lines[::-1]


def _members(value: Any) -> list[tuple[str | int, Any]]:
    """The members of an object or list, as far as they are listed; none for any other value."""
    if isinstance(value, dict):
        return [(key, value[key]) for key, _ in zip(value, range(MOST_MEMBERS), strict=False)]
    if isinstance(value, list):
        return list(enumerate(value[:MOST_MEMBERS]))
    return []


def _quoted(text: str) -> str:
    return json.dumps(text if len(text) <= _LONGEST_TEXT else text[:_LONGEST_TEXT] + "…", ensure_ascii=False)


def json_text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def written(path: Steps) -> str:
    """The path as an expression selects it: `event.data.items[0].sku`."""
    return "event" + "".join(f"[{key}]" if isinstance(key, int) else field_access(key) for key in path)
