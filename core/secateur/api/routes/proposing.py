"""The paths of proposals: cancellations that one proposes and another approves."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response

from secateur.api.answers import Answer
from secateur.api.bodies import REJECTION, RejectionSent
from secateur.api.failures import Unknown
from secateur.api.parameters import require_unambiguous
from secateur.api.routes.cancelling import Committed, committed_documents
from secateur.api.services import AskedAt, Author, Injected, answer, caller_of, failures, latest, repeated
from secateur.ledger.proposal_forms import ProposalForm, proposal_form

router = APIRouter(dependencies=[Depends(require_unambiguous)])


@router.get(
    "/v1/proposals",
    response_model=Answer[list[ProposalForm]],
    responses=failures(409),
    summary="List proposed cancellations",
)
async def listed(
    services: Injected,
    all: Annotated[bool, Query(description="Also those that are decided or have expired.")] = False,
    limit: Annotated[int, Query(ge=1, le=1000, description="How many at most.")] = 50,
) -> dict[str, Any]:
    """Newest first; only those that can still be approved, unless `all`."""
    found = await services.proposals.newest(only_open=not all, limit=limit)
    return answer([proposal_form(each) for each in found], await services.queue.reader.clock())


@router.get(
    "/v1/proposals/{proposal_id}",
    response_model=Answer[ProposalForm],
    responses=failures(404, 409),
    summary="Show a proposed cancellation",
)
async def show(services: Injected, proposal_id: UUID) -> dict[str, Any]:
    """`request` is what would be committed: `POST /v1/cancellations/preview` with it counts it afresh. `seen` and
    `reasoning` are what its author says."""
    found = await services.proposals.get(proposal_id)
    return answer(proposal_form(found), await services.queue.reader.clock())


@router.post(
    "/v1/proposals/{proposal_id}/approve",
    status_code=HTTPStatus.CREATED,
    response_model=Committed,
    responses=repeated(Committed) | failures(404, 409),
    summary="Approve a proposal, and commit it",
)
async def approve(
    request: Request, response: Response, services: Injected, proposal_id: UUID, author: Author, asked_at: AskedAt
) -> dict[str, Any]:
    """Answers like `POST /v1/cancellations` with the proposal's `request`. Can be repeated: it is one cancellation.

    Where the app has a budget, somebody else has to approve it: another database login, or with tokens another token
    than the one that proposed it. Tokens count only if another login than the server's own has created them. Refused
    with 409 otherwise, and if the proposal has expired or was decided before.
    """
    request.state.unknown = Unknown("it is unknown whether it is approved: approve it again, it is committed only once")
    known = await services.proposals.get(proposal_id)
    committed = await services.proposals.approve(
        proposal_id, author=author, source="api", token=caller_of(request).credential
    )
    is_list = known.request.get("function_ids") is not None
    return answer(committed_documents(response, committed, is_list=is_list), latest(asked_at, *committed))


@router.post(
    "/v1/proposals/{proposal_id}/reject",
    response_model=Answer[ProposalForm],
    responses=failures(404, 409, 413, 415),
    openapi_extra=REJECTION,
    summary="Reject a proposal",
)
async def reject(
    request: Request, services: Injected, proposal_id: UUID, body: RejectionSent, author: Author
) -> dict[str, Any]:
    """It can be approved no more. Can be repeated. Refused with 409 if it has expired or was approved."""
    await services.proposals.reject(
        proposal_id, author=author, source="api", reason=body.reason, token=caller_of(request).credential
    )
    rejected = await services.proposals.get(proposal_id)
    return answer(proposal_form(rejected), await services.queue.reader.clock())
