"""The paths of cancellations, beyond the plain one: several functions, standing, pending, undo."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest
from api_client import FLOOD, data_of, failure_of
from billing import ACME, CANCELLATION_KEYS, CULPRIT, GLOBEX, INCOMPLETE, INVOICES

from patience import PATIENCE
from secateur.postgres.database import Database

CLAIM = "select id, claim_token from secateur.claim('billing', null, $1, 'w', interval '1 hour')"
PATH = "/v1/cancellations"
BOTH = {"app_id": "billing", "function_ids": ["vendor-syncs", "invoices"]}


async def once(client: httpx.AsyncClient, path: str, **wanted: object) -> Any:
    """The cancellation at `path`, as soon as its fields are what is wanted."""
    async with asyncio.timeout(PATIENCE):
        while True:
            now = data_of(await client.get(path))
            if all(now[name] == value for name, value in wanted.items()):
                return now
            await asyncio.sleep(0.05)


async def committed(client: httpx.AsyncClient, body: dict[str, Any], **wanted: object) -> tuple[str, Any]:
    """Path and document of a cancellation that was committed and then became what is wanted."""
    path = (await client.post(PATH, json=body)).headers["location"]
    return path, await once(client, path, **wanted)


class TestSeveralFunctions:
    async def test_they_are_cancelled_together(self, client: httpx.AsyncClient) -> None:
        key = {"Idempotency-Key": "k-1"}
        preview = data_of(await client.post(f"{PATH}/preview", json=BOTH))
        assert preview["matched"] == ACME - 1 + GLOBEX + INCOMPLETE + INVOICES
        response = await client.post(PATH, json=BOTH, headers=key)
        made = data_of(response, 201)
        assert [list(each) for each in made] == [CANCELLATION_KEYS] * 2
        assert [(each["function_id"], each["guarantee"]) for each in made] == [
            ("invoices", "in_force"),
            ("vendor-syncs", "in_force"),
        ]
        assert response.headers["idempotency-key"] == "k-1"
        assert "location" not in response.headers
        again = data_of(await client.post(PATH, json=BOTH, headers=key), 201)
        assert [each["id"] for each in again] == [each["id"] for each in made]
        other = await client.post(PATH, json={**BOTH, "function_ids": ["invoices"]}, headers=key)
        assert "was already used for another request" in failure_of(other, 409).error
        for each, matched in zip(made, (INVOICES, ACME - 1 + GLOBEX + INCOMPLETE), strict=True):
            done = await once(client, f"{PATH}/{each['id']}", state="complete")
            assert done["counts"]["cancelled"] == matched

    async def test_a_list_of_one_is_answered_by_one(self, client: httpx.AsyncClient) -> None:
        (made,) = data_of(await client.post(PATH, json={**BOTH, "function_ids": ["invoices"]}), 201)
        assert made["function_id"] == "invoices"

    @pytest.mark.parametrize(
        "more",
        [
            {"function_ids": ["invoices", "nothing"]},
            {"function_ids": []},
            {"function_ids": "invoices"},
            {"function_ids": [""]},
            {"function_ids": [f"f{number}" for number in range(101)]},
            {"function_id": "invoices"},
        ],
    )
    async def test_all_or_nothing(self, client: httpx.AsyncClient, more: dict[str, Any]) -> None:
        refused = failure_of(await client.post(PATH, json=BOTH | more), 400)
        assert [detail.field for detail in refused.details] == ["function_ids"]
        assert data_of(await client.get(PATH)) == []


class TestStanding:
    async def test_it_stands_and_keeps_its_rate(self, client: httpx.AsyncClient) -> None:
        until = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
        body = {**FLOOD, "standing": True, "started_before": until, "rate": 500}
        made = data_of(await client.post(PATH, json=body), 201)
        assert (made["standing"], made["rate"], made["state"], made["guarantee"]) == (True, 500, "active", "in_force")
        assert datetime.fromisoformat(made["started_before"]) == datetime.fromisoformat(until)
        assert data_of(await client.delete(f"{PATH}/{made['id']}"))["state"] == "stopped"

    @pytest.mark.parametrize(
        ("more", "field"),
        [
            ({"standing": True}, "started_before"),
            ({"standing": True, "started_before": "2999-01-01T00:00:00Z"}, "started_before"),
            ({"standing": "yes", "started_before": "2020-01-01T00:00:00Z"}, "standing"),
            ({"rate": 0}, "rate"),
            ({"rate": 1.5}, "rate"),
        ],
    )
    async def test_refused(self, client: httpx.AsyncClient, more: dict[str, Any], field: str) -> None:
        refused = failure_of(await client.post(PATH, json=FLOOD | more), 400)
        assert [detail.field for detail in refused.details] == [field]
        assert data_of(await client.get(PATH)) == []


class TestPending:
    async def test_it_says_what_it_waits_for(self, client: httpx.AsyncClient, flooded: Database) -> None:
        async with flooded.transaction() as worker:
            await worker.fetch(CLAIM, 1)
            holder = await worker.fetchval("select pg_backend_pid()")
            response = await client.post(PATH, json=FLOOD)
            made = data_of(response, 202)
            assert (made["guarantee"], made["blocked_by"], made["state"]) == ("pending", [holder], "active")
            several = data_of(await client.post(PATH, json=BOTH), 202)
            assert {each["guarantee"] for each in several} == {"pending"}
        now = await once(client, response.headers["location"], guarantee="in_force")
        assert now["blocked_by"] == []
        key = {"Idempotency-Key": response.headers["idempotency-key"]}
        assert data_of(await client.post(PATH, json=FLOOD, headers=key), 201)["id"] == made["id"]

    async def test_a_stop_and_a_pause_say_so_too(self, client: httpx.AsyncClient, flooded: Database) -> None:
        made = data_of(await client.post(PATH, json=FLOOD), 201)
        path = f"{PATH}/{made['id']}"
        async with flooded.transaction() as worker:
            await worker.fetch(CLAIM, 1)
            holder = await worker.fetchval("select pg_backend_pid()")
            stopped, paused = await asyncio.gather(client.delete(path), client.post("/v1/queues/billing/pause"))
            ended = data_of(stopped, 202)
            assert (ended["guarantee"], ended["blocked_by"], ended["state"]) == ("pending", [holder], "stopped")
            assert {(each["in_force"], *each["blocked_by"]) for each in data_of(paused, 202)} == {(False, holder)}
        assert (await once(client, path, guarantee="ended"))["blocked_by"] == []
        again = data_of(await client.post("/v1/queues/billing/pause"))
        assert {each["in_force"] for each in again} == {True}


class TestUndo:
    async def test_the_runs_come_back(self, client: httpx.AsyncClient, flooded: Database) -> None:
        path, _ = await committed(client, FLOOD, state="complete")
        undone = data_of(await client.post(f"{path}/undo", headers={"X-Author": "mia"}))
        assert (undone["state"], undone["undone_by"], undone["source"]) == ("undone", "mia", "api")
        done = await once(client, path, restoring=False)
        assert (done["counts"]["restored"], done["counts"]["not_restored"]) == (ACME - 1, 0)
        assert data_of(await client.get(f"{path}/unrestored")) == []
        again = data_of(await client.post(f"{path}/undo", json={}))
        assert (again["undone_at"], again["undone_by"]) == (undone["undone_at"], "mia")
        cancelled = "select count(*) from secateur.runs where status = 'cancelled'"
        assert await flooded.fetchval(cancelled) == 0

    async def test_the_key_of_one_that_has_ended_says_so(self, client: httpx.AsyncClient, flooded: Database) -> None:
        """201 would say that it is in force."""
        await flooded.fetch(CLAIM, 1)  # keeps it active
        for verb, state in (("stop", "stopped"), ("undo", "undone")):
            key = {"Idempotency-Key": verb}
            body = {"app_id": "billing", "reason": verb}
            made = data_of(await client.post(PATH, json=body, headers=key), 201)
            path = f"{PATH}/{made['id']}"
            data_of(await (client.delete(path) if verb == "stop" else client.post(f"{path}/undo")))
            again = await client.post(PATH, json=body, headers=key)
            now = data_of(again, 200)
            assert (now["id"], now["state"], now["guarantee"]) == (made["id"], state, "ended")
            assert again.headers["idempotency-key"] == verb
        several = {"Idempotency-Key": "several"}
        made, _ = data_of(await client.post(PATH, json=BOTH, headers=several), 201)
        data_of(await client.post(f"{PATH}/{made['id']}/undo"))
        one, other = data_of(await client.post(PATH, json=BOTH, headers=several), 200)
        assert one["guarantee"] == "ended"
        assert other["guarantee"] == "in_force"

    async def test_what_was_stopped_while_it_ran(self, client: httpx.AsyncClient, flooded: Database) -> None:
        held = await flooded.fetch(CLAIM, 3)
        path, made = await committed(client, {"app_id": "billing"})
        assert made["counts"]["requested"] == 3
        assert data_of(await client.get(f"{path}/unrestored")) == []
        for run in held:
            assert not await flooded.fetchval("select secateur.begin_step('billing', $1, $2, 'next')", *run)
        await once(client, path, state="complete")
        data_of(await client.post(f"{path}/undo"))
        assert (await once(client, path, restoring=False))["counts"]["not_restored"] == 3
        left = data_of(await client.get(f"{path}/unrestored"))
        assert {each["run_id"] for each in left} == {str(run["id"]) for run in held}
        assert all(each["reason"].startswith("it was stopped while it ran") for each in left)
        assert data_of(await client.get(f"{path}/unrestored", params={"limit": 2})) == left[:2]
        data_of(await client.post(f"{path}/undo", json={"requeue_stopped": True}))
        assert (await once(client, path, restoring=False))["counts"]["not_restored"] == 0
        assert data_of(await client.get(f"{path}/unrestored")) == []

    async def test_too_late(self, client: httpx.AsyncClient, flooded: Database) -> None:
        path, _ = await committed(client, FLOOD, state="complete")
        await flooded.execute("update secateur.retention set cancelled = '0'")
        assert (
            "can no longer be undone: its cancelled runs were kept until"
            in failure_of(await client.post(f"{path}/undo"), 409).error
        )
        assert data_of(await client.get(path))["state"] == "complete"

    async def test_there_is_none(self, client: httpx.AsyncClient) -> None:
        nowhere = f"{PATH}/{uuid4()}"
        failure_of(await client.post(f"{nowhere}/undo"), 404)
        failure_of(await client.get(f"{nowhere}/unrestored"), 404)
        failure_of(await client.post(f"{PATH}/17/undo"), 400)
        for limit in ("0", "10001", "x"):
            (detail,) = failure_of(await client.get(f"{nowhere}/unrestored", params={"limit": limit}), 400).details
            assert detail.field == "limit"

    async def test_bodies_that_mean_nothing(self, client: httpx.AsyncClient) -> None:
        path, _ = await committed(client, FLOOD, state="complete")
        misspelt = failure_of(await client.post(f"{path}/undo", json={"requeue_stoped": True}), 400)
        assert [(detail.field, detail.suggestion) for detail in misspelt.details] == [
            ("requeue_stoped", "did you mean `requeue_stopped`?")
        ]
        wrong = failure_of(await client.post(f"{path}/undo", json={"requeue_stopped": 1}), 400)
        assert [(detail.field, detail.message) for detail in wrong.details] == [
            ("requeue_stopped", "must be true or false")
        ]
        json = {"Content-Type": "application/json"}
        for body in (b"[]", b"null", b"{", b"\xff"):
            failure_of(await client.post(f"{path}/undo", content=body, headers=json), 400)
        failure_of(await client.post(f"{path}/undo", content=b"{}", headers={"Content-Type": "text/plain"}), 415)
        failure_of(await client.post(f"{path}/undo", content=b" " * 300_000, headers=json), 413)
        assert data_of(await client.get(path))["state"] == "complete"


async def test_a_preview_warns_of_what_is_doubtful(client: httpx.AsyncClient) -> None:
    preview = data_of(await client.post(f"{PATH}/preview", json={**FLOOD, "if": "event.data.vendor_idd == 'x'"}))
    (warning,) = preview["warnings"]
    assert (warning["line"], warning["column"]) == (1, 12)
    assert "vendor_idd" in warning["message"]
    assert warning["suggestion"] == "did you mean `vendor_id`?"
    assert data_of(await client.post(f"{PATH}/preview", json=FLOOD | {"if": CULPRIT}))["warnings"] == []
    assert data_of(await client.post(f"{PATH}/preview", json={"app_id": "billing"}))["warnings"] == []


async def test_a_stop_says_who_and_from_where(client: httpx.AsyncClient, flooded: Database) -> None:
    await flooded.fetch(CLAIM, 1)  # holds it open
    path, made = await committed(client, {"app_id": "billing"})
    stopped = data_of(await client.delete(path, headers={"X-Author": "mia"}))
    assert stopped["undo_until"] is not None
    (entry,) = [each for each in data_of(await client.get("/v1/audit")) if each["action"] == "stop"]
    assert (entry["cancellation_id"], entry["author"], entry["source"]) == (made["id"], "mia", "api")
