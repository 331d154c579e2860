"""Guards: what the watch itself may do, once for each episode, where the configuration says so."""

from __future__ import annotations

from datetime import timedelta

from secateur.errors import DatabaseError, LockUnavailable, NeedsApproval, PermissionDenied, SecateurError
from secateur.instants import utc
from secateur.ledger.cancellations import Cancellations
from secateur.ledger.proposals import Proposals
from secateur.watch.episodes import Episode, EpisodeKey, GuardDone
from secateur.watch.figures import request_of
from secateur.watch.keeping import InDatabase
from secateur.watch_settings import Guard, GuardAction

SOURCE = "watch"
"""In the records and in the audit."""

SHORTEST_PROPOSAL = timedelta(minutes=1)

NOT_KEPT = GuardDone("nothing", why="episodes are not kept in the database, so nobody could take it back in time")
"""What guards do where there are none, because what they do must be known to all."""


def author_of(rule: str) -> str:
    """Who it is that pauses or cancels, in the records and in the audit."""
    return f"guard {rule}"


class Guards:
    """Everything may be repeated: a pause is one by its episode, a cancellation or a proposal by its key."""

    def __init__(self, keeping: InDatabase, cancellations: Cancellations, proposals: Proposals | None) -> None:
        self._keeping, self._cancellations, self._proposals = keeping, cancellations, proposals

    async def act(self, key: EpisodeKey, episode: Episode, guard: Guard) -> GuardDone:
        """What it did. A failure is no exception, so that people are told anyway; one that may pass is not final."""
        try:
            if guard.action is GuardAction.PAUSE:
                return await self._pause(key, guard)
            return await self._cancel(key, episode, guard)
        except SecateurError as error:
            passes = isinstance(error, DatabaseError) and not isinstance(error, PermissionDenied)
            return GuardDone("nothing", why=_why(error), is_final=not passes)

    async def end_pauses(self) -> None:
        """Resume what they have paused, when its time is over."""
        await self._keeping.end_guard_pauses()

    async def _pause(self, key: EpisodeKey, guard: Guard) -> GuardDone:
        until = await self._keeping.guard_pause(key, guard.lasts, author_of(key.rule))
        if until is None:
            return GuardDone("nothing", why="somebody has paused it already")
        return GuardDone("paused", until)

    async def _cancel(self, key: EpisodeKey, episode: Episode, guard: Guard) -> GuardDone:
        """A standing one, from the beginning of time until `lasts` after the episode began to fire."""
        assert episode.fired_at is not None  # noqa: S101 - only an episode that fires has a guard
        until = episode.fired_at + guard.lasts
        request = request_of(
            key.scope,
            guard.if_,
            started_before=utc(until),
            standing=True,
            reason=f"the guard of rule {key.rule}, episode {episode.id}",
        )
        author, key_of_commit = author_of(key.rule), f"watch:{episode.id}"
        try:
            if self._proposals is not None:
                self._proposals.require_within_budget(request, None)
            committed = await self._cancellations.commit(
                request, author=author, source=SOURCE, idempotency_key=key_of_commit
            )
        except NeedsApproval:
            if self._proposals is None:
                raise
            made = await self._proposals.propose(
                request,
                author=author,
                source=SOURCE,
                reasoning=f"Rule {key.rule} fires; a budget does not let its guard cancel by itself.",
                lifetime=max(SHORTEST_PROPOSAL, guard.lasts),
                key=key_of_commit,
            )
            return GuardDone("proposed", until, id=str(made.id))
        return GuardDone("cancelled", until, id=str(committed.id))


def _why(error: SecateurError) -> str:
    """In words that contain nothing of what is in the queue."""
    match error:
        case LockUnavailable():
            return "an open transaction holds the app's lock"
        case PermissionDenied():
            return "the watch's login has no right to it"
        case DatabaseError():
            return f"the database cannot do it now ({type(error).__name__})"
    return str(error)
