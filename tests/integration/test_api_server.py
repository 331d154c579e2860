"""`secateur serve` as a process: a real socket, the background sweep, and its end."""

from __future__ import annotations

import asyncio
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import httpx
import pytest
from api_client import server_process
from billing import ACME, CULPRIT
from command_line import run

from patience import PATIENCE, wait_for
from secateur.postgres.database import Database

FLOOD = {"app_id": "billing", "function_id": "vendor-syncs", "if": CULPRIT}

get = partial(httpx.get, timeout=PATIENCE)
post = partial(httpx.post, timeout=PATIENCE)


@pytest.fixture
def url(idle_url: str) -> str:
    return idle_url


def _answers(address: str) -> bool:
    try:
        return get(f"{address}/healthz").status_code == 200
    except httpx.TransportError:
        return False


def test_it_serves_sweeps_and_stops(url: str) -> None:
    with server_process(url) as (process, address):
        assert address.startswith("http://127.0.0.1:")
        committed = post(f"{address}/v1/cancellations", json=FLOOD).json()["data"]
        path = f"{address}/v1/cancellations/{committed['id']}"
        wait_for(lambda: get(path).json()["data"]["state"] == "complete", "the sweep")
        now = get(path).json()["data"]
        assert now["counts"]["cancelled"] == ACME - 1
        assert now["created_by"] == "nadia"
        process.send_signal(signal.SIGHUP)
        out, err = process.communicate(timeout=PATIENCE)
        assert (process.returncode, out, err) == (0, "", "")


def test_it_undoes_and_takes_names_as_they_were_escaped(url: str) -> None:
    async def register() -> None:
        async with Database.connect(url) as database:
            await database.execute("select secateur.register_function('billing', 'a/b', '{}', 4)")

    asyncio.run(register())
    with server_process(url) as (_, address):
        (paused,) = post(f"{address}/v1/queues/billing/a%2Fb/pause").json()["data"]
        assert (paused["function_id"], paused["paused"]) == ("a/b", True)
        assert post(f"{address}/v1/queues/billing/a/b/pause").status_code == 404
        committed = post(f"{address}/v1/cancellations", json=FLOOD).json()["data"]
        path = f"{address}/v1/cancellations/{committed['id']}"
        assert post(f"{path}/undo").json()["data"]["undone_by"] == "nadia"
        wait_for(lambda: not get(path).json()["data"]["restoring"], "the restore")
        now = get(path).json()["data"]
        assert now["counts"]["restored"] == now["counts"]["cancelled"]
        assert now["counts"]["not_restored"] == 0


def test_it_listens_on_loopback_only_and_says_when_the_port_is_taken(url: str) -> None:
    with server_process(url) as (_, address):
        port = int(address.rpartition(":")[2])
        elsewhere = _own_address()
        if elsewhere is not None:
            with pytest.raises(OSError, match="refused"):
                socket.create_connection((elsewhere, port), timeout=5).close()
        taken = run("serve", "--port", str(port), url=url)
        assert taken.code == 1
        assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in taken.err


def _own_address() -> str | None:
    """An address of this machine that is not the loopback's, if it has any."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return None
        address: str = probe.getsockname()[0]
    return None if address.startswith("127.") else address


def test_a_request_under_way_is_answered_before_it_ends(url: str) -> None:
    """A count that waits for a lock when the signal comes."""
    with server_process(url) as (process, address), _runs_locked(url) as release:
        answers: list[httpx.Response] = []
        path = f"{address}/v1/cancellations/preview"
        asking = threading.Thread(target=lambda: answers.append(post(path, json=FLOOD)))
        asking.start()
        wait_for(lambda: asyncio.run(_a_count_waits(url)), "the count to wait for the lock")
        process.send_signal(signal.SIGINT)
        wait_for(lambda: not _answers(address), "the server to listen no more")
        assert process.poll() is None
        release.set()
        asking.join(PATIENCE)
        assert [answer.status_code for answer in answers] == [200]
        assert process.wait(PATIENCE) == 0


async def _a_count_waits(url: str) -> bool:
    """For a lock; the server's sweepers may wait for it, too."""
    async with Database.connect(url) as database:
        return bool(
            await database.fetchval(
                "select exists (select from pg_stat_activity where datname = current_database()"
                " and wait_event_type = 'Lock' and query like '%pg_relation_size(%')"
            )
        )


@contextmanager
def _runs_locked(url: str) -> Iterator[threading.Event]:
    """Nobody reads the runs until the event is set."""
    release, held = threading.Event(), threading.Event()

    async def hold() -> None:
        async with Database.connect(url) as database, database.transaction() as connection:
            await connection.execute("lock table secateur.runs in access exclusive mode")
            held.set()
            await asyncio.to_thread(release.wait, PATIENCE)

    holder = threading.Thread(target=lambda: asyncio.run(hold()))
    holder.start()
    assert held.wait(PATIENCE)
    try:
        yield release
    finally:
        release.set()
        holder.join()


def test_a_read_only_server_refuses_and_leaves_the_sweep_to_others(url: str) -> None:
    assert run("cancel", "--app", "billing", "--if", CULPRIT, "--yes", url=url).code == 0
    with server_process(url, "--read-only") as (_, address):
        assert post(f"{address}/v1/cancellations/preview", json=FLOOD).status_code == 200
        refused = post(f"{address}/v1/cancellations", json=FLOOD)
        assert (refused.status_code, refused.json()["status"]) == (403, 403)
        (cancellation,) = get(f"{address}/v1/cancellations").json()["data"]
        assert (cancellation["state"], cancellation["counts"]["cancelled"]) == ("active", 0)
        with server_process(url):
            swept = f"{address}/v1/cancellations/{cancellation['id']}"
            wait_for(lambda: get(swept).json()["data"]["counts"]["cancelled"] == ACME - 1, "another one's sweep")
