"""Whatever looks works on a streaming standby, in every queue; what writes is refused in words, and nothing is."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
import httpx
import pytest
from beds import Bed, every_bed
from beds.procrastinate import Procrastinate
from test_entrances_of_others import cli

from patience import eventually
from secateur.api import create_api
from secateur.cel import compile as compile_filter
from secateur.cel.authoring.explain import explain
from secateur.engines import upkeep
from secateur.engines.base import Selection, Verdict
from secateur.engines.foreign.gating import GateKeeper, can_gate
from secateur.engines.foreign.installing import install_queue
from secateur.engines.listing import list_queues
from secateur.engines.loading import find_installation, find_queues, open_engine
from secateur.errors import ReadOnly
from secateur.ledger import sweeping
from secateur.looking.listing import read_search
from secateur.open_queue import OpenQueue
from secateur.postgres.database import Database
from secateur.requests import CancellationRequest
from secateur.runs import Scope, Window
from secateur.schema import install
from servers import Pair, streaming

pytestmark = pytest.mark.timeout(300)

USUAL = list({kind.engine: kind for kind in reversed(every_bed())}.values())
ACME = "event.data.vendor == 'acme'"
DEMANDING = "int(event.data.code) % 2 == 1"
"""Its SQL calls a helper function. Where none is installed, the rows are streamed."""
PAYLOADS = [{"number": n, "vendor": ("acme", "globex")[n % 2], "code": str(n)} for n in range(12)]


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with streaming() as pair:
        yield pair


async def new_database(pair: Pair, name: str) -> tuple[str, str]:
    """On the primary, and as the standby has it."""
    connection = await asyncpg.connect(pair.primary.url)
    await connection.execute(f"create database {name}")
    await connection.close()
    return pair.primary.database_url(name), pair.standby.database_url(name)


async def looked(database: Database, name: str) -> OpenQueue:
    """The queue, after everything that looks has worked."""
    queue = OpenQueue.over(await open_engine(database, name=name))
    reader = queue.reader
    depths = await reader.depth()
    [app] = {each.app_id for each in depths}
    assert sum(each.queued for each in depths) == len(PAYLOADS)
    for condition in (ACME, DEMANDING):
        request = CancellationRequest.parse({"app_id": app, "if": condition})
        preview = await reader.counter.preview(request)
        assert (preview.count.matched, preview.count.errors) == (6, 0), condition
        assert len([run async for run in reader.stream(request)]) == 6
        selection = Selection(Scope(app), Window(), compile_filter(condition))
        assert len(await queue.cancellations.engine.examples(selection, Verdict.MATCH, 3)) == 3
    page = await reader.runs(read_search(app, None, status="queued", limit=5))
    run = await reader.run(page[0].id)
    assert (run.id, run.app_id) == (page[0].id, app)
    assert explain(compile_filter(ACME), run, await reader.clock()).value in (True, False)
    assert (await reader.shape(Scope(app))).fields
    assert (await reader.suggest(Scope(app))).fields
    assert (await reader.blast_radius(Scope(app), compile_filter(ACME))).fields
    return queue


@pytest.mark.parametrize("kind", USUAL, ids=lambda kind: kind.__name__)
async def test_a_queue_of_others(kind: type[Bed], pair: Pair) -> None:
    if kind.missing is not None:
        pytest.skip(kind.missing)
    url, copy = await new_database(pair, f"of_{kind.__name__.lower()}")
    bed = kind(url)
    await bed.install()
    await bed.enqueue(PAYLOADS)
    await pair.until_followed()
    async with Database.connect(url) as primary, Database.connect(copy) as standby:
        [found] = await find_queues(standby)
        await looked(standby, found.name)
        here = await find_installation(primary, found.name)
        await install_queue(primary, here, author="tester")
        await pair.until_followed()
        queue = await looked(standby, found.name)
        [listed] = await list_queues(standby)
        assert listed.capabilities.watch
        assert "nothing can be cancelled by this standby" in listed.missing
        [app] = {each.app_id for each in await queue.reader.depth()}
        request = CancellationRequest.parse({"app_id": app, "if": ACME})
        page = await queue.reader.runs(read_search(app, None, status="queued", limit=1))
        made = await OpenQueue.over(await open_engine(primary, name=found.name)).cancellations.commit(
            request, author="tester", source="python"
        )
        await pair.until_followed()
        assert [each.id for each in await queue.cancellations.list()] == [made.id]
        for write in (
            queue.cancellations.commit(request, author="tester", source="python"),
            queue.cancellations.cancel_run(page[0].id, author="tester", source="python"),
            queue.cancellations.stop(made.id, author="tester"),
            queue.cancellations.undo(made.id, author="tester"),
            queue.maintenance.prune(),
        ):
            with pytest.raises(ReadOnly):
                await write
        if can_gate(here):
            with pytest.raises(ReadOnly):
                await GateKeeper(standby, await find_installation(standby, found.name)).install("tester")


@pytest.fixture
async def both(pair: Pair, request: pytest.FixtureRequest) -> tuple[str, str, UUID]:
    """secateur's own queue and another one, with a cancellation whose window is open, on both servers."""
    if Procrastinate.missing is not None:
        pytest.skip(Procrastinate.missing)
    url, copy = await new_database(pair, f"both_{request.node.name}")
    bed = Procrastinate(url)
    await bed.install()
    await bed.enqueue(PAYLOADS)
    async with Database.connect(url) as database:
        await install(database)
        await install_queue(database, await find_installation(database, "procrastinate"), author="tester")
        for payload in PAYLOADS:
            await database.execute(
                "select secateur.enqueue('billing', 'sync', jsonb_build_object('data', $1::jsonb))", json.dumps(payload)
            )
        queue = OpenQueue.over(await open_engine(database))
        end = (datetime.now(UTC) + timedelta(hours=2)).isoformat()
        wanted = CancellationRequest.parse({"app_id": "billing", "if": ACME, "started_before": end, "standing": True})
        made = await queue.cancellations.commit(wanted, author="tester", source="python")
    await pair.until_followed()
    return url, copy, made.id


