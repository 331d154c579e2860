"""Runs of a queue of others are cancelled and come back at every entrance, and beside secateur's own queue."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx
import pytest
from beds.procrastinate import Procrastinate
from beds.river import River
from layers import queue_of

from nursery import start
from secateur.api import create_api
from secateur.engines.foreign.installing import install_queue
from secateur.engines.loading import find_installation, open_engine
from secateur.errors import Unsupported
from secateur.looking.listing import read_search
from secateur.metrics.queues import QueueMetrics
from secateur.open_queue import OpenQueue
from secateur.postgres.database import Database
from secateur.requests import CancellationRequest
from servers import YOUNG_SECONDS, Server, with_schema

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(Procrastinate.missing is not None, reason=str(Procrastinate.missing)),
]

ACME = "event.data.vendor == 'acme'"
PAYLOADS = [{"number": n, "vendor": "acme" if n % 3 == 0 else "globex"} for n in range(30)]


def cli(url: str, *arguments: str, code: int = 0) -> str:
    with start(
        [sys.executable, "-m", "secateur.cli", *arguments, "--database", url],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "SECATEUR_AUTHOR": "nadia"},
    ) as process:
        said = "".join(process.communicate())
    assert process.returncode == code, said
    return said


@pytest.fixture
def url(postgres_servers: Callable[[str], Server]) -> Iterator[str]:
    yield from postgres_servers("embedded").borrow(with_schema, queue_of(Procrastinate), _enqueue, youth=YOUNG_SECONDS)


async def _enqueue(url: str) -> None:
    await Procrastinate(url).enqueue(PAYLOADS)


def test_the_command_line(url: str) -> None:
    of = ("--engine", "procrastinate")
    scope = ("--app", "default", "--if", ACME, *of)
    [told] = [each for each in json.loads(cli(url, "engines", "--json")) if each["name"] == "procrastinate"]
    assert not told["capabilities"]["cancel"]
    [missing] = told["missing"]
    assert missing.startswith("to cancel runs: secateur install ")
    assert missing.endswith(" --engine procrastinate")
    refused = cli(url, "cancel", *scope, "--yes", code=2)
    assert "--engine procrastinate`" in refused
    assert "To be installed for the queue procrastinate" in cli(url, "install", "--check", *of, code=1)
    assert "Installed for the queue procrastinate" in cli(url, "install", *of)
    assert "already up to date" in cli(url, "install", *of)
    cli(url, "install", "--check", *of)
    [told] = [each for each in json.loads(cli(url, "engines", "--json")) if each["name"] == "procrastinate"]
    able = {"watch", "filter", "cancel", "stop_running", "undo"}
    assert {name for name, can in told["capabilities"].items() if can} == able
    assert not [each for each in told["missing"] if "secateur gate" not in each]

    out = cli(url, "cancel", *scope, "--yes", "--count")
    assert "What is not reached yet may still start" in out
    assert "10 runs of default / every function cancelled" in out
    [listed] = json.loads(cli(url, "history", *of, "--json"))
    assert (listed["app_id"], listed["guarantee"], listed["state"]) == ("default", "swept", "complete")
    assert listed["compiled"] == "verified"
    assert "none of its runs is left" in cli(url, "show", listed["id"], *of)
    undone = json.loads(cli(url, "undo", listed["id"], "--yes", "--json", *of))
    assert (undone["counts"]["restored"], undone["unrestored"]) == (10, [])
    listed = cli(url, "runs", "--app", "default", "--status", "queued", "--limit", "1", "--json", *of)
    [run] = json.loads(listed.splitlines()[0])
    assert "it will not start" in cli(url, "cancel-run", run["id"], "--yes", *of)
    assert "waits again" in cli(url, "restore-run", run["id"], *of)
    actions = [each["action"] for each in json.loads(cli(url, "audit", "--json", *of))]
    assert actions == ["restore", "undo", "commit"] * 2 + ["install"]


async def test_over_http(url: str) -> None:
    async with Database.connect(url) as database:
        await install_queue(database, await find_installation(database, "procrastinate"))
        queue = OpenQueue.over(await open_engine(database, name="procrastinate"))
        api = create_api(queue, author="server", database=database)
        transport = httpx.ASGITransport(app=api, raise_app_exceptions=False)
        async with (
            api.router.lifespan_context(api),
            httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8484") as client,
        ):
            listed = (await client.get("/v1/engines")).json()["data"]
            # What a command tells to do names its database.
            told = json.loads(await asyncio.to_thread(cli, url, "engines", "--json"))
            assert [each | {"missing": 0} for each in listed] == [each | {"missing": 0} for each in told]
            assert [len(each["missing"]) for each in listed] == [len(each["missing"]) for each in told] == [1]
            assert [each["name"] for each in listed] == ["procrastinate"]
            asked = {"app_id": "default", "if": ACME}
            answer = await client.post("/v1/cancellations", json=asked, headers={"Idempotency-Key": "one"})
            assert answer.status_code == 201, answer.text
            made = answer.json()["data"]
            assert made["guarantee"] == "swept"
            again = await client.post("/v1/cancellations", json=asked, headers={"Idempotency-Key": "one"})
            assert again.json()["data"]["id"] == made["id"]
            await queue.cancellations.wait(made["id"])
            shown = (await client.get(f"/v1/cancellations/{made['id']}")).json()["data"]
            assert (shown["state"], shown["counts"]["cancelled"]) == ("complete", 10)
            undone = await client.post(f"/v1/cancellations/{made['id']}/undo")
            assert undone.json()["data"]["state"] == "undone"
            await queue.cancellations.wait(made["id"])
            shown = (await client.get(f"/v1/cancellations/{made['id']}")).json()["data"]
            assert shown["counts"]["restored"] == 10


async def test_metrics_before_anything_is_installed_and_after(url: str) -> None:
    async with Database.connect(url) as database:
        queue = OpenQueue.over(await open_engine(database, name="procrastinate"))
        text = (await QueueMetrics(queue).scrape(""))[0].decode()
        assert re.search(r'^secateur_runs{app="default",function="[^"]+",status="queued"} 30.0$', text, re.MULTILINE)
        assert "secateur_cancellations" not in text
        assert "secateur_runs_entered_total{" not in text
        await install_queue(database, await find_installation(database, "procrastinate"))
        queue = OpenQueue.over(await open_engine(database, name="procrastinate"))
        await queue.cancellations.commit(
            CancellationRequest.parse({"app_id": "default", "if": ACME}), author="nadia", source="api"
        )
        text = (await QueueMetrics(queue).scrape(""))[0].decode()
        assert 'secateur_cancellations{state="active"} 1.0' in text


@pytest.fixture
async def together(url: str) -> AsyncIterator[OpenQueue]:
    """secateur's own queue, procrastinate's that is installed, and River's that is not."""
    river = River(url)
    await river.install()
    await river.enqueue(PAYLOADS, queue="mail")
    async with Database.connect(url) as database:
        await database.execute(
            "select secateur.enqueue('billing', 'sync', jsonb_build_object('data', jsonb_build_object("
            "'vendor', 'acme'))) from generate_series(1, 5)"
        )
        await install_queue(database, await find_installation(database, "procrastinate"))
        yield OpenQueue.over(await open_engine(database))


