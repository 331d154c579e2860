"""The HTTP API of one queue, as an ASGI application.

Answers are `{"data": …, "metadata": {"fetched_at": …}}`, failures `{"error", "status", "details"}`, without
exception. While it runs, it sweeps and maintains the queue like every other process that may write.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.routing import Route

from secateur import __version__
from secateur.api.access import Access
from secateur.api.background import Background, Watching
from secateur.api.documenting import documented
from secateur.api.failures import install_failure_handlers
from secateur.api.limits import DEFAULT, Limits
from secateur.api.methods import Methods
from secateur.api.routes import cancelling, measuring, proposing, retrying, running, watching
from secateur.api.services import Services
from secateur.api.streams import Streams
from secateur.api.turns import Turns
from secateur.api.under_way import UnderWay
from secateur.ledger.proposals import Proposals
from secateur.metrics.queues import QueueMetrics
from secateur.open_queue import OpenQueue
from secateur.postgres.database import Database
from secateur.tokens.keeping import Tokens

PATHS = (cancelling, proposing, retrying, running, watching, measuring)


def create_api(
    queue: OpenQueue,
    *,
    author: str,
    limits: Limits = DEFAULT,
    tokens: Tokens | None = None,
    proposals: Proposals | None = None,
    watch: Watching | None = None,
    database: Database | None = None,
    is_exposed: bool = False,
) -> FastAPI:
    """The application. `author` is recorded if a request names no author and needs no token.

    Requests need one of `tokens` as soon as there is one, and always if the server `is_exposed` to others than this
    machine.

    What exceeds an app's budget becomes one of `proposals`. With a `watch`, the server evaluates its rules, too. With a
    `database`, it lists the queues there.

    The database under the services belongs to the caller, and must stay open while the application runs.
    """

    background = Background(queue, watch)

    @asynccontextmanager
    async def lifespan(api: FastAPI) -> AsyncIterator[None]:
        async with background.run():
            yield

    # No documentation pages: they would run third-party scripts, which could then call this API.
    api = FastAPI(
        title="secateur",
        version=__version__,
        summary="Prune the backlog of a job queue: see it, preview a cancellation, commit it.",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
        # As they are: including the routers would make each route anew, for every application at its first request.
        routes=[route for paths in PATHS for route in paths.router.routes],
    )
    api.state.streams = Streams(queue, limits)
    api.state.services = Services(
        queue, author, Turns(limits), background, QueueMetrics(queue), api.state.streams, proposals, database
    )
    api.state.stopping = asyncio.Event()
    # The last one added sees a request first.
    api.add_middleware(Methods, routes=[route for route in api.routes if isinstance(route, Route)])
    api.add_middleware(Access, tokens=tokens, is_exposed=is_exposed)
    api.add_middleware(UnderWay, limits=limits, stopping=api.state.stopping)
    install_failure_handlers(api)
    api.openapi = documented(api)  # type: ignore[method-assign]
    return api