LOOKS = (
    ("engines",),
    ("depth",),
    ("preview", "--app", "billing", "--if", ACME),
    ("preview", "--app", "default", "--if", DEMANDING),
    ("suggest", "--app", "default"),
    ("runs", "--app", "billing", "--status", "queued"),
    ("export", "--app", "default", "--if", ACME),
    ("history",),
    ("audit",),
)
WRITES = (
    ("cancel", "--app", "billing", "--yes"),
    ("cancel", "--app", "default", "--yes"),
    ("stop", "ID"),
    ("undo", "ID", "--yes"),
    ("retry", "--app", "billing", "--yes"),
    ("pause", "billing", "--yes"),
    ("forget", "billing", "--yes"),
    ("enqueue", "billing", "sync", "--data", "{}"),
    ("retention", "--finished", "3d", "--yes"),
    ("gate", "install", "--engine", "procrastinate"),
    ("token", "create", "ci", "--scope", "viewer"),
)


async def test_commands(both: tuple[str, str, UUID]) -> None:
    url, copy, made = both
    for command in LOOKS:
        assert await asyncio.to_thread(cli, copy, *command), command
    for command in WRITES:
        given = [str(made) if each == "ID" else each for each in command]
        said = await asyncio.to_thread(cli, copy, *given, code=2)
        assert "read-only" in said or "standby" in said, command
    async with Database.connect(url) as database:
        queue = OpenQueue.over(await open_engine(database))
        assert [each.id for each in await queue.cancellations.list()] == [made]


async def test_a_server(
    both: tuple[str, str, UUID], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It answers, and its background work waits: for it there is nothing to do on a standby, and no trouble."""
    rounds = []
    monkeypatch.setattr(upkeep, "STANDBY_SECONDS", 0.05)
    monkeypatch.setattr(sweeping, "STANDBY_SECONDS", 0.05)
    monkeypatch.setattr(upkeep, "PRUNE_SECONDS", 0.05)
    caplog.set_level(logging.WARNING)
    async with Database.connect(both[1]) as database:
        queue = OpenQueue.over(await open_engine(database))
        prune = queue.maintenance.prune

        async def noted() -> float:
            rounds.append(1)
            return await prune()

        monkeypatch.setattr(type(queue.maintenance), "prune", lambda self: noted())
        api = create_api(queue, author="server", database=database)
        transport = httpx.ASGITransport(api, raise_app_exceptions=False)
        async with (
            api.router.lifespan_context(api),
            httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8484") as client,
        ):

            async def tried() -> bool:
                return len(rounds) > 2

            await eventually(tried, "the upkeep to be tried again")
            assert (await client.get("/healthz")).json()["data"] == {"status": "ok", "problems": []}
            assert len((await client.get("/v1/queues")).json()["data"]) == 2
            refused = await client.post("/v1/cancellations", json={"app_id": "billing"})
            assert (refused.status_code, "read-only" in refused.json()["error"]) == (403, True)
    assert "crashed" not in caplog.text
