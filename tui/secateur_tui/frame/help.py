"""Help: what every key of this console does, from the table of actions."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from secateur_tui.frame.chrome import KeyBar
from secateur_tui.frame.place import Dialog
from secateur_tui.keymap import PLACES, actions_of, bindings_of, shown_keys
from secateur_tui.session import Session
from secateur_tui.themes import toned

_KEYS_WIDTH = 15
_ORDER = ("here", *PLACES)
"""Where somebody is comes first."""

_LANGUAGE = """\
event.data.vendor_id == 'acme_inc' && event.data.amount > 100
event.data.items.exists(item, item.quantity > 10)
event.name in ['vendor/sync', 'vendor/import']
has(event.data.region) && event.data.region.startsWith('eu-')
size(event.data.items) > 10 || run.priority < 0"""


class HelpScreen(Dialog[None]):
    """Begins with the place that one comes from, `here`; closed by esc."""

    place = "help"
    BINDINGS = bindings_of("help")

    def __init__(self, session: Session, here: str = "") -> None:
        super().__init__(session)
        self._here = here

    def compose(self) -> ComposeResult:
        with VerticalScroll(id="help", classes="panel"):
            yield _Wrapped(self._text)
        yield KeyBar()

    def on_mount(self) -> None:
        panel = self.query_one("#help")
        panel.border_title = "Help"
        panel.border_subtitle = "↑ ↓ scroll"
        panel.focus()

    def action_close(self) -> None:
        self.dismiss()

    def _text(self, width: int) -> Content:
        read_only = self.session.read_only
        lines = [
            toned(
                (
                    "Find the flood in Queues, say which runs in Filter, check in Review, watch in History.",
                    "plain",
                )
            )
        ]
        if read_only:
            lines.append(toned(("This console is read-only: it cannot change anything.", "good")))
        places = sorted(PLACES, key=lambda place: _ORDER.index("here" if place == self._here else place))
        for place in places:
            title = PLACES[place] + (" — you are here" if place == self._here else "")
            lines += [Content(""), toned((title, "title"))]
            for action in actions_of(place, read_only=read_only):
                lines += _key_lines(" ".join(shown_keys(action)), action.help, width)
        lines += [Content(""), toned(("The condition", "title"))]
        lines.append(toned(("  A boolean in the Common Expression Language; the run's event is `event`.", "plain")))
        lines += [toned((f"  {example}", "field")) for example in _LANGUAGE.split("\n")]
        lines.append(toned(("  A missing field is an error, and an error never matches.", "plain")))
        return Content("\n").join(lines)


class _Wrapped(Static):
    """Text that is laid out anew for each width."""

    def __init__(self, lay_out: Callable[[int], Content]) -> None:
        super().__init__(markup=False)
        self._lay_out = lay_out

    def on_resize(self) -> None:
        self.update(self._lay_out(self.size.width))


def _key_lines(keys: str, told: str, width: int) -> Iterator[Content]:
    """What a key does, beside it; also what does not fit on one line."""
    for line in textwrap.wrap(told, max(1, width - _KEYS_WIDTH - 2)):
        yield toned((f"  {keys:<{_KEYS_WIDTH}}", "key"), (line, "plain"))
        keys = ""
