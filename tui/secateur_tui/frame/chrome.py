"""The frame of every place: a header that says where you are, and a footer with the keys that work now."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from textual import events
from textual.app import RenderResult
from textual.binding import Binding
from textual.content import Content
from textual.widget import Widget

from secateur.errors import QueryTimeout, Unreachable
from secateur.words.figures import duration
from secateur.words.lines import one_line
from secateur_tui.frame.text_fields import is_text_field
from secateur_tui.keymap import ACTIONS, Action, display, keys_of
from secateur_tui.session import Feed, Session
from secateur_tui.themes import toned

_ALWAYS = frozenset({"console.help", "console.palette"})
"""The footer always shows these, however narrow it is."""


class Header(Widget):
    """Context, database, engine, connection, mode and the database's time, on one line."""

    feed: Feed = Feed()

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session

    def on_mount(self) -> None:
        self.watch(self.app, "feed", self._show)
        self.set_interval(1.0, self._tick)

    def _show(self, feed: Feed) -> None:
        self.feed = feed
        self.refresh()

    def _tick(self) -> None:
        """Between answers of the database, only the age of stale figures changes."""
        if self.feed.problem is not None or self.feed.is_stale:
            self.refresh()

    def render(self) -> RenderResult:
        width = self.size.width
        session = self._session
        mode = toned(*_mode(session))
        clock = toned((f"  {self.feed.as_of:%H:%M:%S} UTC" if self.feed.as_of else "", "quiet"))
        right = mode + clock + Content(" ")
        room = width - right.cell_length
        names = self._names()
        least = names["context"].cell_length + names["database"].cell_length
        wordings = [Content("  ") + each for each in self._connection()]
        live = next((each for each in wordings if each.cell_length + least <= room), wordings[-1])
        left = _kept(names, room - live.cell_length) + live
        gap = max(1, width - left.cell_length - right.cell_length)
        return (left + Content(" " * gap) + right).truncate(width)

    def _names(self) -> dict[str, Content]:
        """Where this is."""
        session = self._session
        context = one_line(session.context) if session.context else ""
        return {
            "brand": toned((" ✂ secateur ", "strong")),
            "context": _context(context, production=session.production),
            "database": toned((f" @ {session.where}" if context else f" {session.where}", "quiet")),
            "engine": toned((f"  {session.queue.reader.engine_name}", "quiet")),
        }

    def _connection(self) -> list[Content]:
        """Whether the database answers, in ever fewer words."""
        feed = self.feed
        if feed.problem is not None:
            lost = isinstance(feed.problem, Unreachable | QueryTimeout)
            said = f"○ {'no answer' if lost else 'refused'}"
            age = f", figures {duration(feed.age)} old" if feed.as_of else ""
            return [toned((told, "danger")) for told in (f"{said}{age}, trying again", said + age, said)]
        if feed.as_of is None:
            return [toned(("◌ connecting", "warn"))]
        if feed.is_stale:
            return [toned((told, "warn")) for told in (f"◌ waiting, figures {duration(feed.age)} old", "◌ waiting")]
        return [toned((f"● live {feed.every:g} s", "good"))]


def _kept(names: dict[str, Content], room: int) -> Content:
    """As much of where this is as there is room for: the context last goes, because it must not be mistaken, and no
    engine stands where its database has no room."""
    kept: set[str] = set()
    for name in ("context", "database", "engine", "brand"):
        if names[name].cell_length <= room and (name != "engine" or "database" in kept):
            kept.add(name)
            room -= names[name].cell_length
    return Content("").join(part for name, part in names.items() if name in kept)


def _mode(session: Session) -> list[tuple[str, str]]:
    if not session.read_only:
        return [("READ-WRITE", "count")]
    return [("READ-ONLY", "badge-good"), (f" ({one_line(session.only_reads)})" if session.only_reads else "", "quiet")]


def _context(name: str, *, production: bool) -> Content:
    if not name:
        return Content("")
    if not production:
        return toned((f" {name}", "strong"))
    return toned((" ", "plain"), (f" {name} PRODUCTION ", "badge-danger"))


class KeyBar(Widget):
    """The keys that work now, as many as fit; clicking one does the same as pressing it."""

    def __init__(
        self,
        is_pointless: Callable[[Action], bool] = lambda action: False,
        describe: Callable[[Action], str] = lambda action: action.description,
    ) -> None:
        super().__init__()
        self._is_pointless, self._describe = is_pointless, describe
        self._places: list[tuple[int, str]] = []
        """Where each shown item ends, in cells, and its key."""

    def on_mount(self) -> None:
        self.screen.bindings_updated_signal.subscribe(self, lambda _: self.refresh())

    def render(self) -> RenderResult:
        items = [(action, binding.key) for action, binding in self._working() if self._shown(action)]
        room = self.size.width - sum(self._item(*item).cell_length for item in items if item[0].id in _ALWAYS)
        line = Content("")
        self._places = []
        for action, key in items:
            item = self._item(action, key)
            if action.id in _ALWAYS:
                room += item.cell_length
            if line.cell_length + item.cell_length <= room:
                line += item
                self._places.append((line.cell_length, key))
        return line.truncate(self.size.width)

    def on_click(self, event: events.Click) -> None:
        for end, key in self._places:
            if event.x < end:
                self.app.simulate_key(key)
                return

    def _working(self) -> Iterator[tuple[Action, Binding]]:
        """The table's actions, each with the first key that reaches it from the current focus."""
        typing = is_text_field(self.screen.focused)
        active = self.screen.active_bindings
        for action in ACTIONS:
            for binding in (active[key].binding for key in keys_of(action) if key in active):
                if binding.id == action.id and not (typing and _is_typed(binding.key)):
                    yield action, binding
                    break

    def _shown(self, action: Action) -> bool:
        return action.footer and not self._is_pointless(action)

    def _item(self, action: Action, key: str) -> Content:
        return toned((f" {display(key)} ", "key"), (f"{self._describe(action)} ", "quiet"))


def _is_typed(key: str) -> bool:
    """Whether a text field takes this key as text."""
    return len(key) == 1 or key in ("space", "slash", "question_mark", "colon")
