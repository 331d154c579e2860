"""The paths for watching over queues: which there are, their depth, pausing, forgetting, the audit and the health."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Annotated, Any
from urllib.parse import unquote

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from secateur.api.answers import Answer, ForgottenForm, Health
from secateur.api.parameters import require_unambiguous
from secateur.api.services import Author, Injected, Services, answer, caller_of, failures, stream_of
from secateur.api.streams import wants_stream
from secateur.bounds import LONGEST_NAME
from secateur.engines.listing import ListedQueue, list_queues
from secateur.errors import NotFound, Unsupported
from secateur.ledger.forms import AuditForm
from secateur.looking.forms import (
    DepthForm,
    PausedForm,
    SeriesForm,
    SuggestionsForm,
    depth_form,
    paused_form,
    series_form,
    suggestions_form,
)
from secateur.looking.listing import read_scope
from secateur.looking.suggestions import DEFAULT_FIELDS
from secateur.requests import Instant
from secateur.runs import FunctionDepth, Scope
from secateur.samples import DEFAULT_RANGE, RANGES

router = APIRouter(dependencies=[Depends(require_unambiguous)])


async def _scope(request: Request) -> Scope:
    """The names as the path has them, which the router does not tell: there `a%2Fb` is one of them and `a/b` is two."""
    raw: bytes = request.scope["raw_path"]
    # What is done with them comes last, unless the method says it.
    last = None if request.method == "DELETE" else -1
    names = [unquote(name.decode("ascii", "replace")) for name in raw.split(b"?")[0].split(b"/")[3:last]]
    if len(names) > 2:
        raise NotFound("name an app, or an app and a function; write a / that is part of a name as %2F")
    return read_scope(names[0], names[1] if len(names) > 1 else None)


async def _app(app_id: Annotated[str, Path(min_length=1)]) -> None:
    """The name in the path, for the documentation; `_scope` reads it."""


async def _function(
    app_id: Annotated[str, Path(min_length=1)], function_id: Annotated[str, Path(min_length=1)]
) -> None:
    """Both names, likewise."""


Named = Annotated[Scope, Depends(_scope)]
OF_APP: Any = {"dependencies": [Depends(_app)]}
OF_FUNCTION: Any = {"dependencies": [Depends(_function)]}

Since = Annotated[Instant | None, Query(description="When the flood began; by default, when arrivals grew.")]
Until = Annotated[Instant | None, Query(description="When it ended; by default, now.")]
Fields = Annotated[int, Query(ge=1, le=100, description="How many fields.")]


@router.get(
    "/v1/queues",
    response_model=Answer[list[DepthForm]],
    responses=failures() | stream_of("The depth once a second, as events `depth`."),
    summary="Show the queues' depth",
)
async def queues(request: Request, services: Injected) -> Any:
    """Per app and function. With `Accept: text/event-stream` it comes whenever it changes."""

    async def look() -> tuple[Any, bool]:
        return [depth_form(each).as_json() for each in await services.streams.depth()], False

    if wants_stream(request):
        return await services.streams.answer("depth", look)
    return await _depth(services, await services.queue.reader.depth())


@router.get(
    "/v1/queues/history",
    response_model=Answer[SeriesForm],
    responses=failures(404),
    summary="Show how deep a queue was",
)
async def history(
    services: Injected,
    app_id: Annotated[str, Query(min_length=1, max_length=LONGEST_NAME)],
    function_id: Annotated[str | None, Query(min_length=1, max_length=LONGEST_NAME)] = None,
    range_name: Annotated[
        str,
        Query(
            alias="range",
            description=f"How far back: one of {', '.join(RANGES)}, in steps of 1, 10 or 240 seconds.",
            json_schema_extra={"enum": list(RANGES)},
        ),
    ] = DEFAULT_RANGE,
) -> dict[str, Any]:
    """Of a function or, without `function_id`, of the app as a whole. It is kept as long as any worker, server or
    console is running; `gaps` are the times of which nothing is known."""
    series = await services.queue.reader.history.series(read_scope(app_id, function_id), range_name)
    return answer(series_form(series), await services.queue.reader.clock())


SUGGESTIONS: Any = {"response_model": Answer[SuggestionsForm], "responses": failures(404)}
DEPTHS: Any = {"response_model": Answer[list[DepthForm]], "responses": failures(404)}
PAUSED: Any = {
    "response_model": Answer[list[PausedForm]],
    "responses": failures(404)
    | {
        202: {
            "model": Answer[list[PausedForm]],
            "description": "Paused, and not yet in force: `blocked_by` says what it waits for.",
        }
    },
}
FORGOTTEN: Any = {"response_model": Answer[list[ForgottenForm]], "responses": failures(404, 409)}


@router.get(
    "/v1/queues/{app_id}/{function_id:path}/suggestions",
    summary="Suggest filters for a function",
    description="As for an app.",
    **SUGGESTIONS,
    **OF_FUNCTION,
)
@router.get("/v1/queues/{app_id}/suggestions", summary="Suggest filters for an app", **SUGGESTIONS, **OF_APP)
async def suggest(
    services: Injected, scope: Named, since: Since = None, until: Until = None, limit: Fields = DEFAULT_FIELDS
) -> dict[str, Any]:
    """What stands out in what arrived since `since`, against what arrived before, by samples; and up to three filters,
    the shortest first, that tell the one from the other. Changes nothing, and takes turns with the previews."""
    async with services.counting.turn():
        found = await services.queue.reader.suggest(scope, since, until, limit)
    return answer(suggestions_form(found), found.as_of)


@router.post(
    "/v1/queues/{app_id}/{function_id:path}/pause",
    summary="Pause a function",
    description="As for an app: nothing of it is claimed until it is resumed; running runs go on. Can be repeated.",
    **PAUSED,
    **OF_FUNCTION,
)
@router.post("/v1/queues/{app_id}/pause", summary="Pause an app", **PAUSED, **OF_APP)
async def pause(response: Response, services: Injected, scope: Named, author: Author) -> dict[str, Any]:
    """Nothing of it is claimed until it is resumed; running runs go on. Answers with the depth of its functions.

    With 202 it is paused, but not yet in force: open transactions of the processes `blocked_by` may still start what
    they have claimed. Can be repeated; the answer then says whether it is in force by now.
    """
    paused = await services.queue.controls.pause(scope, author, "api")
    if not paused.in_force:
        response.status_code = HTTPStatus.ACCEPTED
    depths = await services.queue.reader.depth_of(scope)
    as_of = depths[0].as_of if depths else await services.queue.reader.clock()
    return answer([paused_form(each, paused) for each in depths], as_of)


@router.post(
    "/v1/queues/{app_id}/{function_id:path}/resume",
    summary="Resume a function",
    description="Undoes its own pause; it stays `paused` while the app as a whole is paused. Can be repeated.",
    **DEPTHS,
    **OF_FUNCTION,
)
@router.post("/v1/queues/{app_id}/resume", summary="Resume an app", **DEPTHS, **OF_APP)
async def resume(services: Injected, scope: Named, author: Author) -> dict[str, Any]:
    """Undoes the pause of the app as a whole; functions that were paused individually stay `paused`.

    Can be repeated.
    """
    await services.queue.controls.resume(scope, author, "api")
    return await _depth(services, await services.queue.reader.depth_of(scope))


@router.delete(
    "/v1/queues/{app_id}/{function_id:path}",
    summary="Forget a function",
    description="Hides a function that no longer exists from the queues, as for an app.",
    **FORGOTTEN,
    **OF_FUNCTION,
)
@router.delete("/v1/queues/{app_id}", summary="Forget an app", **FORGOTTEN, **OF_APP)
async def forget(services: Injected, scope: Named, author: Author) -> dict[str, Any]:
    """Hides an app that no longer exists, with all its functions, from the queues; events no longer start its runs. Its
    history stays, and it comes back when a run is enqueued, or when a worker starts with it.

    Answers with the newly forgotten functions. Can be repeated. Refused with 409, naming the reason, while it has
    unfinished runs, cancellations, retries or undos.
    """
    forgotten = await services.queue.controls.forget(scope, author, "api")
    data = [{"app_id": scope.app_id, "function_id": each} for each in forgotten]
    return answer(data, await services.queue.reader.clock())


async def _depth(services: Services, depths: Sequence[FunctionDepth]) -> dict[str, Any]:
    return answer(
        [depth_form(each) for each in depths], depths[0].as_of if depths else await services.queue.reader.clock()
    )


@router.get(
    "/v1/engines",
    response_model=Answer[list[ListedQueue]],
    responses=failures(409),
    summary="List the queues of the database",
)
async def engines(services: Injected) -> dict[str, Any]:
    """Every job queue that secateur knows, also those that this server does not serve: what can be done with each, and
    what prevents more. It counts what waits in each, and takes turns with the previews."""
    if services.database is None:
        raise Unsupported("this server lists no queues")
    async with services.counting.turn():
        found = await list_queues(services.database)
    return answer(found, await services.queue.reader.clock())


@router.get("/v1/audit", response_model=Answer[list[AuditForm]], responses=failures(), summary="Show who did what")
async def audit(
    services: Injected,
    limit: Annotated[int, Query(ge=1, le=1000, description="How many.")] = 50,
    before: Annotated[int | None, Query(ge=1, le=2**63 - 1, description="The last id of the page before.")] = None,
) -> dict[str, Any]:
    """Newest first: every commit, stop, undo, pause, resume, forget, install and change of the retention."""
    page = await services.queue.cancellations.audit(limit, before)
    return answer([AuditForm.of(each) for each in page], await services.queue.reader.clock())


@router.get(
    "/healthz",
    response_model=Answer[Health],
    response_model_exclude_unset=True,
    responses=failures(),
    summary="Check the health of the queue",
)
async def health(request: Request, services: Injected) -> dict[str, Any]:
    """`ok`; or `degraded`: the database answers, but something in the background fails again and again, such as the
    sweep of a cancellation, or posting to a target of the watch. With 503 the database does not answer.

    Needs no token, but without one, where the server needs tokens, `problems` and `watch` are absent."""
    now = await services.queue.reader.clock()
    problems = await services.background.problems()
    data: dict[str, Any] = {"status": "degraded" if problems else "ok"}
    if caller_of(request).is_known:
        data["problems"] = problems
        if (watch := services.background.watch) is not None:
            data["watch"] = watch.state()
    return answer(data, now)
