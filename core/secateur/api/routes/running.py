"""The paths of single runs, and of the events that start them."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.responses import JSONResponse

from secateur.api.answers import Answer, EffectForm, SentForm
from secateur.api.bodies import EVENT, RUN_CANCELLATION, UNDO, EventSent, RunCancellationSent, UndoSent
from secateur.api.failures import Unknown
from secateur.api.parameters import require_unambiguous
from secateur.api.routes.cancelling import describe, name_key
from secateur.api.services import (
    NEXT_PAGE,
    AskedAt,
    Author,
    Injected,
    Key,
    answer,
    failures,
    latest,
    link_to_next,
    repeated,
)
from secateur.bounds import LONGEST_NAME
from secateur.engines.base import Effect
from secateur.engines.searching import RunPage
from secateur.errors import PermissionDenied
from secateur.instants import utc
from secateur.ledger.forms import CancellationForm, cancellation_form
from secateur.looking.forms import RunForm, run_json
from secateur.looking.listing import LONGEST_SEARCH_PAGE, STATUSES, read_search
from secateur.looking.why_forms import WhyForm, why_form
from secateur.requests import Instant
from secateur.runs import RunStatus

router = APIRouter(dependencies=[Depends(require_unambiguous)])

HOW_FAR = {
    **NEXT_PAGE,
    "X-Looked-At": {"description": "How many runs were looked at.", "schema": {"type": "integer"}},
    "X-Back-To": {
        "description": "When the last of them started; absent if there was none.",
        "schema": {"type": "string", "format": "date-time"},
    },
}
"""How far a page of a search came."""

RunId = Annotated[str, Path(max_length=LONGEST_NAME)]
"""As the engine writes it."""


@router.get(
    "/v1/runs",
    response_model=Answer[list[RunForm]],
    responses=failures(404) | {200: {"headers": HOW_FAR}},
    summary="Search for runs",
)
async def listed(
    request: Request,
    services: Injected,
    app_id: Annotated[str, Query(min_length=1, max_length=LONGEST_NAME)],
    function_id: Annotated[list[str] | None, Query(description="One or more; by default, every function.")] = None,
    status: Annotated[
        list[str] | None,
        Query(
            description=f"One or more of {', '.join(STATUSES)}, also with commas between them; by default, failed.",
            json_schema_extra={"items": {"type": "string", "enum": list(STATUSES)}},
        ),
    ] = None,
    if_: Annotated[str | None, Query(alias="if", description="An expression; may read `run.status`, too.")] = None,
    since: Annotated[Instant | None, Query(description="Only runs that started after it.")] = None,
    until: Annotated[Instant | None, Query(description="Only runs that started before it.")] = None,
    limit: Annotated[int, Query(ge=1, le=LONGEST_SEARCH_PAGE, description="How many at most.")] = 50,
    before: Annotated[str | None, Query(max_length=LONGEST_NAME, description="The `next` of the page before.")] = None,
    newest: Annotated[bool, Query(description="Newest first, as they entered the queue; else oldest first.")] = True,
) -> JSONResponse:
    """Runs of one status or of several, page by page; nothing is counted.

    A page ends when it is full, or when it has looked at some 200,000 runs: it may be empty. As long as there is a next
    page, the header `Link` has its address (`rel="next"`). With a condition, times or several statuses, it takes turns
    with the previews.
    """
    search = read_search(
        app_id,
        function_id,
        status=RunStatus.FAILED if status is None else status,
        if_=if_,
        since=since,
        until=until,
        limit=limit,
        before=before,
        newest=newest,
    )
    # Only what reads many runs waits for its turn.
    async with services.counting.turn() if search.searches else nullcontext():
        page = await services.queue.reader.runs(search)
    found = answer([run_json(run) for run in page], await services.queue.reader.clock())
    return JSONResponse(found, headers=_how_far(page, request))


def _how_far(page: RunPage, request: Request) -> dict[str, str]:
    headers = {"X-Looked-At": str(page.looked_at)}
    if page.back_to is not None:
        headers["X-Back-To"] = utc(page.back_to)
    if page.next is not None:
        headers["Link"] = link_to_next(request, page.next)
    return headers


@router.get(
    "/v1/runs/{run_id}",
    response_model=Answer[RunForm],
    responses=failures(404),
    summary="Show a run",
)
async def show(services: Injected, run_id: RunId) -> JSONResponse:
    """Its current state with its event, its attempts and its timeline.

    Numbers keep all their digits; one too large for Python is a string.
    """
    run = await services.queue.reader.run(run_id)
    # Not by way of the form, which does not write events that are nested deeply.
    return JSONResponse(answer(run_json(run), await services.queue.reader.clock()))


@router.get(
    "/v1/runs/{run_id}/why",
    response_model=Answer[WhyForm],
    responses=failures(404, 409),
    summary="Tell why a run is where it is",
)
async def tell_why(services: Injected, run_id: RunId) -> JSONResponse:
    """What holds it up: a cancellation, with the part of its `if` that decided, a pause, a limit, its schedule, or its
    turn."""
    found = await services.queue.reader.why(run_id)
    return JSONResponse(answer(why_form(found).as_json(), found.trace.as_of))


@router.post(
    "/v1/runs/{run_id}/cancel",
    status_code=HTTPStatus.CREATED,
    response_model=Answer[CancellationForm],
    responses=repeated(Answer[CancellationForm]) | failures(404, 409, 413, 415),
    openapi_extra=RUN_CANCELLATION,
    summary="Cancel one run",
)
async def cancel(
    request: Request,
    response: Response,
    services: Injected,
    run_id: RunId,
    body: RunCancellationSent,
    author: Author,
    asked_at: AskedAt,
    idempotency_key: Key = None,
) -> dict[str, Any]:
    """A waiting run is cancelled at once; a running one is asked to stop. Refused with 409 if it has finished.

    Answers with a cancellation of kind `run`; `Idempotency-Key` and `X-Author` as for many runs.
    """
    key = name_key(request, idempotency_key)
    committed = await services.queue.cancellations.cancel_run(
        run_id, author=author, source="api", reason=body.reason, idempotency_key=key
    )
    response.headers["Idempotency-Key"] = key
    describe(response, [committed])
    response.headers["Location"] = f"/v1/cancellations/{committed.id}"
    return answer(cancellation_form(committed), latest(asked_at, committed))


@router.post(
    "/v1/runs/{run_id}/restore",
    response_model=Answer[CancellationForm],
    responses=failures(404, 409, 413, 415),
    openapi_extra=UNDO,
    summary="Undo the cancellation of one run",
)
async def restore(
    services: Injected, run_id: RunId, body: UndoSent, author: Author, asked_at: AskedAt
) -> dict[str, Any]:
    """Answers with the cancellation when it is undone: `counts.restored` is 1 if the run was put back. Can be repeated.

    Refused with 409 for a run that was not cancelled, or that was cancelled together with others.
    """
    undone = await services.queue.cancellations.restore_run(
        run_id, author=author, source="api", requeue_stopped=body.requeue_stopped
    )
    return answer(cancellation_form(undone), latest(asked_at, undone))


@router.post(
    "/v1/events",
    status_code=HTTPStatus.CREATED,
    response_model=Answer[SentForm],
    responses=failures(409, 413, 415),
    openapi_extra=EVENT,
    summary="Send an event",
)
async def send(request: Request, services: Injected, body: EventSent, asked_at: AskedAt) -> dict[str, Any]:
    """Starts a run of every function, of any app, that the event's name triggers, and cancels the runs of functions
    that declare it in `cancel_on`, all in one transaction. Answers with what came of it, which may be nothing.

    Not repeatable: runs are started each time. An event that has an `id` cancels once, for a day. The server's role
    needs `secateur_worker` for it, beside `secateur_operator`; otherwise it is refused with 403.
    """
    request.state.unknown = Unknown("it is unknown whether the event was sent: sent again, it may start its runs twice")
    try:
        sent = await services.queue.controls.send(body.event, body.text)
    except PermissionDenied as error:
        raise PermissionDenied(f"{error}; to send events, grant this server's role secateur_worker too") from error
    return answer({"runs": _effects(sent.runs), "cancellations": _effects(sent.cancellations)}, asked_at)


def _effects(effects: Iterable[Effect]) -> list[EffectForm]:
    return [EffectForm.of(each) for each in effects]
