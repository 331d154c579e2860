"""Handles keys one after the other, however fast they arrive.

A slow connection delivers keys in bursts. Textual passes each key to the widget that has the focus at that moment,
before the previous key has moved the focus or opened a screen: the text after `/` would be taken for commands, and
a name typed for the next field would end up in this one.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from math import inf
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from textual import events
from textual.app import App
from textual.dom import DOMNode
from textual.widgets import Input

from secateur_tui.frame.text_fields import is_text_field

if TYPE_CHECKING:
    from textual.widgets import TextArea

_QUIET_ROUNDS = 2
"""The next key is let in once nothing has moved this many times in a row."""
_MOST_ROUNDS = 20
_NODE_SECONDS = 0.5
"""How long to wait for one node's turn; a node that is being removed never gets one."""

_PASTE_KEYS = 64
_PASTE_DIFFERENT_KEYS = 8
"""This many waiting characters, with this many different ones, are a paste that the terminal did not mark as one."""
_BURST_SECONDS = 0.01
"""The characters of a paste come within this time of each other; the first may come alone."""
_PASTE_PAUSE_SECONDS = 0.3
"""A paste has ended when nothing has come for this long."""
_PASTE_DROPPED = "Pasted text was ignored, it goes into text fields only. Keys count again after a moment."

Typed = events.Key | events.Paste


@runtime_checkable
class Careful(Protocol):
    """A screen that does not take every key for a decision."""

    def accepts(self, event: events.Key) -> bool:
        """Called once for each key, in order; a key that is not accepted has no effect."""
        ...


@runtime_checkable
class TakesTyping(Protocol):
    """A text field that treats typed text differently from pasted text."""

    def take_typed(self, text: str) -> None:
        """Take several characters that were typed quickly."""
        ...


class TypeAhead:
    """Holds keys back until everything that the previous key set off has finished.

    Characters that wait for the same text field are passed to it as one paste; otherwise a field that gets ten thousand
    characters would process its whole text ten thousand times.
    """

    def __init__(self, app: App[None], handle: Callable[[Typed], Awaitable[None]]) -> None:
        self._app, self._handle = app, handle
        self._waiting: deque[Typed] = deque()
        self._arrived = asyncio.Event()
        self._pasting_until = -inf
        self._resting = asyncio.Event()
        self._resting.set()

    def put(self, event: Typed) -> None:
        self._waiting.append(event)
        self._resting.clear()
        self._arrived.set()

    def forget(self) -> int:
        """Drop all waiting keys, because nobody wants their effect any more; returns how many there were."""
        forgotten = len(self._waiting)
        self._waiting.clear()
        return forgotten

    async def done(self) -> None:
        """Wait until every key that has come in has had its effect."""
        await self._let_pass(self._app)
        await self._resting.wait()

    async def run(self) -> None:
        while True:
            if not self._waiting:
                self._resting.set()
                self._arrived.clear()
                await self._arrived.wait()
                continue
            event = self._waiting.popleft()
            if isinstance(event, events.Key) and event.is_printable and self._field_for(event) is None:
                await self._burst()
            if self._is_dropped(event):
                continue
            if (field := self._field_for(event)) is None:
                await self._handle(event)
                await self._settle()
            else:
                await self._type_and_show(self._with_more_text(event, field), event, field)

    async def _type_and_show(self, event: Typed, first: Typed, field: Input | TextArea) -> None:
        """With what the screen makes of it, such as an error, in one paint: Textual would paint the text first, and the
        rest a frame later."""
        screen = self._app.screen
        with self._app.batch_update():
            await self._type(event, first, field)
            # The field first takes the text, then tells of it, and so do those around it.
            for node in (field, *field.ancestors_with_self):
                await self._let_pass(node)
        screen.check_idle()

    async def _type(self, event: Typed, first: Typed, field: Input | TextArea) -> None:
        if event is not first and isinstance(event, events.Paste) and isinstance(field, TakesTyping):
            field.call_later(field.take_typed, event.text)
        else:
            await self._handle(event)

    async def _burst(self) -> None:
        """Wait while more characters keep coming, until they are enough to be a paste."""
        coming = -1
        while coming < len(self._waiting) < _PASTE_KEYS:
            coming = len(self._waiting)
            await asyncio.sleep(_BURST_SECONDS)

    def _is_dropped(self, event: Typed) -> bool:
        """Whether the screen does not want the key, or it belongs to a paste that no text field takes."""
        if not isinstance(event, events.Key):
            return False
        if self._field_for(event) is None and (event.time < self._pasting_until or self._begins_paste()):
            self._pasting_until = event.time + _PASTE_PAUSE_SECONDS
            return True
        screen = self._app.screen
        return isinstance(screen, Careful) and not screen.accepts(event)

    def _begins_paste(self) -> bool:
        """Whether so much text has come at once that nobody can have typed it; a held key is always the same."""
        coming = [each.key for each in self._waiting if isinstance(each, events.Key) and each.is_printable]
        if len(coming) < _PASTE_KEYS or len(set(coming)) < _PASTE_DIFFERENT_KEYS:
            return False
        self._app.notify(_PASTE_DROPPED, severity="warning", markup=False)
        return True

    def _field_for(self, event: Typed) -> Input | TextArea | None:
        """The text field that takes the event as text; None if the event may do anything else."""
        field = self._app.focused
        is_text = isinstance(event, events.Paste) or event.is_printable
        return field if is_text and is_text_field(field) else None

    def _with_more_text(self, event: Typed, field: Input | TextArea) -> Typed:
        """The event, or a paste of its character and the following ones that the field has room for."""
        text = [event.character] if isinstance(event, events.Key) and event.character else []
        room = field.max_length - len(field.value) if isinstance(field, Input) and field.max_length else inf
        while text and len(text) < room and self._waiting:
            following = self._waiting[0]
            if not isinstance(following, events.Key) or not following.is_printable or following.character is None:
                break
            text.append(following.character)
            self._waiting.popleft()
        return events.Paste("".join(text)) if len(text) > 1 else event

    async def _settle(self) -> None:
        """A key travels from its widget through the screen to the app; any change it makes restarts the journey."""
        quiet = 0
        for _ in range(_MOST_ROUNDS):
            before = (self._app.screen, self._app.focused)
            nodes: list[DOMNode] = [*(before[1] or before[0]).ancestors_with_self]
            if self._app not in nodes:
                nodes.append(self._app)
            for node in nodes:
                await self._let_pass(node)
            quiet = quiet + 1 if (self._app.screen, self._app.focused) == before else 0
            if quiet > _QUIET_ROUNDS:
                return

    async def _let_pass(self, node: DOMNode) -> None:
        """Wait until the node has handled what is in its queue."""
        passed = asyncio.Event()
        if node.call_later(passed.set):
            try:
                await asyncio.wait_for(passed.wait(), _NODE_SECONDS)
            except TimeoutError:
                return
