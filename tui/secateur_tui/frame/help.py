"""Help: what every key of this console does, from the table of actions."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator

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
_ORDER = ("here", *PLACES)
"""Where somebody is comes first."""

_FLOW = "Find the flood in Queues, say which runs in Filter, check in Review, watch in History."
_LANGUAGE = """\
event.data.vendor_id == 'acme_inc' && event.data.amount > 100
event.data.items.exists(item, item.quantity > 10)
event.name in ['vendor/sync', 'vendor/import']
has(event.data.region) && event.data.region.startsWith('eu-')
size(event.data.items) > 10 || run.priority < 0"""


class HelpScreen(Dialog[None]):
    """Begins with the place that one comes from, `here`; a search leaves the keys that tell of a text."""

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
        """A search ends first."""
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
        parts = [[*self._place(place, wanted, width)] for place in self._places]
        if not wanted:
            return Content("\n\n").join([self._introduction(), *map(Content("\n").join, parts), _language()])
        found = [Content("\n").join(lines) for lines in parts if len(lines) > 1]
        return Content("\n\n").join(found or [toned((f"No key tells of “{one_line(wanted)}”.", "warn"))])

    @property
    def _places(self) -> list[str]:
        return sorted(PLACES, key=lambda place: _ORDER.index("here" if place == self._here else place))

    def _introduction(self) -> Content:
        flow = toned((_FLOW, "plain"))
        if not self.session.read_only:
            return flow
        return flow + toned(("\nThis console is read-only: it cannot change anything.", "good"))

    def _place(self, place: str, wanted: str, width: int) -> Iterator[Content]:
        """The place's title and, of its keys, those that tell of what is wanted."""
        title = PLACES[place]
        yield toned((title + (" — you are here" if place == self._here else ""), "title"))
        for action in actions_of(place, read_only=self.session.read_only):
            keys = " ".join(shown_keys(action))
            if wanted in f"{title} {keys} {action.description} {action.help}".casefold():
                yield from _key_lines(keys, action.help, width)


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


def _key_lines(keys: str, told: str, width: int) -> Iterator[Content]:
    """What a key does, beside it; also what does not fit on one line."""
    for line in textwrap.wrap(told, max(1, width - _KEYS_WIDTH - 2)):
        yield toned((f"  {keys:<{_KEYS_WIDTH}}", "key"), (line, "plain"))
        keys = ""
