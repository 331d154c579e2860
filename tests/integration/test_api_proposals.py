"""Proposals over HTTP: what a budget makes of a commit, and who may approve it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import uuid4

import httpx
import pytest
from api_client import FLOOD, data_of, failure_of, running_api
from billing import ACME

from secateur.engines.native.engine import NativeEngine
from secateur.errors import NeedsApproval, RequestError
from secateur.ledger.proposals import Proposals
from secateur.open_queue import OpenQueue
from secateur.postgres.database import Database
from secateur.tokens.keeping import Tokens, TokenScope
from secateur.tokens.secrets import read_token

PEOPLE = ("ada", "bob", "own")


@pytest.fixture
async def texts(flooded: Database) -> dict[str, str]:
    """Tokens that another login than the server's has created, and `own`, which the server's has. There is a budget."""
    await flooded.execute("select secateur.set_budget('billing', 10, 'owner', 'cli')")
    made = {
        name: (await Tokens(flooded).create(name, TokenScope.OPERATOR, expires=None, author="root", source="cli"))[1]
        for name in PEOPLE
    }
    await flooded.execute("update secateur.api_tokens set created_role = 'admin' where name in ('ada', 'bob')")
    return made


@pytest.fixture
async def client(flooded: Database, texts: dict[str, str]) -> AsyncIterator[httpx.AsyncClient]:
    async with running_api(flooded, tokens=Tokens(flooded)) as client:
        yield client


async def test_above_the_budget_another_token_approves(client: httpx.AsyncClient, texts: dict[str, str]) -> None:
    ada, bob, own = ({"Authorization": f"Bearer {texts[name]}"} for name in PEOPLE)
    keyed = {"Idempotency-Key": "flood"}

    async def propose() -> httpx.Response:
        return await client.post("/v1/cancellations", json=FLOOD, headers=ada | keyed)

    answer = await propose()
    made = data_of(answer, 202)
    place = answer.headers["location"]
    assert (place, answer.headers["idempotency-key"]) == (f"/v1/proposals/{made['id']}", "flood")
    assert (made["kind"], made["state"], made["request"], made["proposed_token"]) == ("proposal", "open", FLOOD, "ada")
    assert data_of(await propose(), 202)["id"] == made["id"]
    other = await client.post("/v1/cancellations", json={"app_id": "billing"}, headers=ada | keyed)
    assert "is of another request" in failure_of(other, 409).error
    assert [each["id"] for each in data_of(await client.get("/v1/proposals", headers=bob))] == [made["id"]]

    refused = failure_of(await client.post(f"{place}/approve", headers=ada), 409)
    assert "was made with your own token, 'ada': another one has to approve it" in refused.error
    assert "was made by your own login" in failure_of(await client.post(f"{place}/approve", headers=own), 409).error
    assert data_of(await client.get("/v1/cancellations", headers=ada)) == []

    approved = await client.post(f"{place}/approve", headers=bob)
    committed = data_of(approved, 201)
    assert (committed["kind"], committed["created_by"]) == ("bulk", "token bob")
    assert approved.headers["location"] == f"/v1/cancellations/{committed['id']}"
    assert data_of(await client.post(f"{place}/approve", headers=bob), 201)["id"] == committed["id"]
    again = data_of(await propose(), 202)
    assert (again["state"], again["cancellation_ids"]) == ("committed", [committed["id"]])
    shown = data_of(await client.get(place, headers=ada))
    assert (shown["state"], shown["decided_token"]) == ("committed", "bob")
    assert "was approved by" in failure_of(await client.post(f"{place}/reject", headers=ada), 409).error
    entry = next(each for each in data_of(await client.get("/v1/audit", headers=ada)) if each["action"] == "approve")
    assert (entry["details"]["proposed_token"], entry["details"]["token"]) == ("ada", "bob")


async def test_rejected(client: httpx.AsyncClient, texts: dict[str, str]) -> None:
    headers = {"Authorization": f"Bearer {texts['ada']}"}
    both = {"app_id": "billing", "function_ids": ["invoices", "vendor-syncs"]}
    place = (await client.post("/v1/cancellations", json=both, headers=headers)).headers["location"]
    problem = failure_of(await client.post(f"{place}/reject", json={"why": "x"}, headers=headers), 400).details[0]
    assert problem.field == "why"
    rejected = data_of(await client.post(f"{place}/reject", json={"reason": "too wide"}, headers=headers))
    assert (rejected["state"], rejected["decision_reason"]) == ("rejected", "too wide")
    assert "was rejected by" in failure_of(await client.post(f"{place}/approve", headers=headers), 409).error
    assert data_of(await client.get("/v1/proposals", headers=headers)) == []
    assert len(data_of(await client.get("/v1/proposals?all=true", headers=headers))) == 1
    failure_of(await client.get(f"/v1/proposals/{uuid4()}", headers=headers), 404)


async def test_a_login_cannot_claim_tokens(flooded: Database, texts: dict[str, str]) -> None:
    """Neither with a proof that it does not have, nor with what every viewer may read, nor with tokens of its own."""
    queue = OpenQueue.over(NativeEngine(flooded))
    proposals = Proposals(flooded, queue.cancellations)
    known = {name: read_token(text) for name, text in texts.items()}
    ada, bob = known["ada"], known["bob"]
    assert ada is not None
    assert bob is not None
    from secateur.requests import CancellationRequest

    made = await proposals.propose(CancellationRequest.parse(FLOOD), author="ada", source="api", token=ada)
    decide = "select secateur.decide_proposal('billing', $1, 'approved', 'x', 'api', null, $2, $3)"
    kept = await flooded.fetchval("select proof_hash from secateur.api_tokens where name = 'bob'")
    for proof in (None, "", ada.proof, bob.secret_hash, kept):
        with pytest.raises(RequestError, match="does not prove the token 'bob'"):
            await flooded.fetchval(decide, made.id, bob.token_id, proof)
    with pytest.raises(RequestError, match="there is no such token"):
        await flooded.fetchval(decide, made.id, "nobody", "x")
    for token in (None, known["own"]):
        with pytest.raises(NeedsApproval, match="by your own login"):
            await proposals.approve(made.id, author="x", source="api", token=token)
    await flooded.execute("update secateur.api_tokens set proof_hash = null where name = 'bob'")
    with pytest.raises(NeedsApproval, match="by your own login"):
        await proposals.approve(made.id, author="x", source="api", token=bob)
    assert ACME > 10
    await Tokens(flooded).revoke("ada", author="x", source="cli")
    with pytest.raises(RequestError, match="does not prove"):
        await proposals.approve(made.id, author="x", source="api", token=ada)
