"""One key is one cancellation, if the server is killed or many ask at once; and logs have no payload and no secret."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Iterator

import httpx
import pytest
from api_client import FLOOD, data_of, failure_of, running_api, server_process, serving
from lossy_proxy import Proxy, copy, running

from patience import PATIENCE, wait_for
from secateur.api.attempts import MOST_FAILURES
from secateur.postgres.database import Database
from secateur.tokens.keeping import Tokens, TokenScope
from secateur.tokens.secrets import new_token

KEY = {"Idempotency-Key": "once"}


RECORD = b'"idempotency_key"'
"""In what Postgres answers to a commit: the record."""


class _HoldsOne(Proxy):
    """Keeps the answer to the first commit, by when it is committed."""

    held = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_unix_connection(self.socket)
        there = asyncio.create_task(copy(reader, to_server))
        try:
            while data := await from_server.read(65536):
                self.held = self.held or RECORD in data
                if not self.held:
                    writer.write(data)
        finally:
            there.cancel()
            to_server.close()
            writer.close()


@pytest.fixture
def url(idle_url: str) -> str:
    return idle_url


def ids(url: str) -> list[str]:
    async def read() -> list[str]:
        async with Database.connect(url) as database:
            return [str(row["id"]) for row in await database.fetch("select id from secateur.cancellations")]

    return asyncio.run(read())


def test_a_server_killed_between_commit_and_answer(url: str) -> None:
    proxy, lost = _HoldsOne(url), threading.Event()

    def ask(address: str) -> None:
        try:
            httpx.post(f"{address}/v1/cancellations", json=FLOOD, headers=KEY, timeout=PATIENCE)
        except httpx.TransportError:
            lost.set()

    with running(proxy) as proxied, server_process(proxied) as (process, address):
        asking = threading.Thread(target=ask, args=(address,))
        asking.start()
        wait_for(lambda: bool(ids(url)), "the commit")
        assert asking.is_alive(), "the answer has not come"
        process.kill()
        asking.join(PATIENCE)
    assert proxy.held
    assert lost.is_set()
    (committed,) = ids(url)
    with server_process(url) as (_, address):
        again = httpx.post(f"{address}/v1/cancellations", json=FLOOD, headers=KEY, timeout=PATIENCE)
        assert data_of(again, 201)["id"] == committed
    assert ids(url) == [committed]


async def test_fifty_clients_under_one_key_make_one(flooded: Database) -> None:
    async with (
        serving(flooded) as server,
        httpx.AsyncClient(
            base_url=server.address, timeout=PATIENCE, limits=httpx.Limits(max_connections=None)
        ) as client,
    ):
        asked = [client.post("/v1/cancellations", json=FLOOD, headers=KEY) for _ in range(50)]
        answers = await asyncio.gather(*asked)
    assert {data_of(answer, 201)["id"] for answer in answers} == {
        str(row["id"]) for row in await flooded.fetch("select id from secateur.cancellations")
    }
    assert await flooded.fetchval("select count(*) from secateur.cancellations") == 1


# Logs

SECRET = "sekret"
"""In everything below that no log should have."""


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """Whatever any part of the server logs; not what the client of the test does."""
    for client in ("httpx", "httpcore"):
        logging.getLogger(client).setLevel(logging.CRITICAL)
    with caplog.at_level(logging.DEBUG):
        yield caplog
    for client in ("httpx", "httpcore"):
        logging.getLogger(client).setLevel(logging.NOTSET)


async def test_logs_have_no_payload_and_no_secret(flooded: Database, logged: pytest.LogCaptureFixture) -> None:
    tokens = Tokens(flooded)
    _, text = await tokens.create("ci", TokenScope.OPERATOR, expires=None, author="ada", source="cli")
    header = {"Authorization": f"Bearer {text}", "X-Author": SECRET}
    event = {"name": "vendor/sync", "data": {"vendor_id": SECRET}}
    asked = {**FLOOD, "if": f"event.data.vendor_id == '{SECRET}'", "reason": SECRET}
    wrong = {**FLOOD, "if": f"event.data.vendor_id = '{SECRET}", "reason": SECRET}
    async with running_api(flooded, tokens=tokens) as client:
        data_of(await client.post("/v1/events", json=event, headers=header), 201)
        await flooded.execute("select secateur.enqueue('billing', 'vendor-syncs', $1)", json.dumps(event))
        for path in ("/v1/cancellations/preview", "/v1/cancellations"):
            assert (await client.post(path, json=asked, headers=header)).is_success
            failure_of(await client.post(path, json=wrong, headers=header), 400)
        failure_of(await client.post("/v1/events", content=f'{{"{SECRET}', headers=header), 415)
        params = {"app_id": "billing", "status": "any", "if": asked["if"]}
        found = data_of(await client.get("/v1/runs", params=params, headers=header))
        assert SECRET in str(found)
        forged = new_token()
        for credential in [f"Bearer {SECRET}", f"Basic {SECRET}"] + [f"Bearer {forged}"] * MOST_FAILURES:
            await client.get("/v1/queues", headers={"Authorization": credential})
    said = "\n".join(f"{record.getMessage()} {record.exc_text or ''}" for record in logged.records)
    assert "too many requests without a valid token from 127.0.0.1" in said
    for secret in (SECRET, text[-43:], forged[-43:]):
        assert secret not in said
