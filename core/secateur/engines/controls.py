"""What people do to a queue besides cancelling: pause and resume, forget, send events, set the retention.

Each is a capability of the engine. If the engine lacks it, the method raises `Unsupported`; `can_…` tells beforehand.
"""

from __future__ import annotations

from datetime import timedelta

from secateur.engines.base import (
    Forgetting,
    Pausing,
    Retention,
    Routing,
    Sending,
    Sent,
    Source,
    Upkeep,
    queue_of,
    unsupported,
)
from secateur.runs import Paused, Scope


class Controls:
    """The controls of one queue. In a read-only session, every method that changes something raises `ReadOnly`."""

    def __init__(self, engine: Source) -> None:
        self._engine = engine

    @property
    def can_pause(self) -> bool:
        return isinstance(self._engine, Pausing)

    async def pause(self, scope: Scope, author: str, source: str) -> Paused:
        """Stop claiming runs of the scope; see `Pausing`."""
        return await self._pausing("pause a queue").pause(scope, author, source)

    async def resume(self, scope: Scope, author: str, source: str) -> None:
        """Undo the pause of exactly this scope; see `Pausing`."""
        await self._pausing("pause a queue, or resume it").resume(scope, author, source)

    async def forget(self, scope: Scope, author: str, source: str) -> list[str]:
        """Remove functions that no longer exist from the list; see `Forgetting`."""
        if not isinstance(self._engine, Forgetting):
            raise unsupported(self._engine, "forget functions")
        return await self._engine.forget(scope, author, source)

    async def send(self, event: object, text: str, *, idempotency_key: str | None = None) -> Sent:
        """Send an event; see `Sending`."""
        if not isinstance(self._engine, Sending):
            raise unsupported(self._engine, "take events")
        return await self._engine.send(event, text, idempotency_key=idempotency_key)

    async def require_taking(self, app_id: str) -> None:
        """Raises `Unsupported` unless runs of the app can be enqueued from here: those of secateur's own queue can."""
        if isinstance(self._engine, Routing):
            await self._engine.depth()  # which of them has the app
        queue = queue_of(self._engine, app_id)
        if not isinstance(queue, Sending):
            raise unsupported(queue, "take runs from outside: its own application enqueues them")

    async def retention(self) -> Retention:
        """How long runs are kept."""
        return await self._keeping().retention()

    async def set_retention(
        self,
        *,
        finished: timedelta | None = None,
        cancelled: timedelta | None = None,
        standing: timedelta | None = None,
        author: str,
        source: str,
    ) -> Retention:
        """Change the given values and return all of them. Raises `RequestError`."""
        return await self._keeping().set_retention(
            finished=finished, cancelled=cancelled, standing=standing, author=author, source=source
        )

    def _pausing(self, what: str) -> Pausing:
        if not isinstance(self._engine, Pausing):
            raise unsupported(self._engine, what)
        return self._engine

    def _keeping(self) -> Upkeep:
        if not isinstance(self._engine, Upkeep):
            raise unsupported(self._engine, "set how long runs are kept")
        return self._engine
