"""Postgres is killed while a claim gate is in place."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest
from beds.procrastinate import Procrastinate
from test_gates import commit, gated, jobs

from patience import eventually
from secateur.engines.foreign.gating import GateKeeper, GateState
from secateur.engines.loading import find_installation
from secateur.postgres.database import Database
from secateur.postgres.embedded import EmbeddedPostgres
from servers import kill_everything

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(Procrastinate.missing is not None, reason=str(Procrastinate.missing)),
]


async def test_it_stands_when_postgres_was_killed() -> None:
    """With a gate in place and a commit that nobody has swept."""
    with EmbeddedPostgres(settings={"track_commit_timestamp": "on"}) as postgres:
        bed = Procrastinate(postgres.url)
        await bed.install()
        async with Database.connect(bed.url) as database:
            await gated(database)
            await bed.enqueue(jobs(30))
            _, cancellation = await commit(database)
            assert cancellation.guarantee == "in_force"
        with suppress(AssertionError):  # a worker may end with its server
            async with bed.worker():
                await asyncio.to_thread(kill_everything, postgres)
                await asyncio.to_thread(postgres.start)
        async with Database.connect(bed.url) as database:
            keeper = GateKeeper(database, await find_installation(database, "procrastinate"))
            assert (await keeper.check()).state is GateState.ON
            async with bed.worker():

                async def others_ran() -> bool:
                    left = "select count(*) from procrastinate_jobs where status = 'todo'"
                    return await database.fetchval(left) == 0

                await eventually(others_ran, "nothing to wait")
            ran = {row["number"] for row in await database.fetch("select number from bed_ran")}
            assert ran & {number for number in range(30) if number % 3 == 0} == set()
            assert await database.fetchval("select count(*) from secateur.preimages") == 10
