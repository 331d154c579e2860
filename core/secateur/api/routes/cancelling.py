"""The paths of cancellations: preview, commit, follow, stop, undo."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID, uuid4

from fastapi import APIRouter, Depends, Query, Request, Response

from secateur.api.answers import Answer
from secateur.api.bodies import CANCELLATION, UNDO, CancellationSent, UndoSent
from secateur.api.failures import Unknown
from secateur.api.parameters import require_unambiguous
from secateur.api.services import (
    NEXT_PAGE,
    AskedAt,
    Author,
    Injected,
    Key,
    Services,
    answer,
    caller_of,
    failures,
    latest,
    link_to_next,
    repeated,
    stream_of,
)
from secateur.api.streams import has_seen_end, wants_stream
from secateur.bounds import LONGEST_NAME
from secateur.errors import NeedsApproval
from secateur.ledger.forms import CancellationForm, UnrestoredForm, cancellation_form
from secateur.ledger.proposal_forms import ProposalForm, proposal_form
from secateur.looking.advising import advise_request
from secateur.looking.forms import PreviewForm, preview_form
from secateur.looking.listing import STATES, read_cancellation_search
from secateur.requests import CancellationRequest, Instant

if TYPE_CHECKING:
    from secateur.records import Cancellation

Committed = Answer[CancellationForm] | Answer[list[CancellationForm]]
"""A request with `function_ids` is answered with a list, even if it names only one function."""

CommittedOrProposed = Committed | Answer[ProposalForm]

PROPOSED: dict[int | str, dict[str, Any]] = {
    202: {
        "model": CommittedOrProposed,
        "description": "Committed, and pending: `blocked_by` says what it waits for. Or, with `kind` `proposal`, "
        "nothing is committed: it exceeds the app's budget, and is proposed for somebody else to approve.",
    }
}

ENDING: dict[int | str, dict[str, Any]] = {
    202: {
        "model": Answer[CancellationForm],
        "description": "Written, and pending: `blocked_by` says who may still cancel runs for it.",
    }
}

router = APIRouter(dependencies=[Depends(require_unambiguous)])


@router.post(
    "/v1/cancellations",
    status_code=HTTPStatus.CREATED,
    response_model=CommittedOrProposed,
    responses=repeated(Committed) | PROPOSED | failures(409, 413, 415),
    openapi_extra=CANCELLATION,
    summary="Cancel the matching runs",
)
async def cancel(
    request: Request,
    response: Response,
    services: Injected,
    body: CancellationSent,
    author: Author,
    asked_at: AskedAt,
    idempotency_key: Key = None,
) -> dict[str, Any]:
    """With 201 it is in force: no matching run is claimed any more; the rows are rewritten in the background.

    With 202 its guarantee is `pending`: it is committed, and will be in force when the open transactions of the
    processes `blocked_by` have ended. A request with `function_ids` makes one cancellation for each function, all or
    nothing, and is answered by a list of them, sorted by function; with 202 if one of them is pending.

    Under the same `Idempotency-Key` the same request is committed once per app. A repeated request is answered with the
    current state: 200 means that the cancellation was stopped or undone since, its guarantee is `ended`, and cancelling
    again needs a new key. The answer contains the key, even if the server generated it. `X-Author` is recorded as the
    author, unverified; the default is the server's own user.

    Above the app's budget nothing is committed: with 202 comes a proposal (`kind` is `proposal`), which somebody else
    has to approve; `Location` says where. Under the same key it is the same proposal.
    """
    try:
        return await committed_answer(request, response, services, body, author, asked_at, idempotency_key)
    except NeedsApproval:
        return await _proposed_answer(request, response, services, body, author)


async def _proposed_answer(
    request: Request, response: Response, services: Services, body: CancellationRequest, author: str
) -> dict[str, Any]:
    """Propose what was refused, under the key of the commit."""
    key = request.state.key
    made = await services.proposals.propose(
        body, author=author, source="api", key=key, token=caller_of(request).credential
    )
    response.status_code = HTTPStatus.ACCEPTED
    response.headers["Idempotency-Key"] = key
    response.headers["Location"] = f"/v1/proposals/{made.id}"
    return answer(proposal_form(made), await services.queue.reader.clock())


async def committed_answer(
    request: Request,
    response: Response,
    services: Services,
    body: CancellationRequest,
    author: str,
    asked_at: datetime,
    idempotency_key: str | None,
) -> dict[str, Any]:
    """Commit what the body asks for, and answer with the record or records."""
    key = name_key(request, idempotency_key)
    committed = await services.queue.cancellations.commit_all(body, author=author, source="api", idempotency_key=key)
    response.headers["Idempotency-Key"] = key
    documents = committed_documents(response, committed, is_list=body.function_ids is not None)
    return answer(documents, latest(asked_at, *committed))


def committed_documents(response: Response, committed: Sequence[Cancellation], *, is_list: bool) -> Any:
    """What was committed, as JSON; the head of the answer says whether the guarantee is given."""
    describe(response, committed)
    documents = [cancellation_form(each) for each in committed]
    if is_list:
        return documents
    response.headers["Location"] = f"/v1/cancellations/{committed[0].id}"
    return documents[0]


def name_key(request: Request, given: str | None) -> str:
    """The key to commit under; from here on, a failure names it if the connection is lost."""
    key = given or str(uuid4())
    request.state.key = key
    request.state.unknown = Unknown(
        "it is unknown whether the cancellation is in force: repeat it with the Idempotency-Key of this answer, "
        "under which it is committed at most once",
        {"Idempotency-Key": key},
    )
    return key


def describe(response: Response, committed: Sequence[Cancellation]) -> None:
    """Whether the guarantee is given, in the head of the answer."""
    if any(each.is_over for each in committed):
        response.status_code = HTTPStatus.OK
    elif any(each.is_pending for each in committed):
        response.status_code = HTTPStatus.ACCEPTED


@router.post(
    "/v1/cancellations/preview",
    response_model=Answer[PreviewForm],
    responses=failures(413, 415),
    openapi_extra=CANCELLATION,
    summary="Count the matching runs",
)
async def preview(services: Injected, body: CancellationSent) -> dict[str, Any]:
    """Exactly what a cancellation would match now, with warnings about its `if`. Changes nothing."""
    return await counted_answer(services, body)


async def counted_answer(services: Services, body: CancellationRequest) -> dict[str, Any]:
    """The exact count of what the body means, with warnings about its `if`."""
    async with services.counting.turn():
        # The count comes first: of an app that does not exist nothing could be sampled.
        counted = await services.queue.reader.counter.preview(body)
        warnings = await advise_request(services.queue.reader, body)
    return answer(preview_form(counted, warnings), counted.count.as_of)


@router.get(
    "/v1/cancellations",
    response_model=Answer[list[CancellationForm]],
    responses=failures(404) | {200: {"headers": NEXT_PAGE}},
    summary="List cancellations",
)
async def history(
    request: Request,
    response: Response,
    services: Injected,
    app_id: Annotated[str | None, Query(min_length=1, max_length=LONGEST_NAME)] = None,
    function_id: Annotated[
        str | None,
        Query(min_length=1, max_length=LONGEST_NAME, description="Of this function, and of the app as a whole."),
    ] = None,
    state: Annotated[
        list[str] | None,
        Query(
            description=f"One or more of {', '.join(STATES)}.",
            json_schema_extra={"items": {"type": "string", "enum": list(STATES)}},
        ),
    ] = None,
    since: Annotated[Instant | None, Query(description="Only those committed at this time or later.")] = None,
    until: Annotated[Instant | None, Query(description="Only those committed before it.")] = None,
    limit: Annotated[int, Query(ge=1, le=1000, description="How many at most.")] = 50,
    before: Annotated[UUID | None, Query(description="The last id of the page before.")] = None,
) -> dict[str, Any]:
    """Newest first. As long as there is a next page, the header `Link` has its address (`rel="next"`)."""
    search = read_cancellation_search(app_id, function_id, states=state or (), since=since, until=until)
    if before is not None:
        await services.queue.cancellations.get(before)
    found = await services.queue.cancellations.list(limit + 1, before, search)
    if len(found) > limit:
        response.headers["Link"] = link_to_next(request, found[limit - 1].id)
    documents = []
    for each in found[:limit]:
        documents.append(cancellation_form(each))
        await asyncio.sleep(0)  # it compiles the `if` of each again, and others want to be answered meanwhile
    return answer(documents, await services.queue.reader.clock())


@router.get(
    "/v1/cancellations/{cancellation_id}",
    response_model=Answer[CancellationForm],
    responses=failures(404)
    | stream_of("Each change of it, as events `cancellation`; the stream ends when it will not change any more."),
    summary="Show a cancellation and its progress",
)
async def show(request: Request, services: Injected, cancellation_id: UUID) -> Any:
    """Its tallies grow as its rows are rewritten. With `Accept: text/event-stream` they come as they grow."""
    if has_seen_end(request):
        return Response(status_code=HTTPStatus.NO_CONTENT)

    async def look() -> tuple[Any, bool]:
        cancellation = await services.queue.cancellations.get(cancellation_id)
        is_last = not (cancellation.is_active or cancellation.restoring or cancellation.is_pending)
        return cancellation_form(cancellation).as_json(), is_last

    if wants_stream(request):
        return await services.streams.answer("cancellation", look)
    found, _ = await look()
    return answer(found, await services.queue.reader.clock())


@router.delete(
    "/v1/cancellations/{cancellation_id}",
    response_model=Answer[CancellationForm],
    responses=failures(404) | ENDING,
    summary="Stop a cancellation",
)
async def stop(
    response: Response, services: Injected, cancellation_id: UUID, author: Author, asked_at: AskedAt
) -> dict[str, Any]:
    """It matches no more runs from now on; what it has cancelled stays cancelled. Can be repeated.

    With 202 its guarantee is `pending`: it is stopped for whatever begins from now on, and open transactions of the
    processes `blocked_by` may still cancel runs for it.
    """
    stopped = await services.queue.cancellations.stop(cancellation_id, author=author, source="api")
    return _ended_answer(response, stopped, asked_at)


def _ended_answer(response: Response, ended: Cancellation, asked_at: datetime) -> dict[str, Any]:
    if ended.is_pending:
        response.status_code = HTTPStatus.ACCEPTED
    return answer(cancellation_form(ended), latest(asked_at, ended))


@router.post(
    "/v1/cancellations/{cancellation_id}/undo",
    response_model=Answer[CancellationForm],
    responses=failures(404, 409, 413, 415) | ENDING,
    openapi_extra=UNDO,
    summary="Undo a cancellation",
)
async def undo(
    response: Response,
    services: Injected,
    cancellation_id: UUID,
    body: UndoSent,
    author: Author,
    asked_at: AskedAt,
) -> dict[str, Any]:
    """It matches no more runs from now on, and the runs that were waiting are put back in the background, as long as
    `restoring` is true. Can be repeated, also to ask for `requeue_stopped` later, until `undo_until`.

    With 202 its guarantee is `pending`: it is undone for whatever begins from now on. Its runs come back when the open
    transactions of the processes `blocked_by`, which may still cancel runs for it, have ended."""
    undone = await services.queue.cancellations.undo(
        cancellation_id, author=author, source="api", requeue_stopped=body.requeue_stopped
    )
    return _ended_answer(response, undone, asked_at)


@router.get(
    "/v1/cancellations/{cancellation_id}/unrestored",
    response_model=Answer[list[UnrestoredForm]],
    responses=failures(404),
    summary="List the runs that an undo did not put back",
)
async def unrestored(
    services: Injected,
    cancellation_id: UUID,
    limit: Annotated[int, Query(ge=1, le=10_000, description="How many.")] = 100,
) -> dict[str, Any]:
    """With the reasons; empty unless the cancellation is undone. The cancellation's counts `not_restored` and
    `handed_over` say how many there are in all."""
    await services.queue.cancellations.get(cancellation_id)
    left = await services.queue.cancellations.unrestored(cancellation_id, limit)
    return answer(
        [{"run_id": each.run_id, "reason": each.reason} for each in left], await services.queue.reader.clock()
    )