@pytest.mark.skipif(River.missing is not None, reason=str(River.missing))
async def test_several_queues_have_one_ledger(together: OpenQueue) -> None:
    cancellations = together.cancellations
    metrics = (await QueueMetrics(together).scrape(""))[0].decode()
    for app in ("billing", "procrastinate/default", "river/mail"):
        assert f'secateur_runs{{app="{app}",' in metrics
    who: dict[str, Any] = {"author": "tester", "source": "python"}
    names = {"billing": 5, "procrastinate/default": 10}
    committed = []
    for app, many in names.items():
        request = CancellationRequest.parse({"app_id": app, "if": ACME})
        made = await cancellations.commit(request, **who, idempotency_key="same")
        over = await cancellations.wait(made.id)
        assert (over.app_id, over.state, over.cancelled) == (app, "complete", many)
        assert over.request["app_id"] == app
        assert over.guarantee == ("in_force" if app == "billing" else "swept")
        assert cancellations.is_gated(app) is (app == "billing")
        committed.append(made.id)
    with pytest.raises(Unsupported, match="--engine river"):
        await cancellations.commit(CancellationRequest.parse({"app_id": "river/mail"}), **who)
    assert [each.id for each in await cancellations.list()] == committed[::-1]
    assert [each.id for each in await cancellations.list(1, before=committed[1])] == committed[:1]
    assert {each.app_id for each in await cancellations.audit() if each.action == "commit"} == names.keys()
    for id, many in zip(committed, names.values(), strict=True):
        await cancellations.undo(id, author="tester")
        assert (await cancellations.wait(id)).restored == many
    assert (await cancellations.activity()).in_force == ()
    [waiting] = await together.reader.runs(read_search("procrastinate/default", None, status="queued", limit=1))
    single = await cancellations.cancel_run(waiting.id, **who)
    assert single.run_id == waiting.id
    assert (await together.reader.run(waiting.id)).cancellation_id == str(single.id)
    assert (await cancellations.restore_run(waiting.id, **who)).restored == 1
