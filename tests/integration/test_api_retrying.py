"""The paths of retries, and the list of failed runs."""

from __future__ import annotations

from typing import Any

import httpx
from api_client import data_of, failure_of
from billing import ACME, CANCELLATION_KEYS, CULPRIT, PREVIEW_KEYS

from patience import eventually
from secateur.postgres.database import Database

FAIL = """
select secateur.fail('billing', held.id, held.claim_token, 'KeyError: vendor_id')
  from secateur.claim('billing', array['vendor-syncs'], $1, 'w', interval '1 hour') as held
"""
BODY = {"app_id": "billing", "function_id": "vendor-syncs", "if": CULPRIT}


async def fail(flooded: Database, count: int) -> None:
    await flooded.execute("update secateur.functions set max_attempts = 1")
    await flooded.fetch(FAIL, count)


async def test_failed_runs_are_listed_and_retried(client: httpx.AsyncClient, flooded: Database) -> None:
    await fail(flooded, ACME - 1)
    query = {"app_id": "billing", "limit": "20"}
    page = data_of(await client.get("/v1/runs", params=query))
    rest = data_of(await client.get("/v1/runs", params={**query, "before": page[-1]["id"]}))
    assert (len(page), len(rest)) == (20, ACME - 1 - 20)
    assert {run["error"] for run in page} == {"KeyError: vendor_id"}
    (depth,) = [one for one in data_of(await client.get("/v1/queues")) if one["function_id"] == "vendor-syncs"]
    assert (depth["failed"], depth["lost"]) == (ACME - 1, 0)
    preview = data_of(await client.post("/v1/retries/preview", json=BODY))
    assert list(preview) == PREVIEW_KEYS
    assert (preview["matched"], preview["by_status"]) == (ACME - 1, {"failed": ACME - 1})
    headers = {"Idempotency-Key": "again", "X-Author": "nadia"}
    response = await client.post("/v1/retries", json=BODY, headers=headers)
    retry = data_of(response, 201)
    assert list(retry) == CANCELLATION_KEYS
    assert (retry["kind"], retry["state"], retry["guarantee"]) == ("retry", "retrying", "none")
    assert response.headers["Location"] == f"/v1/cancellations/{retry['id']}"
    path = response.headers["Location"]

    async def complete() -> dict[str, Any] | None:
        await flooded.fetchrow("select * from secateur.sweep_cancellation('billing', $1)", retry["id"])
        now = data_of(await client.get(path))
        return now if now["state"] == "complete" else None

    done = await eventually(complete, "the retry")
    assert done is not None
    assert done["counts"]["retried"] == ACME - 1
    again = data_of(await client.post("/v1/retries", json=BODY, headers=headers), 201)
    assert again["id"] == retry["id"]
    assert data_of(await client.post(f"{path}/undo", json={}))["state"] == "undone"

    async def restored() -> bool:
        await flooded.fetchrow("select * from secateur.restore_cancellation('billing', $1)", retry["id"])
        return not data_of(await client.get(path))["restoring"]

    await eventually(restored, "the undo")
    assert data_of(await client.get(path))["counts"]["restored"] == ACME - 1
    assert data_of(await client.post("/v1/retries", json=BODY, headers=headers), 200)["state"] == "undone"


async def test_what_is_refused(client: httpx.AsyncClient, flooded: Database) -> None:
    bad = {"app_id": "billing", "with_cancelled": "yes", "standing": True, "if": "event.data ==", "canceled": True}
    failure_of(await client.post("/v1/retries", json=bad), 400)
    details = (await client.post("/v1/retries", json=bad)).json()["details"]
    assert {detail["field"] for detail in details} >= {"with_cancelled", "if", "canceled"}
    failure_of(await client.post("/v1/retries", json={"app_id": "biling"}), 400)
    for query in (
        {"app_id": "billing", "status": "finished"},
        {"app_id": ""},
        {"app_id": "billing", "limit": "0"},
        {},
    ):
        failure_of(await client.get("/v1/runs", params=query), 400)
    failure_of(await client.get("/v1/runs", params={"app_id": "biling"}), 404)
