"""The paths of single runs and of events."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
from api_client import data_of, failure_of, running_api
from billing import CANCELLATION_KEYS
from roles import LOGINS, url_of

from patience import PATIENCE
from secateur.looking.forms import RunForm
from secateur.postgres.database import Database

CLAIM = "select id, claim_token from secateur.claim('billing', null, $1, 'w', interval '1 hour')"
JSON = {"Content-Type": "application/json"}


async def waiting(database: Database) -> str:
    """The path of a run that waits."""
    return f"/v1/runs/{await database.fetchval('''select id from secateur.runs where status = 'queued' order by id''')}"


async def enqueued(database: Database, event: str) -> str:
    """The path of a new run."""
    return f"/v1/runs/{await database.fetchval('''select secateur.enqueue('odd', 'events', $1::jsonb)''', event)}"


class TestShow:
    async def test_one_that_waits_and_one_that_runs(self, client: httpx.AsyncClient, flooded: Database) -> None:
        path = await waiting(flooded)
        run = data_of(await client.get(path))
        assert list(run) == list(RunForm.model_fields)
        RunForm.model_validate(run)
        assert (run["status"], run["attempt"], run["worker"]) == ("queued", 0, None)
        assert run["event"] == {"name": "vendor/sync", "data": {"vendor_id": "acme_inc"}}
        (held,) = await flooded.fetch(CLAIM, 1)
        run = data_of(await client.get(f"/v1/runs/{held['id']}"))
        assert (run["status"], run["attempt"], run["worker"]) == ("running", 1, "w")
        assert run["lease_expires_at"].endswith("Z")

    async def test_odd_events(self, client: httpx.AsyncClient, flooded: Database) -> None:
        deep = '{"a": ' * 400 + "1" + "}" * 400
        for event in ("null", "5", '"text"', "[1, 2]", '{"n": 12345678901234567890, "x": 0.5}', deep):
            assert data_of(await client.get(await enqueued(flooded, event)))["event"] == json.loads(event)

    async def test_numbers_have_all_their_digits(self, client: httpx.AsyncClient, flooded: Database) -> None:
        path = await enqueued(flooded, '{"id": 340282366920938463463374607431768211457, "x": 1e400, "y": 1e5000}')
        event = data_of(await client.get(path))["event"]
        assert event == {"id": 2**128 + 1, "x": 10**400, "y": "1" + "0" * 5000}

    async def test_there_is_none(self, client: httpx.AsyncClient) -> None:
        assert "there is no run" in failure_of(await client.get(f"/v1/runs/{uuid4()}"), 404).error
        (detail,) = failure_of(await client.get("/v1/runs/17"), 400).details
        assert detail.field == "run_id"


class TestCancelAndRestore:
    async def test_one_that_waits(self, client: httpx.AsyncClient, flooded: Database) -> None:
        path = await waiting(flooded)
        before = data_of(await client.get(path))
        author = {"X-Author": "mia", "Idempotency-Key": "k-1"}
        response = await client.post(f"{path}/cancel", json={"reason": "a typo"}, headers=author)
        made = data_of(response, 201)
        assert list(made) == CANCELLATION_KEYS
        assert (made["kind"], made["state"], made["run_id"]) == ("run", "complete", before["id"])
        assert (made["created_by"], made["source"], made["reason"]) == ("mia", "api", "a typo")
        assert response.headers["location"] == f"/v1/cancellations/{made['id']}"
        assert response.headers["idempotency-key"] == "k-1"
        now = data_of(await client.get(path))
        assert (now["status"], now["cancellation_id"]) == ("cancelled", made["id"])

        again = await client.post(f"{path}/cancel", json={"reason": "a typo"}, headers=author)
        assert data_of(again, 201)["id"] == made["id"]
        assert "has already ended" in failure_of(await client.post(f"{path}/cancel"), 409).error
        other = f"/v1/runs/{await flooded.fetchval('select max(id::text) from secateur.runs')}/cancel"
        assert "was already used for another request" in failure_of(await client.post(other, headers=author), 409).error

        restored = data_of(await client.post(f"{path}/restore", headers={"X-Author": "leo"}))
        assert (restored["id"], restored["state"], restored["undone_by"]) == (made["id"], "undone", "leo")
        assert restored["counts"]["restored"] == 1
        assert data_of(await client.get(path)) == before
        again = data_of(await client.post(f"{path}/restore", headers={"X-Author": "mia"}))
        assert (again["id"], again["undone_by"], again["counts"]) == (made["id"], "leo", restored["counts"])
        assert data_of(await client.get(path)) == before
        asked = await client.post(f"{path}/cancel", json={"reason": "a typo"}, headers=author)
        assert (data_of(asked, 200)["state"], asked.json()["data"]["guarantee"]) == ("undone", "ended")

    async def test_the_last_of_several_is_restored_again(self, client: httpx.AsyncClient, flooded: Database) -> None:
        path = await waiting(flooded)
        for _ in range(2):
            made = data_of(await client.post(f"{path}/cancel"), 201)
            assert data_of(await client.post(f"{path}/restore"))["id"] == made["id"]
        assert data_of(await client.post(f"{path}/restore"))["id"] == made["id"]

    async def test_one_that_runs(self, client: httpx.AsyncClient, flooded: Database) -> None:
        (held,) = await flooded.fetch(CLAIM, 1)
        path = f"/v1/runs/{held['id']}"
        made = data_of(await client.post(f"{path}/cancel"), 201)
        assert (made["state"], made["counts"]["requested"]) == ("active", 1)
        assert not await flooded.fetchval("select secateur.begin_step('billing', $1, $2, 'next')", *held)
        assert data_of(await client.post(f"{path}/restore"))["counts"]["not_restored"] == 1
        back = data_of(await client.post(f"{path}/restore", json={"requeue_stopped": True}))
        assert (back["counts"]["restored"], back["counts"]["not_restored"]) == (1, 0)
        assert data_of(await client.get(path))["status"] == "queued"

    async def test_what_was_cancelled_together_comes_back_together(
        self, client: httpx.AsyncClient, flooded: Database
    ) -> None:
        path = await waiting(flooded)
        data_of(await client.post("/v1/cancellations", json={"app_id": "billing"}), 201)
        async with asyncio.timeout(PATIENCE):
            while data_of(await client.get(path))["status"] != "cancelled":
                await asyncio.sleep(0.05)
        assert "with other runs" in failure_of(await client.post(f"{path}/restore"), 409).error

    async def test_refused(self, client: httpx.AsyncClient, flooded: Database) -> None:
        path, nowhere = await waiting(flooded), f"/v1/runs/{uuid4()}"
        assert "nothing to restore" in failure_of(await client.post(f"{path}/restore"), 409).error
        for verb in ("cancel", "restore"):
            failure_of(await client.post(f"{nowhere}/{verb}"), 404)
            failure_of(await client.post(f"/v1/runs/17/{verb}"), 400)
            failure_of(await client.post(f"{path}/{verb}", json=[]), 400)
            failure_of(await client.post(f"{path}/{verb}", content=b"{}"), 415)
        for reason in (5, "\0", "x" * 2001):
            (detail,) = failure_of(await client.post(f"{path}/cancel", json={"reason": reason}), 400).details
            assert detail.field == "reason"
        unknown = failure_of(await client.post(f"{path}/cancel", json={"resaon": "x"}), 400)
        assert unknown.details[0].suggestion == "did you mean `reason`?"
        (key,) = failure_of(await client.post(f"{path}/cancel", headers={"Idempotency-Key": "two words"}), 400).details
        assert key.field == "Idempotency-Key"
        assert data_of(await client.get(path))["status"] == "queued"


class TestEvents:
    async def test_it_starts_and_cancels(self, client: httpx.AsyncClient, flooded: Database) -> None:
        await flooded.execute("select secateur.register_function('mail', 'welcome', array['user/created'], 4)")
        await flooded.execute("select secateur.register_function('mail', 'farewell', array['user/deleted'], 4)")
        declared = json.dumps([{"event": "user/deleted", "match": "data.user_id"}])
        await flooded.execute("select secateur.declare_cancel_on('mail', 'welcome', $1::jsonb)", declared)
        created = {"name": "user/created", "data": {"user_id": "u1"}}
        sent = data_of(await client.post("/v1/events", json=created), 201)
        (run,) = sent["runs"]
        assert (run["app_id"], run["function_id"], sent["cancellations"]) == ("mail", "welcome", [])
        assert data_of(await client.get(f"/v1/runs/{run['id']}"))["event"] == created

        deleted = {**created, "name": "user/deleted", "id": "e1"}
        sent = data_of(await client.post("/v1/events", json=deleted), 201)
        assert [each["function_id"] for each in sent["runs"]] == ["farewell"]
        (made,) = sent["cancellations"]
        cancellation = data_of(await client.get(f"/v1/cancellations/{made['id']}"))
        assert (cancellation["kind"], cancellation["source"]) == ("event", "event")
        again = data_of(await client.post("/v1/events", json=deleted), 201)
        assert again["cancellations"] == sent["cancellations"]
        assert again["runs"][0]["id"] != sent["runs"][0]["id"]

    async def test_numbers_stay_as_they_were_written(self, client: httpx.AsyncClient, flooded: Database) -> None:
        await flooded.execute("select secateur.register_function('mail', 'welcome', array['user/created'], 4)")
        body = b'{"name": "user/created", "data": {"a": 1.10, "b": 0.12345678901234567890, "c": 1e30}}'
        (run,) = data_of(await client.post("/v1/events", content=body, headers=JSON), 201)["runs"]
        data = await flooded.fetchval("select event ->> 'data' from secateur.runs where id = $1::text::uuid", run["id"])
        assert data == f'{{"a": 1.10, "b": 0.12345678901234567890, "c": 1{"0" * 30}}}'

    async def test_nobody_listens(self, client: httpx.AsyncClient) -> None:
        assert data_of(await client.post("/v1/events", json={"name": "x"}), 201) == {"runs": [], "cancellations": []}

    async def test_refused(self, client: httpx.AsyncClient, flooded: Database) -> None:
        await flooded.execute("select secateur.register_function('mail', 'welcome', array['x'], 4)")
        runs = await flooded.fetchval("select count(*) from secateur.runs")
        wrong: list[tuple[bytes, str]] = [
            (b"", "body"),
            (b"[]", "body"),
            (b"{", "body"),
            (b"\xff\xfe{\x00}\x00", "body"),
            (b'{"a":' * 40_000 + b"1" + b"}" * 40_000, "body"),
            (b"{}", "name"),
            (b'{"name": ""}', "name"),
            (b'{"name": 5}', "name"),
            (b'{"name": "function.cancelled"}', "name"),
            (b'{"name": "x", "data": NaN}', "event"),
            (b'{"name": "x", "data": "\\u0000"}', "event"),
            (b'{"name": "x", "data": "\\ud800"}', "event"),
            (b'{"name": "x", "data": 1e200000}', "event"),
            (b'{"name": "x", "data": 1e5000}', "event"),
            (b'{"name": "x", "data": %s.5}' % (b"9" * 400), "event"),
        ]
        for body, field in wrong:
            (detail,) = failure_of(await client.post("/v1/events", content=body, headers=JSON), 400).details
            assert detail.field == field, (body[:80], detail)
            if b"u0000" in body:
                assert detail.message == "contains U+0000, which Postgres cannot store"
        failure_of(await client.post("/v1/events", content=b'{"name": "x"}'), 415)
        long = {"name": "x", "data": "x" * 300_000}
        failure_of(await client.post("/v1/events", json=long), 413)
        assert await flooded.fetchval("select count(*) from secateur.runs") == runs

    async def test_the_server_needs_the_role_of_a_worker_too(
        self, owner: asyncpg.Connection, database_url: str
    ) -> None:
        url = url_of("secateur_operator", database_url)
        async with Database.connect(url) as database, running_api(database) as client:
            failure = failure_of(await client.post("/v1/events", json={"name": "x"}), 403)
            assert "grant this server's role secateur_worker too" in failure.error
        await owner.execute(f"grant secateur_worker to {LOGINS['secateur_operator']}")
        # With new sessions: Postgres may miss a grant that comes while a session looks up what its role is a member of.
        async with Database.connect(url) as database, running_api(database) as client:
            data_of(await client.post("/v1/events", json={"name": "x"}), 201)

    async def test_a_lost_answer_says_that_it_may_have_been_sent(
        self, client: httpx.AsyncClient, flooded: Database
    ) -> None:
        await flooded.execute("select secateur.register_function('mail', 'welcome', array['x'], 4)")
        async with flooded.transaction() as other:
            await other.execute("lock table secateur.runs in access exclusive mode")
            sending = asyncio.create_task(client.post("/v1/events", json={"name": "x"}))
            killed: list[Any] = []
            async with asyncio.timeout(PATIENCE):
                while not killed:
                    await asyncio.sleep(0.05)
                    # Not by the transaction that holds the lock, which sees for good what it saw at its first look.
                    killed = await flooded.fetch(
                        "select pg_terminate_backend(pid) from pg_stat_activity"
                        " where datname = current_database() and wait_event_type = 'Lock' and query ~ 'secateur.send'"
                    )
            assert "it is unknown whether the event was sent" in failure_of(await sending, 503).error
