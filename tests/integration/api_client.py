"""The HTTP API of a real queue, without a network in between, for its tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from billing import CULPRIT

from secateur.api import create_api
from secateur.api.answers import Failure
from secateur.cancellations import Cancellations
from secateur.database import Database
from secateur.engines.native import NativeEngine

FLOOD = {"app_id": "billing", "function_id": "vendor-syncs", "if": CULPRIT}


@asynccontextmanager
async def running_api(database: Database, *, engine: NativeEngine | None = None) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an API that runs, read-only if the database's sessions are."""
    engine = engine or NativeEngine(database)
    api = create_api(database, engine, Cancellations(engine, read_only=database.read_only), author="server")
    transport = httpx.ASGITransport(app=api, raise_app_exceptions=False)
    async with (
        api.router.lifespan_context(api),
        httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8484") as client,
    ):
        yield client


def data_of(response: httpx.Response, status: int = 200) -> Any:
    assert response.status_code == status, response.text
    answer = response.json()
    assert list(answer) == ["data", "metadata"]
    assert list(answer["metadata"]) == ["fetched_at"]
    assert answer["metadata"]["fetched_at"].endswith("Z")
    return answer["data"]


def failure_of(response: httpx.Response, status: int) -> Failure:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    failure = Failure.model_validate(response.json())
    assert failure.status == status
    assert failure.error
    return failure
