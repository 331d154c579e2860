"""The paths of depth, pauses and the audit."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from api_client import data_of, failure_of
from billing import DEPTH_KEYS, INVOICES

from secateur.ledger.forms import AuditForm
from secateur.looking.forms import SeriesForm
from secateur.postgres.database import Database

CLAIM = "select id from secateur.claim($1, null, 100, 'w', interval '1 hour')"


async def paused(client: httpx.AsyncClient) -> list[str]:
    """The functions that are."""
    return [each["function_id"] for each in data_of(await client.get("/v1/queues")) if each["paused"]]


async def test_a_function_is_paused_and_resumed(client: httpx.AsyncClient, flooded: Database) -> None:
    path = "/v1/queues/billing/invoices"
    for _ in range(2):
        (depth,) = data_of(await client.post(f"{path}/pause", headers={"X-Author": "mia"}))
        assert list(depth) == [*DEPTH_KEYS, "in_force", "blocked_by", "blocked_by_prepared"]
        assert (depth["in_force"], depth["blocked_by"], depth["blocked_by_prepared"]) == (True, [], [])
        assert (depth["function_id"], depth["paused"], depth["queued"]) == ("invoices", True, INVOICES)
    assert await paused(client) == ["invoices"]
    await flooded.fetch(CLAIM, "billing")
    (invoices,) = [each for each in data_of(await client.get("/v1/queues")) if each["function_id"] == "invoices"]
    assert invoices["queued"] == INVOICES
    for _ in range(2):
        (depth,) = data_of(await client.post(f"{path}/resume"))
        assert depth["paused"] is False
    assert len(await flooded.fetch(CLAIM, "billing")) == INVOICES
    entries = [each for each in data_of(await client.get("/v1/audit")) if each["action"] in ("pause", "resume")]
    assert [(each["action"], each["function_id"], each["author"], each["source"]) for each in entries] == [
        ("resume", "invoices", "server", "api"),
        ("pause", "invoices", "mia", "api"),
    ]


async def test_an_app_is_paused_by_a_flag_of_its_own(client: httpx.AsyncClient, flooded: Database) -> None:
    data_of(await client.post("/v1/queues/billing/invoices/pause"))
    depths = data_of(await client.post("/v1/queues/billing/pause"))
    assert [(each["function_id"], each["paused"]) for each in depths] == [("invoices", True), ("vendor-syncs", True)]
    assert await flooded.fetch(CLAIM, "billing") == []
    depths = data_of(await client.post("/v1/queues/billing/resume"))
    assert [(each["function_id"], each["paused"]) for each in depths] == [("invoices", True), ("vendor-syncs", False)]


async def test_any_name_can_be_in_a_path(client: httpx.AsyncClient, flooded: Database) -> None:
    """A slash in a name is no slash of the path, so that nothing else than what is named is paused."""
    names = [("a b/c", "d/e ü"), ("billing", "pause"), ("billing", "pause/pause")]
    for app_id, function_id in names:
        await flooded.execute("select secateur.register_function($1, $2, '{}', 4)", app_id, function_id)
    for path, function in (
        ("a%20b%2Fc/d%2Fe%20%C3%BC", "d/e ü"),
        ("billing/pause", "pause"),
        ("billing/pause%2Fpause", "pause/pause"),
    ):
        data_of(await client.post(f"/v1/queues/{path}/pause"))
        assert await paused(client) == [function]
        data_of(await client.post(f"/v1/queues/{path}/resume"))
        assert await paused(client) == []
    data_of(await client.post("/v1/queues/a%20b%2Fc/pause"))
    assert await paused(client) == ["d/e ü"]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("nobody", 404),
        ("billing/nothing", 404),
        ("nobody/invoices", 404),
        ("billing%2Finvoices", 404),
        ("billing/in/voices", 404),
        ("billing%00", 400),
        ("billing/%00", 400),
        ("billing/", 400),
        ("%FF", 404),
    ],
)
async def test_there_is_no_such_queue(client: httpx.AsyncClient, path: str, status: int) -> None:
    for verb in ("pause", "resume"):
        failure_of(await client.post(f"/v1/queues/{path}/{verb}"), status)
    assert await paused(client) == []


async def queues(client: httpx.AsyncClient) -> list[str]:
    return [f"{each['app_id']}/{each['function_id']}" for each in data_of(await client.get("/v1/queues"))]


async def test_a_function_and_an_app_are_forgotten(client: httpx.AsyncClient, flooded: Database) -> None:
    for app_id, function_id in (("billing", "old"), ("a/b", "c/d ü"), ("a/b", "pause")):
        await flooded.execute("select secateur.register_function($1, $2, '{}', 4)", app_id, function_id)
    gone = await client.delete("/v1/queues/billing/old", headers={"X-Author": "mia"})
    assert data_of(gone) == [{"app_id": "billing", "function_id": "old"}]
    assert data_of(await client.delete("/v1/queues/billing/old")) == []
    gone = await client.delete("/v1/queues/a%2Fb/c%2Fd%20%C3%BC")
    assert data_of(gone) == [{"app_id": "a/b", "function_id": "c/d ü"}]
    assert await queues(client) == ["a/b/pause", "billing/invoices", "billing/vendor-syncs"]
    assert data_of(await client.delete("/v1/queues/a%2Fb")) == [{"app_id": "a/b", "function_id": "pause"}]
    assert await queues(client) == ["billing/invoices", "billing/vendor-syncs"]
    await flooded.execute("select secateur.enqueue('a/b', 'pause', '{}')")
    assert (await queues(client))[0] == "a/b/pause"
    entries = [each for each in data_of(await client.get("/v1/audit")) if each["action"] == "forget"]
    assert [(each["function_id"], each["author"], each["source"]) for each in entries] == [
        (None, "server", "api"),
        ("c/d ü", "server", "api"),
        ("old", "mia", "api"),
    ]


async def test_what_waits_is_not_forgotten(client: httpx.AsyncClient, flooded: Database) -> None:
    for path in ("billing", "billing/invoices"):
        failure = failure_of(await client.delete(f"/v1/queues/{path}"), 409)
        assert f"cannot be forgotten yet: invoices has {INVOICES} queued runs" in failure.error
        assert "cancel them" in failure.error
    for path, status in (("nobody", 404), ("billing/nothing", 404), ("billing/in/voices", 404), ("billing/%00", 400)):
        failure_of(await client.delete(f"/v1/queues/{path}"), status)
    assert await queues(client) == ["billing/invoices", "billing/vendor-syncs"]


async def test_the_audit_in_pages(client: httpx.AsyncClient) -> None:
    made = data_of(await client.post("/v1/cancellations", json={"app_id": "billing", "reason": "INC-1"}), 201)
    for path in ("billing/invoices/pause", "billing/pause", "billing/resume"):
        data_of(await client.post(f"/v1/queues/{path}"))
    entries = data_of(await client.get("/v1/audit"))
    assert [list(each) for each in entries] == [list(AuditForm.model_fields)] * len(entries)
    assert [each["action"] for each in entries[:4]] == ["resume", "pause", "pause", "commit"]
    commit = entries[3]
    assert (commit["cancellation_id"], commit["author"], commit["source"]) == (made["id"], "server", "api")
    assert entries[-1]["action"] == "install"
    found: list[Any] = data_of(await client.get("/v1/audit", params={"limit": 2}))
    while page := data_of(await client.get("/v1/audit", params={"limit": 2, "before": found[-1]["id"]})):
        found += page
    assert found == entries


async def test_pages_of_the_audit_that_cannot_be(client: httpx.AsyncClient) -> None:
    wrong: dict[str, str]
    for wrong in ({"limit": "0"}, {"limit": "1001"}, {"before": "x"}, {"before": "0"}, {"before": str(2**63)}):
        (detail,) = failure_of(await client.get("/v1/audit", params=wrong), 400).details
        assert [detail.field] == list(wrong)


async def test_the_history_of_a_queue(client: httpx.AsyncClient, flooded: Database) -> None:
    await flooded.execute("select secateur.compact_depth('billing')")
    series = data_of(await client.get("/v1/queues/history", params={"app_id": "billing", "function_id": "invoices"}))
    SeriesForm.model_validate(series)
    assert (series["app_id"], series["function_id"], series["step_seconds"]) == ("billing", "invoices", 1)
    assert len(series["points"]) == 900
    assert series["points"][-1]["queued"] == INVOICES
    assert series["points"][0]["queued"] is None
    assert len(series["gaps"]) == 1
    await client.post("/v1/queues/billing/pause", headers={"X-Author": "mia"})
    whole = data_of(await client.get("/v1/queues/history", params={"app_id": "billing", "range": "2h"}))
    assert whole["function_id"] is None
    assert [(mark["action"], mark["author"]) for mark in whole["marks"]] == [("pause", "mia")]
    for wrong, field in (({}, "app_id"), ({"app_id": "billing", "range": "3h"}, "range")):
        failure = failure_of(await client.get("/v1/queues/history", params=wrong), 400)
        assert [detail.field for detail in failure.details] == [field]
    missing = await client.get("/v1/queues/history", params={"app_id": "nobody"})
    assert missing.status_code == 404
