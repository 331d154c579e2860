"""Keys one after the other, however fast they arrive.

A slow link delivers keys in bursts, and Textual hands each to the widget that has the focus at that moment,
before the key ahead of it has moved the focus or opened a screen: the text after `/` would be taken for
commands, and a name typed into the next field would end up in this one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from textual import events
from textual.app import App
from textual.dom import DOMNode
from textual.widgets import Input, TextArea

_QUIET_ROUNDS = 2
"""So many times in a row nothing may have moved before the next key is let in."""
_MOST_ROUNDS = 20
_NODE_SECONDS = 0.5
"""How long one node may take to come to its turn; one that is being removed never does."""

Typed = events.Key | events.Paste


class TypeAhead:
    """Holds keys back until what the key before them set off has come to rest."""

    def __init__(self, app: App[None], handle: Callable[[Typed], Awaitable[None]]) -> None:
        self._app, self._handle = app, handle
        self._waiting: asyncio.Queue[Typed] = asyncio.Queue()

    def put(self, event: Typed) -> None:
        self._waiting.put_nowait(event)

    async def done(self) -> None:
        """Wait until every key has had its effect."""
        await self._waiting.join()

    async def run(self) -> None:
        while True:
            event = await self._waiting.get()
            await self._handle(event)
            if not self._is_text(event):
                await self._settle()
            self._waiting.task_done()

    def _is_text(self, event: Typed) -> bool:
        """Text goes to the field's own queue, where its order is safe."""
        return isinstance(self._app.focused, Input | TextArea) and (
            isinstance(event, events.Paste) or event.is_printable
        )

    async def _settle(self) -> None:
        """A key travels from its widget over the screen to the app; whatever it changes starts the journey anew."""
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
