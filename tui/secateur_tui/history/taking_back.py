"""Undo and redo of what this console did last, from any place, after a question."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from secateur.looking.aftermath import again
from secateur.states import Kind, State
from secateur_tui.frame.question import Choice, Question
from secateur_tui.history.rows import scope_text
from secateur_tui.history.undoing import redo_question, undo_label, undo_question
from secateur_tui.session import Feed, Session

if TYPE_CHECKING:
    from secateur.records import Cancellation

Ask = Callable[[Question], Awaitable[Choice]]
"""Puts a question to the user."""


class TakingBack:
    """Answers with a sentence that says what was done, or why nothing was; None if the user left the question."""

    def __init__(self, session: Session, ask: Ask, feed: Callable[[], Feed]) -> None:
        self._session, self._ask, self._feed = session, ask, feed

    async def undo(self) -> str | None:
        """Undo the newest cancellation of this console that is not undone yet. Raises `SecateurError`."""
        if not self._session.journal.done:
            return "This console has committed nothing that could be undone; History undoes others."
        found = await self._get(self._session.journal.done[-1])
        if found.state == State.UNDONE or not undo_label(found, self._feed().now()):
            self._session.journal.took_back(found.id)
            return f"The cancellation of {scope_text(found)} is undone already, or too old to be undone."
        answer = await self._ask(undo_question(found))
        if answer is Choice.NO:
            return None
        undone = await self._session.ask(
            self._session.queue.cancellations.undo(
                found.id, author=self._session.author, source="tui", requeue_stopped=answer is Choice.OTHER
            )
        )
        self._session.journal.took_back(undone.id)
        return f"Undone: the runs of {scope_text(undone)} are coming back."

    async def redo(self) -> str | None:
        """Commit again what this console undid last. Raises `SecateurError`."""
        if not self._session.journal.undone:
            return "This console has undone nothing that could be done again."
        found = await self._get(self._session.journal.undone[-1])
        if await self._ask(redo_question(found)) is not Choice.YES:
            return None
        committed = await self._session.ask(self._commit(found))
        self._session.journal.committed(committed.id, again=found.id)
        return f"Committed again: {scope_text(committed)}."

    def _commit(self, undone: Cancellation) -> Awaitable[Cancellation]:
        cancellations, author, key = self._session.queue.cancellations, self._session.author, str(uuid4())
        if undone.kind == Kind.RUN and undone.run_id is not None:
            return cancellations.cancel_run(
                undone.run_id, author=author, source="tui", reason=undone.reason, idempotency_key=key
            )
        request = again(undone, self._feed().now())
        return cancellations.commit(request, author=author, source="tui", idempotency_key=key)

    async def _get(self, cancellation_id: UUID) -> Cancellation:
        return await self._session.ask(self._session.queue.cancellations.get(cancellation_id))
