"""The commit, which neither leaving a screen nor a hang-up interrupts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from secateur.errors import SecateurError
from secateur_tui.session import Session

if TYPE_CHECKING:
    from secateur.records import Cancellation
    from secateur_tui.review.screen import ReviewScreen

HANGUP_PATIENCE_SECONDS = 5.0
"""How long a console that leaves waits for a commit in progress."""


class Committing:
    """One commit at a time, in a task that belongs to no screen.

    `committed` or `refused` is called with what came of it, unless the console leaves meanwhile.
    """

    def __init__(
        self, committed: Callable[[Sequence[Cancellation]], None], refused: Callable[[SecateurError], None]
    ) -> None:
        self._committed, self._refused = committed, refused
        self._task: asyncio.Task[None] | None = None
        self._is_leaving = False

    @property
    def is_under_way(self) -> bool:
        return self._task is not None

    def start(self, session: Session, wanted: ReviewScreen.CommitWanted) -> None:
        """Commit, unless a commit is under way."""
        if self._task is None:
            self._task = asyncio.create_task(self._commit(session, wanted))

    async def finish(self) -> None:
        """Wait for a commit in progress. Nobody looks any more, and a screen that opened now would fail."""
        self._is_leaving = True
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=HANGUP_PATIENCE_SECONDS)

    async def _commit(self, session: Session, wanted: ReviewScreen.CommitWanted) -> None:
        try:
            cancellations = await session.ask(
                session.queue.cancellations.commit_all(
                    wanted.request,
                    author=session.author,
                    source="tui",
                    idempotency_key=wanted.idempotency_key,
                    expected=wanted.expected,
                )
            )
        except SecateurError as error:
            self._refuse(error)
        except Exception as error:
            # A bug, but the user must not wait forever: asking again with the same key tells what became of it.
            self._refuse(SecateurError(f"{type(error).__name__}: {error}"))
            raise
        else:
            if not self._is_leaving:
                self._committed(cancellations)
        finally:
            self._task = None

    def _refuse(self, error: SecateurError) -> None:
        if not self._is_leaving:
            self._refused(error)
