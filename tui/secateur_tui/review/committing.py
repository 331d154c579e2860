"""The commit, which neither leaving a screen nor a hang-up interrupts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from secateur.errors import NeedsApproval, SecateurError
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
            cancellations = await session.ask(self._commit_or_approve(session, wanted))
        except NeedsApproval as error:
            self._refuse(await self._propose_instead(session, wanted, error))
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

    async def _commit_or_approve(self, session: Session, wanted: ReviewScreen.CommitWanted) -> Sequence[Cancellation]:
        if wanted.proposal is not None:
            return await session.proposals.approve(
                wanted.proposal.id, author=session.author, source="tui", expected=wanted.expected
            )
        session.proposals.require_within_budget(wanted.request, wanted.expected)
        return await session.queue.cancellations.commit_all(
            wanted.request,
            author=session.author,
            source="tui",
            idempotency_key=wanted.idempotency_key,
            expected=wanted.expected,
        )

    async def _propose_instead(
        self, session: Session, wanted: ReviewScreen.CommitWanted, error: NeedsApproval
    ) -> SecateurError:
        """What to say of it: another login can approve it now."""
        if wanted.proposal is not None:
            return error
        from secateur.ledger.proposal_forms import count_in_proposal  # seldom needed, and none of the first screen's

        try:
            seen = count_in_proposal(wanted.expected)
            made = await session.ask(
                session.proposals.propose(
                    wanted.request, author=session.author, source="tui", seen=seen, key=wanted.idempotency_key
                )
            )
        except SecateurError as refused:
            return refused
        approve = f"secateur approve {made.id}"
        return NeedsApproval(f"{error}. It is proposed: another login finds it by `:`, or runs {approve}")

    def _refuse(self, error: SecateurError) -> None:
        if not self._is_leaving:
            self._refused(error)
