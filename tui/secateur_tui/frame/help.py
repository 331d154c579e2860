"""Help: what every key of this console does, from the table of actions."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Sequence
from itertools import zip_longest

from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Input, Static

from secateur.words.lines import one_line
from secateur_tui.frame.chrome import KeyBar
from secateur_tui.frame.place import Dialog
from secateur_tui.keymap import PLACES, Action, actions_of, bindings_of, shown_keys
from secateur_tui.session import Session
from secateur_tui.themes import toned

_KEYS_WIDTH = 15
"""Cells for the keys of an action, at most."""
_COLUMN_WIDTH, _MOST_COLUMNS, _GAP = 54, 3, 3
"""Cells that a column needs, how many columns are still read as such, and the cells between two of them."""
_ORDER = ("here", *PLACES)
"""The current place comes first."""

_FLOW = "Find the flood in Queues, say which runs in Filter, check in Review, watch in History."
_LANGUAGE = """\
event.data.vendor_id == 'acme_inc' && event.data.amount > 100
event.data.items.exists(item, item.quantity > 10)
event.name in ['vendor/sync', 'vendor/import']
has(event.data.region) && event.data.region.startsWith('eu-')
size(event.data.items) > 10 || run.priority < 0"""


class HelpScreen(Dialog[None]):
    """Begins with the place that the user comes from, `here`; a search leaves only the keys whose text matches."""

    place = "help"
    BINDINGS = bindings_of("help")

    def __init__(self, session: Session, here: str = "") -> None:
        super().__init__(session)
        self._here = here
        self._told = _Wrapped(self._lines)
        self._find = Input(placeholder="part of a key's name, or of what it does", id="find", compact=True)

    def compose(self) -> ComposeResult:
        with Vertical(id="help", classes="panel") as panel:
            with VerticalScroll(id="help-text"):
                yield self._told
            yield self._find
        panel.border_title = "Help"
        yield KeyBar(describe=self._describe)

    def on_mount(self) -> None:
        self._find.display = False
        self.query_one("#help-text").focus()

    def action_find(self) -> None:
        self._find.display = True
        self._find.focus()
        self.refresh_bindings()

    @on(Input.Changed)
    def _search(self) -> None:
        self._told.lay_out()
        self.query_one("#help-text").scroll_home(animate=False)

    @on(Input.Submitted)
    def _found(self) -> None:
        self._find.display = bool(self._find.value)
        self.query_one("#help-text").focus()

    def action_close(self) -> None:
        """If there is a search, it ends first."""
        if not self._find.display:
            self.dismiss()
            return
        self._find.value = ""
        self._find.display = False
        self.query_one("#help-text").focus()
        self.refresh_bindings()

    def _describe(self, action: Action) -> str:
        return "show all" if action.id == "help.close" and self._find.display else action.description

    def _lines(self, width: int) -> Content:
        wanted = self._find.value.strip().casefold()
        count = max(1, min(_MOST_COLUMNS, (width + _GAP) // (_COLUMN_WIDTH + _GAP)))
        column = (width - _GAP * (count - 1)) // count
        parts = [[*self._place(place, wanted, column)] for place in self._places]
        if not wanted:
            return Content("\n\n").join([self._introduction(), _in_columns(parts, count, column), _language()])
        found = [lines for lines in parts if len(lines) > 1]
        if not found:
            return toned((f"No key or description has “{one_line(wanted)}” in it.", "warn"))
        return _in_columns(found, count, column)

    @property
    def _places(self) -> list[str]:
        return sorted(PLACES, key=lambda place: _ORDER.index("here" if place == self._here else place))

    def _introduction(self) -> Content:
        flow = toned((_FLOW, "plain"))
        if not self.session.read_only:
            return flow
        return flow + toned(("\nThis console is read-only: it cannot change anything.", "good"))

    def _place(self, place: str, wanted: str, width: int) -> Iterator[Content]:
        """The place's title and those of its keys whose text matches `wanted`."""
        title = PLACES[place]
        yield toned((title + (" — you are here" if place == self._here else ""), "title"))
        told = [(" ".join(shown_keys(each)), each) for each in actions_of(place, read_only=self.session.read_only)]
        room = min(_KEYS_WIDTH, max((len(keys) for keys, _ in told), default=0) + 2)
        for keys, action in told:
            if wanted in f"{title} {keys} {action.description} {action.help}".casefold():
                yield from _key_lines(keys, action.help, room, width)


def _in_columns(parts: Sequence[Sequence[Content]], count: int, width: int) -> Content:
    """The parts in this many columns: each part goes under the shortest column, so the first ones are at the top."""
    columns: list[list[Content]] = [[] for _ in range(count)]
    for part in parts:
        shortest = min(columns, key=len)
        shortest += [Content(""), *part] if shortest else part
    lines = []
    for cells in zip_longest(*columns, fillvalue=Content("")):
        *left, last = cells
        padded = [each + Content(" " * (width - each.cell_length + _GAP)) for each in left]
        lines.append(Content("").join([*padded, last]))
    return Content("\n").join(lines)


def _language() -> Content:
    lines = [toned(("The condition", "title"))]
    lines.append(toned(("  A boolean in the Common Expression Language; the run's event is `event`.", "plain")))
    lines += [toned((f"  {example}", "field")) for example in _LANGUAGE.split("\n")]
    lines.append(toned(("  A missing field is an error, and an error never matches.", "plain")))
    return Content("\n").join(lines)


class _Wrapped(Static):
    """Text that is laid out anew for each width."""

    def __init__(self, text: Callable[[int], Content]) -> None:
        super().__init__(markup=False)
        self._text = text

    def on_resize(self) -> None:
        self.lay_out()

    def lay_out(self) -> None:
        self.update(self._text(self.size.width))


def _key_lines(keys: str, told: str, room: int, width: int) -> Iterator[Content]:
    """The lines for one action: its keys in `room` cells, beside them what they do, on several lines if necessary."""
    for line in textwrap.wrap(told, max(1, width - room - 2)):
        yield toned((f"  {keys:<{room}}", "key"), (line, "plain"))
        keys = ""
