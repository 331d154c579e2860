"""The form of a proposed cancellation, as JSON has it."""

from __future__ import annotations

from typing import Any, Literal

from secateur.forms import Identifier, Instant, JsonForm
from secateur.ledger.proposals import ProposedCancellation
from secateur.runs import Count


class ProposalForm(JsonForm):
    kind: Literal["proposal"]
    """Tells it from a cancellation."""
    id: Identifier
    state: str
    """`open`, `expired`, `rejected`, `approved` (not committed yet) or `committed`."""
    app_id: str
    request: dict[str, Any]
    """A body of `POST /v1/cancellations`."""
    reasoning: str | None
    seen: dict[str, Any] | None
    """What its author was shown, as the author says: `matched`, `exact`."""
    source: str
    proposed_by: str
    proposed_login: str
    proposed_token: str | None
    """The token of the HTTP API that proposed it; null if its login tells as much."""
    proposed_at: Instant
    expires_at: Instant
    decided_by: str | None
    decided_login: str | None
    decided_token: str | None
    decided_at: Instant | None
    decision_reason: str | None
    cancellation_ids: list[Identifier]


def proposal_form(proposal: ProposedCancellation) -> ProposalForm:
    return ProposalForm.of(
        proposal,
        kind="proposal",
        request=dict(proposal.request),
        seen=None if proposal.seen is None else dict(proposal.seen),
        cancellation_ids=list(proposal.cancellation_ids),
    )


def count_in_proposal(count: Count | None) -> dict[str, Any] | None:
    """What was counted, as a proposal keeps it; None if nothing was."""
    if count is None:
        return None
    return {"matched": count.matched, "exact": count.exact, "by_function": dict(count.by_function)}
