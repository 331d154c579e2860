"""Clients that are slow, too many, or do not speak HTTP. Over real sockets."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from dataclasses import replace

import httpx
import pytest
from api_client import FLOOD, Client, Serving, failure_of, request, serving

from patience import PATIENCE, eventually
from secateur.api.answers import Failure
from secateur.api.limits import DEFAULT
from secateur.postgres.database import Database

HEALTH = request("GET", "/healthz")


@pytest.fixture
async def server(flooded: Database) -> AsyncIterator[Serving]:
    async with serving(flooded, replace(DEFAULT, head=0.5, body=0.5)) as server:
        yield server


async def refused(client: Client, status: int) -> str:
    """The one answer before the connection is closed."""
    ((answered, body),) = await client.answers()
    failure = Failure.model_validate(body)
    assert (answered, failure.status) == (status, status)
    return failure.error


@pytest.mark.parametrize("sent", [b"", b"GET", HEALTH[:-2]])
async def test_a_head_has_to_arrive(sent: bytes, server: Serving) -> None:
    client = await Client.connect(server)
    await client.send(sent)
    assert "head of the request did not arrive within 0.5 s" in await refused(client, 408)


async def test_a_head_in_drops_gains_no_time(server: Serving) -> None:
    client = await Client.connect(server)
    dropping = asyncio.create_task(drop(client, HEALTH[:-2]))
    assert "head" in await refused(client, 408)
    await dropping


async def test_what_is_still_sent_cannot_overtake_a_refusal(server: Serving) -> None:
    for sent in (HEALTH[:-2], b"nonsense\r\n\r\n", request("POST", "/v1/cancellations", FLOOD)[:-1]):
        client = await Client.connect(server)
        await client.send(sent)
        assert await client.reader.readexactly(len(b"HTTP/1.1 4")) == b"HTTP/1.1 4"
        for _ in range(50):
            await client.send(b"x")
        await asyncio.sleep(0)
        assert b'"error"' in await asyncio.wait_for(client.reader.read(), PATIENCE)


async def test_the_second_head_has_to_arrive_too(server: Serving) -> None:
    client = await Client.connect(server)
    await client.send(HEALTH)
    await client.reader.readuntil(b'"ok"')
    await client.send(b"GET /healthz HTT")
    assert b"408 Request Timeout" in await asyncio.wait_for(client.reader.read(), PATIENCE)


async def test_a_body_has_to_arrive(server: Serving) -> None:
    whole = request("POST", "/v1/cancellations", FLOOD)
    for sent in (whole[:-1], whole[: whole.index(b"{")]):
        client = await Client.connect(server)
        await client.send(sent)
        assert "body of the request did not arrive within 0.5 s" in await refused(client, 408)
    client = await Client.connect(server)
    head, _, body = whole.partition(b"{")
    await client.send(head)
    dropping = asyncio.create_task(drop(client, (b"{" + body)[:-1]))
    assert "body" in await refused(client, 408)
    await dropping


async def test_a_client_that_goes_on_with_its_body_after_the_answer_is_cut_off(server: Serving) -> None:
    client = await Client.connect(server)
    await client.send(request("POST", "/v1/nothing", {"name": "x" * 10_000})[:-2])
    assert b"404 Not Found" in await asyncio.wait_for(client.reader.read(), PATIENCE)


async def test_a_slow_request_is_no_slow_answer(server: Serving) -> None:
    """The time is the client's only, and it begins again with each request."""

    async def answered() -> bool:
        """Whether three requests in a row were; a slow machine may have sent one of them too late."""
        client = await Client.connect(server)
        for _ in range(3):
            began = time.monotonic()
            await client.send(HEALTH[:10])
            await asyncio.sleep(0.2)
            took = time.monotonic() - began
            try:
                await client.send(HEALTH[10:])
                await asyncio.sleep(0.2)
                await client.reader.readuntil(b'"ok"')
            except (asyncio.IncompleteReadError, ConnectionError):
                assert took > 0.4, "it was refused although it came in time"
                return False
        client.leave()
        return True

    await eventually(answered, "the answers")


async def test_a_length_said_in_two_ways_is_refused_and_ends_the_connection(server: Serving) -> None:
    """What one server takes for the end of a request is the middle of one for another."""
    client = await Client.connect(server)
    chunked = b"0\r\n\r\n"
    head = request("POST", "/v1/queues/billing/pause", **{"Transfer-Encoding": "chunked"})
    await client.send(head.replace(b"Content-Length: 0", b"Content-Length: 5") + chunked + HEALTH)
    assert "must not be sent together" in await refused(client, 400)


async def test_what_is_no_http_is_refused_in_the_usual_form(server: Serving) -> None:
    tls, words, endless = b"\x16\x03\x01\x02\x00\x01\x00", b"hello\r\n\r\n", HEALTH[:-2] + b"A: " + b"a" * 100_000
    for sent in (tls, words, endless):
        client = await Client.connect(server)
        await client.send(sent)
        assert "the request is not HTTP/1.1" in await refused(client, 400)


async def test_an_upgrade_is_not_taken(server: Serving) -> None:
    client = await Client.connect(server)
    await client.send(request("GET", "/healthz", Connection="Upgrade, close", Upgrade="websocket"))
    ((status, _),) = await client.answers()
    assert status == 200


async def test_a_body_that_is_too_long_is_refused_before_it_is_there(server: Serving) -> None:
    async with httpx.AsyncClient() as client:
        answer = await client.post(f"{server.address}/v1/events", content=b"x" * 300_000)
        failure_of(answer, 413)
    client = await Client.connect(server)
    await client.send(
        b"POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 900000000\r\n\r\n" + b"x" * 300_000
    )
    ((status, _),) = await client.answers()
    assert status == 413


async def test_one_connection_too_many_is_told_so(flooded: Database) -> None:
    """Those beyond the limit are answered, without being heard; those beyond twice of it are not."""
    async with serving(flooded, replace(DEFAULT, connections=2)) as server:
        served = [await Client.connect(server) for _ in range(2)]
        beyond = [await Client.connect(server) for _ in range(2)]
        await beyond[1].send(HEALTH)
        assert "has too many connections" in await refused(beyond[1], 503)
        again = await Client.connect(server)
        assert await (await Client.connect(server)).answers() == []
        await served[1].send(HEALTH)
        assert b"200 OK" in await served[1].reader.readline()
        for client in (*served, beyond[0], again):
            client.leave()
        await server.until_left()
        client = await Client.connect(server)
        await client.send(HEALTH)
        assert b"200 OK" in await client.reader.readline()
        client.leave()


async def drop(client: Client, data: bytes) -> None:
    """A byte at a time, until the other side has enough of it."""
    for place in range(len(data)):
        try:
            await client.send(data[place : place + 1])
        except ConnectionError:
            return
        if client.reader.at_eof() or client.writer.is_closing():
            return
        await asyncio.sleep(0.02)


async def test_an_answer_waits_for_no_acknowledgement(server: Serving) -> None:
    """Its head and its body are two writes: without TCP_NODELAY the second one waits 40 ms on many clients."""
    client = await Client.connect(server)
    await eventually(lambda: asyncio.sleep(0, bool(server.server.server_state.connections)), "the connection")
    for connection in server.server.server_state.connections:
        taken = connection.transport.get_extra_info("socket")  # type: ignore[union-attr]
        assert taken.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    client.leave()
