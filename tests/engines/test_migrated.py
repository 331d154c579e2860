"""Queues whose package is brought up to date with gate and ledger in place: both go on, and are not in its way."""

from __future__ import annotations

from importlib.resources import files

import asyncpg
import pytest
from beds import RAN, Bed
from beds.graphile_worker import GraphileWorker, GraphileWorkerBefore
from beds.pgboss import PgBossEleven, PgBossElsewhere
from beds.procrastinate import Procrastinate

from patience import eventually
from secateur.engines.foreign.gating import GateKeeper, GateState
from secateur.engines.foreign.installing import install_queue
from secateur.engines.loading import find_installation, find_queues, open_engine
from secateur.open_queue import OpenQueue
from secateur.postgres.database import Database
from secateur.requests import CancellationRequest

pytestmark = pytest.mark.timeout(300)

LAST = "03.02.00"
"""The release of procrastinate that its database is of before."""


class ProcrastinateBefore(Procrastinate):
    """Its migrations come with the package, for people to apply by hand."""

    async def install(self) -> None:
        await migrate(self.url, RAN, *(sql for release, sql in releases() if release <= LAST))


class ProcrastinateAfter(Procrastinate):
    async def install(self) -> None:
        await migrate(self.url, *(sql for release, sql in releases() if release > LAST))


def releases() -> list[tuple[str, str]]:
    found = files("procrastinate.sql").joinpath("migrations").iterdir()
    return sorted((path.name[:8], path.read_text(encoding="utf-8")) for path in found if path.name.endswith(".sql"))


async def migrate(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url)
    for sql in statements:
        await connection.execute(sql)
    await connection.close()


@pytest.mark.parametrize(
    ("before_kind", "after_kind"),
    [
        (ProcrastinateBefore, ProcrastinateAfter),
        (GraphileWorkerBefore, GraphileWorker),
        (PgBossEleven, PgBossElsewhere),
    ],
    ids=lambda kind: kind.engine,
)
async def test_the_gate_and_the_ledger_outlive_a_migration(
    request: pytest.FixtureRequest, empty_database_url: str, before_kind: type[Bed], after_kind: type[Bed]
) -> None:
    if request.node.callspec.params["postgres_server"] != "embedded":
        pytest.skip("a migration is the same on every Postgres")
    for kind in (before_kind, after_kind):
        if kind.missing is not None:
            pytest.skip(str(kind.missing))
    before, after = before_kind(empty_database_url), after_kind(empty_database_url)
    async with Database.connect(empty_database_url) as database:
        await before.install()
        [name] = [each.name for each in await find_queues(database) if each.engine == before.engine]
        old = await find_installation(database, name)
        await install_queue(database, old, author="tester")
        assert (await GateKeeper(database, old).install("tester")).state is GateState.ON
        await before.enqueue([{"number": number, "vendor": "acme" if number < 3 else "globex"} for number in range(6)])
        engine = await open_engine(database, name=name)
        [app] = {each.app_id for each in await engine.depth()}
        wanted = CancellationRequest.parse({"app_id": app, "if": "event.data.vendor == 'acme'"})
        cancellation = await OpenQueue.over(engine).cancellations.commit(wanted, author="tester", source="python")
        await after.install()
        new = await find_installation(database, name)
        assert new.version != old.version
        found = await GateKeeper(database, new).check()
        assert found.problems == (f"it was made for {old.version}, and the engine is {new.version} now",)

        async def ended(numbers: set[int]) -> bool:
            rows = await database.fetch("select number from bed_ran where what = 'end'")
            return {row["number"] for row in rows} == numbers

        async with after.worker():
            await eventually(lambda: ended({3, 4, 5}), "the others to run")
        assert (await GateKeeper(database, new).install("tester")).state is GateState.ON
        queue = OpenQueue.over(await open_engine(database, name=name))
        assert (await queue.cancellations.wait(cancellation.id)).cancelled == 3
        await queue.cancellations.undo(cancellation.id, author="tester")
        assert (await queue.cancellations.wait(cancellation.id)).restored == 3
        async with after.worker():
            await eventually(lambda: ended(set(range(6))), "what came back to run")
        assert await database.fetchval("select count(*) from bed_ran where what = 'start'") == 6
