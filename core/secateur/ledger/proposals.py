"""Proposed cancellations: somebody proposes, somebody else decides, and only then something is committed.

A proposal is a request in the database. Approving it commits the request under the key `proposal:ID`, so that it is one
cancellation, however often that is tried. Whoever approves has it compiled and counted anew: nothing that the proposal
says of itself is believed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from secateur.cel.values import encode_json
from secateur.engines.base import cannot_cancel, queue_of
from secateur.errors import NeedsApproval, NotFound
from secateur.instants import read_instant
from secateur.postgres.database import Database
from secateur.postgres.statements import Statements
from secateur.runs import Count
from secateur.tokens.secrets import Credential

if TYPE_CHECKING:
    from secateur.ledger.cancellations import Cancellations
    from secateur.records import Cancellation
    from secateur.requests import CancellationRequest

_SQL = Statements.load("secateur.ledger", "proposals.sql")
_MOMENTS = ("proposed_at", "expires_at", "decided_at")

LIFETIME = timedelta(hours=24)
"""How long a proposal can be approved, unless something else is asked for."""


class Decision(StrEnum):
    APPROVED = "approved"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class ProposedCancellation:
    id: UUID
    app_id: str
    request: Mapping[str, Any]
    """A body of `POST /v1/cancellations`."""
    reasoning: str | None
    seen: Mapping[str, Any] | None
    """What its author was shown: `matched`, `total`, `exact`, and what else it hits. Said, not proven."""
    source: str
    proposed_by: str
    proposed_login: str
    """The database login, which the database knows; `proposed_by` is what the client said."""
    proposed_token: str | None
    """The name of the token of the HTTP API that proposed it, if that is proven and tells more than the login."""
    proposed_at: datetime
    expires_at: datetime
    decision: str | None
    decided_by: str | None
    decided_login: str | None
    decided_token: str | None
    decided_at: datetime | None
    decision_reason: str | None
    has_expired: bool
    cancellation_ids: tuple[UUID, ...]
    """What it became; empty until it is committed."""

    @property
    def state(self) -> str:
        """`open`, `expired`, `rejected`, `approved` (not committed yet) or `committed`."""
        if self.cancellation_ids:
            return "committed"
        return self.decision or ("expired" if self.has_expired else "open")


@dataclass(frozen=True, slots=True)
class Budget:
    app_id: str | None
    """None: every app that has no budget of its own."""
    runs: int
    set_login: str
    set_at: datetime


class Proposals:
    """The proposals of one queue. Raises errors of `secateur.errors`."""

    def __init__(self, database: Database, cancellations: Cancellations, budget: int | None = None) -> None:
        """`budget` is what the context adds to the database's budgets: how many runs one login may cancel at once."""
        self._database = database
        self._cancellations = cancellations
        self._budget = budget

    @property
    def has_budget(self) -> bool:
        """Whether a commit has to be counted first, because the context has one."""
        return self._budget is not None

    def require_within_budget(self, request: CancellationRequest, counted: Count | None) -> None:
        """Raises `NeedsApproval` for what exceeds the context's budget, or what nobody has counted."""
        if self._budget is None or request.verb != "cancel":
            return
        if counted is None or request.standing:
            why = "a standing cancellation has no bound" if request.standing else "it is not counted"
        elif max(counted.matched, counted.high or 0) > self._budget:
            why = f"it is more than {self._budget:,} runs"
        else:
            return
        raise NeedsApproval(f"in this context another login has to approve it: {why}, and `budget` is {self._budget:,}")

    async def propose(
        self,
        request: CancellationRequest,
        *,
        author: str,
        source: str,
        reasoning: str | None = None,
        seen: Mapping[str, Any] | None = None,
        lifetime: timedelta = LIFETIME,
        key: str | None = None,
        token: Credential | None = None,
    ) -> ProposedCancellation:
        """Raises `ExpressionError` for its `if`, `Conflict` if the app has 100 open ones, and `Unsupported` where none
        could be committed.

        Repeatable under one idempotency key, which from then on commits nothing any more.
        `token` is that of the HTTP API by which somebody asks.
        """
        request.compile()
        installation, app_id = await self._cancellations.ledger.stored_app(request.app_id)
        queue = queue_of(self._cancellations.engine, request.app_id)
        if queue.only_watched is not None:
            raise cannot_cancel(queue)
        made: UUID = await self._database.fetchval(
            _SQL["propose"],
            uuid4() if key is None else _id_under(app_id, key),
            app_id,
            installation,
            encode_json(request.body()),
            reasoning,
            None if seen is None else encode_json(dict(seen)),
            lifetime,
            author,
            source,
            *_shown_to_database(token),
        )
        return await self.get(made)

    async def get(self, proposal_id: UUID) -> ProposedCancellation:
        """Raises `NotFound`."""
        for found in self._shown(await self._database.fetch(_SQL["proposal"], proposal_id)):
            return found
        raise NotFound(f"there is no proposal {proposal_id}")

    async def newest(self, *, only_open: bool = True, limit: int = 50) -> Sequence[ProposedCancellation]:
        """The newest first; those that can still be approved, or all."""
        return self._shown(await self._database.fetch(_SQL["proposals"], only_open, limit))

    async def approve(
        self,
        proposal_id: UUID,
        *,
        author: str,
        source: str,
        expected: Count | None = None,
        token: Credential | None = None,
    ) -> Sequence[Cancellation]:
        """Approve and commit. Repeatable: also after the answer was lost.

        Raises `NeedsApproval` if the app has a budget, and this login (or token) proposed it; `Conflict` if it has
        expired or was decided before; and whatever a commit raises: then it is approved, and can be committed again.
        """
        if self.has_budget:
            known = await self.get(proposal_id)
            if known.proposed_login == await self._database.fetchval(_SQL["login"]):
                self.require_within_budget(self.request_of(known), expected)
        request = self.request_of(await self._decide(proposal_id, Decision.APPROVED, author, source, None, token))
        return await self._cancellations.commit_all(
            request, author=author, source=source, idempotency_key=f"proposal:{proposal_id}", expected=expected
        )

    async def reject(
        self,
        proposal_id: UUID,
        *,
        author: str,
        source: str,
        reason: str | None = None,
        token: Credential | None = None,
    ) -> ProposedCancellation:
        """Raises `Conflict` if it has expired or was approved. Repeatable."""
        return await self._decide(proposal_id, Decision.REJECTED, author, source, reason, token)

    @staticmethod
    def request_of(proposal: ProposedCancellation) -> CancellationRequest:
        """Raises `RequestError` if this program does not take what another one wrote."""
        from secateur.requests import CancellationRequest

        return CancellationRequest.parse(dict(proposal.request))

    async def set_budget(self, app_id: str | None, runs: int | None, *, author: str, source: str) -> None:
        """How many runs one login may cancel at once without approval; None: as many as it likes.

        Raises `PermissionDenied` unless the session owns the schema.
        """
        stored = "" if app_id is None else (await self._cancellations.ledger.stored_app(app_id))[1]
        await self._database.fetchval(_SQL["budget"], stored, runs, author, source)

    async def budgets(self) -> Sequence[Budget]:
        rows = await self._database.fetch(_SQL["budgets"])
        return [Budget(row["app_id"] or None, row["runs"], row["set_login"], row["set_at"]) for row in rows]

    async def _decide(
        self,
        proposal_id: UUID,
        decision: Decision,
        author: str,
        source: str,
        reason: str | None,
        token: Credential | None,
    ) -> ProposedCancellation:
        known = await self.get(proposal_id)
        _, app_id = await self._cancellations.ledger.stored_app(known.app_id)
        await self._database.fetchval(
            _SQL["decide"],
            *(app_id, proposal_id, str(decision), author, source, reason, *_shown_to_database(token)),
        )
        return known

    def _shown(self, rows: Sequence[Mapping[str, Any]]) -> list[ProposedCancellation]:
        """Those of this queue."""
        found = []
        for row in rows:
            values = json.loads(row["document"])
            shown = self._cancellations.ledger.shown_app(values.pop("installation"), values.pop("app_id"))
            if shown is not None:
                found.append(_proposal(shown, values))
        return found


def _id_under(app_id: str, key: str) -> UUID:
    """As in proposing.sql. `app_id` is what the database calls it."""
    return UUID(hashlib.md5(f"{app_id}\n{key}".encode(), usedforsecurity=False).hexdigest())


def _shown_to_database(token: Credential | None) -> tuple[str | None, str | None]:
    return (None, None) if token is None else (token.token_id, token.proof)


def _proposal(app_id: str, values: dict[str, Any]) -> ProposedCancellation:
    del values["serial"]
    for name in _MOMENTS:
        values[name] = read_instant(values[name]) if values[name] else None
    values |= {
        "id": UUID(values["id"]),
        "request": values["request"] | {"app_id": app_id},
        "cancellation_ids": tuple(map(UUID, values["cancellation_ids"])),
    }
    return ProposedCancellation(app_id=app_id, **values)
