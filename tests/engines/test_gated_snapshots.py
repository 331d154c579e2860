"""Claims that cannot see a commit: those in REPEATABLE READ and SERIALIZABLE, whose snapshot may be older."""

from __future__ import annotations

from typing import Any, Literal

import asyncpg
import pytest
from beds import Bed
from beds.dbos import Dbos
from beds.procrastinate import Procrastinate

from patience import eventually
from secateur.engines.foreign.engine import ForeignEngine
from secateur.engines.foreign.gating import GateKeeper
from secateur.engines.loading import open_engine
from secateur.open_queue import OpenQueue
from secateur.postgres.database import Database
from secateur.requests import CancellationRequest

pytestmark = pytest.mark.timeout(300)

CLAIM = {
    "procrastinate": "select id::text from procrastinate_fetch_job_v2(null, null) where id is not null",
    "dbos": "update dbos.workflow_status set status = 'PENDING' where status = 'ENQUEUED' returning workflow_uuid",
}


@pytest.fixture
async def engine(bed: Bed, keeper: GateKeeper, database: Database) -> ForeignEngine:
    engine = await open_engine(database, name=bed.engine)
    assert isinstance(engine, ForeignEngine)
    return engine


async def commit(engine: ForeignEngine) -> None:
    wanted = CancellationRequest.parse({"app_id": "default", "if": "event.data.vendor == 'acme'"})
    cancellation = await OpenQueue.over(engine).cancellations.commit(wanted, author="tester", source="python")
    assert cancellation.guarantee == "in_force"


def payload(number: int, vendor: str) -> dict[str, Any]:
    return {"number": number, "vendor": vendor}


@pytest.mark.parametrize("isolation", ["repeatable_read", "serializable"])
@pytest.mark.parametrize("bed", [Procrastinate, Dbos], indirect=True)
async def test_an_older_claim_leaves_the_job_alone_and_the_next_one_decides(
    bed: Bed,
    engine: ForeignEngine,
    outside: asyncpg.Connection,
    isolation: Literal["repeatable_read", "serializable"],
) -> None:
    [run] = await bed.enqueue([payload(1, "acme")])
    claiming = await asyncpg.connect(bed.url)  # type: ignore[attr-defined]
    async with claiming.transaction(isolation=isolation):
        await claiming.fetch("select pg_current_snapshot(), count(*) from pg_class")
        await commit(engine)
        assert await claiming.fetch(CLAIM[bed.engine]) == []
    assert (await engine.run(run)).status == "queued"
    assert await outside.fetchval("select count(*) from secateur.preimages") == 0
    async with claiming.transaction(isolation=isolation):
        assert await claiming.fetch(CLAIM[bed.engine]) == []
    assert (await engine.run(run)).status == "cancelled"
    assert await outside.fetchval("select count(*) from secateur.preimages where taken_by = 'gate'") == 1
    [other] = await bed.enqueue([payload(2, "globex")])
    async with claiming.transaction(isolation=isolation):
        assert [row[0] for row in await claiming.fetch(CLAIM[bed.engine])] == [other]
    await claiming.close()
    assert await outside.fetchval("select count(*) from secateur.gate_failures") == 0


@pytest.mark.parametrize("bed", [Dbos], indirect=True)
async def test_a_queue_with_a_shared_limit(bed: Dbos, engine: ForeignEngine, outside: asyncpg.Connection) -> None:
    """DBOS's own executor claims in REPEATABLE READ then."""
    await bed.enqueue([payload(number, "globex" if number % 3 else "acme") for number in range(12)])
    await commit(engine)
    others = {number for number in range(12) if number % 3}

    async def ran(what: str) -> set[int]:
        return {row["number"] for row in await outside.fetch("select number from bed_ran where what = $1", what)}

    async def others_ran() -> bool:
        return await ran("end") == others

    async with bed.worker(concurrency=2, limited=True):
        await eventually(others_ran, "the others to run")
    assert await ran("start") == others
    assert await outside.fetchval("select count(*) from secateur.preimages where taken_by = 'gate'") == 4
    assert await outside.fetchval("select count(*) from secateur.gate_failures") == 0
