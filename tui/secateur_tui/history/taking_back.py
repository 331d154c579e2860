"""Undo and redo of what this console did last, from any place, after a question."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING
from uuid import uuid4

from secateur.ledger.wording import undo_waits
from secateur.looking.aftermath import again
from secateur.states import Kind, State
from secateur_tui.frame.question import Choice, Question
from secateur_tui.history.rows import commit_text
from secateur_tui.history.undoing import redo_question, undo_label, undo_question
from secateur_tui.session import Commit, Feed, Session

if TYPE_CHECKING:
    from secateur.records import Cancellation

Ask = Callable[[Question], Awaitable[Choice]]
"""Puts a question to the user."""


class TakingBack:
    """Answers with a sentence that says what was done, or why nothing was; None if the user left the question."""

    def __init__(self, session: Session, ask: Ask, feed: Callable[[], Feed]) -> None:
        self._session, self._ask, self._feed = session, ask, feed

    async def undo(self) -> str | None:
        """Undo the newest commit of this console that is not undone yet. Raises `SecateurError`."""
        journal = self._session.journal
        if not journal.done:
            return "This console has committed nothing that could be undone; History undoes others."
        newest = journal.done[-1]
        found = await self._get(newest)
        if waits := [why for each in found if (why := undo_waits(each)) is not None]:
            return f"An undo of {commit_text(found)} {waits[0]}."
        left = [each for each in found if each.state != State.UNDONE and undo_label(each, self._feed().now())]
        if not left:
            journal.took_back(newest)
            return f"The cancellation of {commit_text(found)} is undone already, or too old to be undone."
        answer = await self._ask(undo_question(left))
        if answer is Choice.NO:
            return None
        for each in left:
            await self._session.ask(
                self._session.queue.cancellations.undo(
                    each.id, author=self._session.author, source="tui", requeue_stopped=answer is Choice.OTHER
                )
            )
        journal.took_back(newest)
        return f"Undone: the runs of {commit_text(left)} are coming back."

    async def redo(self) -> str | None:
        """Commit again what this console undid last. Raises `SecateurError`."""
        journal = self._session.journal
        if not journal.undone:
            return "This console has undone nothing that could be done again."
        newest = journal.undone[-1]
        found = await self._get(newest)
        if await self._ask(redo_question(found)) is not Choice.YES:
            return None
        committed = await self._session.ask(self._commit(found))
        journal.committed(tuple(each.id for each in committed), again=newest)
        return f"Committed again: {commit_text(committed)}."

    async def _commit(self, undone: Sequence[Cancellation]) -> Sequence[Cancellation]:
        cancellations, author, key = self._session.queue.cancellations, self._session.author, str(uuid4())
        first = undone[0]
        if first.kind == Kind.RUN and first.run_id is not None:
            return [
                await cancellations.cancel_run(
                    first.run_id, author=author, source="tui", reason=first.reason, idempotency_key=key
                )
            ]
        request = again(undone, self._feed().now())
        return await cancellations.commit_all(request, author=author, source="tui", idempotency_key=key)

    async def _get(self, commit: Commit) -> list[Cancellation]:
        cancellations = self._session.queue.cancellations
        return [await self._session.ask(cancellations.get(each)) for each in commit]
