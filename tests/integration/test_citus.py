"""The queue on a Citus cluster, distributed by app as docs/citus.sql does it. Runs where Citus is installed."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from datetime import timedelta
from uuid import UUID

import pytest
from citus_cluster import Cluster, citus_binaries, running_cluster
from workers import eventually, working

from secateur import ActiveRun, App, Queue, connect
from secateur.errors import DatabaseError
from secateur.postgres.database import Database
from secateur.runs import RunStatus
from secateur.schema import install

BINARIES = citus_binaries()
APPS = [f"app-{n}" for n in range(8)]

pytestmark = [
    pytest.mark.skipif(BINARIES is None, reason="no Postgres with Citus on this machine"),
    pytest.mark.timeout(300),
]


@pytest.fixture(scope="module")
def bare_cluster() -> Iterator[Cluster]:
    assert BINARIES is not None
    with running_cluster(BINARIES) as cluster:
        yield cluster


@pytest.fixture
async def cluster(bare_cluster: Cluster) -> Cluster:
    """Installed and distributed."""
    async with Database.connect(bare_cluster.coordinator.url) as database:
        if await install(database):
            bare_cluster.distribute()
    return bare_cluster


def orders(count: int, vendor: str = "acme") -> list[dict[str, object]]:
    return [{"name": "order.placed", "data": {"n": n, "vendor": vendor}} for n in range(count)]


async def test_an_app_lies_on_one_node_and_the_apps_on_both(cluster: Cluster) -> None:
    for app_id in APPS:
        async with connect(cluster.node_of(app_id).url) as queue:
            await queue.enqueue_many(app_id, "charge", orders(5))
    nodes = {app_id: cluster.node_of(app_id) for app_id in APPS}
    assert set(nodes.values()) == set(cluster.workers.values())
    found = cluster.run("select count(distinct app_id), count(*) from secateur.runs where function_id = 'charge'")
    assert found == f"{len(APPS)}|{5 * len(APPS)}"
    # Every table of the schema is somewhere, and what belongs to apps lies as the apps do.
    undistributed = "not exists (select from pg_dist_partition as known where known.logicalrelid = pg_class.oid)"
    assert cluster.run(f"select count(*) from pg_class where {_TABLES} and {undistributed}") == "0"
    assert cluster.run("select count(distinct colocationid) from pg_dist_partition where partmethod = 'h'") == "1"


_TABLES = "relnamespace = 'secateur'::regnamespace and relkind = 'r'"


async def test_the_script_can_be_run_again_and_an_upgrade_reaches_every_node(cluster: Cluster) -> None:
    cluster.distribute()
    cluster.run("delete from secateur.migrations where name = 'pruning.sql'")
    async with Database.connect(cluster.coordinator.url) as database:
        assert "pruning.sql" in await install(database)
    cluster.distribute()
    audited = cluster.run("select count(*) from secateur.audit where action = 'install' and app_id = ''")
    assert int(audited) >= 2
    for node in cluster.workers.values():
        assert cluster.run("select count(*) from pg_proc where proname = 'prune'", on=node) == "1"


@pytest.mark.parametrize("app_id", ["billing", "mail"])
async def test_the_whole_story_on_the_apps_node(cluster: Cluster, app_id: str) -> None:
    app = App(app_id)
    ended: list[ActiveRun] = []

    @app.function(id="charge", triggers=["order.placed"])
    async def charge(run: ActiveRun) -> None:
        await run.step("pay", _pay)
        ended.append(run)

    @app.function(id="ship", concurrency=2)
    async def ship(run: ActiveRun) -> None:
        ended.append(run)

    url = cluster.node_of(app_id).url
    async with connect(url) as queue:
        kept = await queue.enqueue_many(app_id, "charge", orders(60))
        assert await queue.enqueue_bulk(app_id, "charge", iter(orders(120, "flood"))) == 120
        await queue.enqueue_many(app_id, "ship", orders(6))
        again = {await queue.enqueue(app_id, "charge", {"n": 1}, idempotency_key="one") for _ in range(2)}
        assert len(again) == 1

        cancelled = await queue.cancel(
            {"app_id": app_id, "function_id": "charge", "if": "event.data.vendor == 'flood'"}, wait=True
        )
        assert (cancelled.state, cancelled.guarantee, cancelled.cancelled) == ("complete", "in_force", 120)
        undone = await queue.undo(cancelled.id, wait=True)
        assert (undone.state, undone.restored, undone.not_restored) == ("undone", 120, 0)
        stopped = await queue.cancel({"app_id": app_id, "if": "event.data.n == 37"})
        await queue.stop(stopped.id)
        single = await queue.cancel_run(kept[0])
        assert single.state == "complete"
        await queue.restore_run(kept[0])
        await queue.pause(app_id, "ship")
        await queue.resume(app_id, "ship")

        waiting = 60 + 120 + 6 + 1 - (await queue.show(stopped.id)).cancelled
        async with working(url, app, concurrency=20):
            await eventually(lambda: _all(len(ended), waiting))
            await eventually(lambda: _is_empty(cluster, app_id))
        assert (await queue.get(kept[5])).status == RunStatus.COMPLETED
        sent = await queue.send({"name": "order.placed", "data": {}})
        assert [run.app_id for run in sent.runs if run.app_id == app_id]
        check = await queue.engine.check_depth(timedelta(0))
        assert check is not None
        assert check.drift == 0
        assert {entry.action for entry in await queue.audit(50)} >= {"commit", "undo", "restore", "stop", "pause"}


async def _pay() -> str:
    return "paid"


async def _all(have: int, wanted: int) -> bool:
    return have >= wanted


async def _is_empty(cluster: Cluster, app_id: str) -> bool:
    left = (
        f"select count(*) from secateur.runs where app_id = '{app_id}' and status in ('queued', 'scheduled', 'running')"
    )
    return cluster.run(left) == "0"


async def test_a_call_by_another_node_goes_to_the_apps_node_or_is_refused(cluster: Cluster) -> None:
    async with connect(cluster.node_of("far").url) as queue:
        (run_id,) = await queue.enqueue_many("far", "charge", orders(1))
    other = next(node for node in cluster.workers.values() if node is not cluster.node_of("far"))
    for node in (cluster.coordinator, other):
        async with connect(node.url) as queue:
            # A call by itself is sent on.
            cancelled = await queue.cancel({"app_id": "far", "if": "event.data.n == 0"}, wait=True)
            assert (cancelled.guarantee, cancelled.cancelled) == ("in_force", 1)
            undone = await queue.undo(cancelled.id, wait=True)
            assert undone.restored == 1
            # One within another statement or transaction is not, and must not take a lock that decides nothing here.
            for call in (
                "select count(*) from secateur.claim('far', null, 1, 'w', '1 minute')",
                "select count(*) from secateur.enqueue_many('far', 'charge', array[jsonb '{}'])",
                "select secateur.pause('far', null, 'me', 'cli') from (values (1)) as one",
            ):
                with pytest.raises(DatabaseError, match="the rows of app 'far' are on another server"):
                    await queue.database.execute(f"begin; {call}; commit")
                await queue.database.execute("rollback")
    async with connect(cluster.node_of("far").url) as queue:
        assert (await queue.get(run_id)).status == RunStatus.QUEUED


async def test_no_claim_that_begins_after_a_commit_gets_a_matching_run(cluster: Cluster) -> None:
    """Claims at the app's node, commits by the coordinator."""
    node = cluster.node_of("race")
    chance = random.Random(7)
    forbidden: set[str] = set()
    wrong: list[str] = []
    asked = claimed = 0

    async def claim() -> None:
        nonlocal claimed, asked
        async with Database.connect(node.url, max_size=1) as database:
            while not done.is_set():
                before = set(forbidden)
                rows = await database.fetch("select * from secateur.claim('race', null, 3, 'racer', '1 minute')")
                asked += 1
                claimed += len(rows)
                wrong.extend(vendor for row in rows for vendor in before if f'"vendor": "{vendor}"' in row["event"])

    async with connect(node.url) as near, connect(cluster.coordinator.url) as far:
        for vendor in range(30):
            await near.enqueue_many("race", f"f{vendor % 3}", orders(30, f"v{vendor}"))
        done = asyncio.Event()
        claimers = [asyncio.create_task(claim()) for _ in range(4)]
        vendors = [f"v{n}" for n in range(30)]
        chance.shuffle(vendors)
        for vendor in vendors:
            committed = await far.cancel({"app_id": "race", "if": f"event.data.vendor == '{vendor}'"})
            assert committed.guarantee == "in_force"
            forbidden.add(vendor)
        before = asked

        async def asked_on() -> bool:
            return asked > before + 10 * len(claimers)

        await eventually(asked_on, "claims after the last commit")
        done.set()
        await asyncio.gather(*claimers)
    assert claimed
    assert not wrong


async def test_an_app_that_is_moved_takes_its_cancellations_along(cluster: Cluster) -> None:
    old = cluster.node_of("moved")
    new = next(node for node in cluster.workers.values() if node is not old)
    # So that transaction ids of the old node mean much later ones on the new.
    cluster.run("do $$ begin for i in 1 .. 3000 loop perform txid_current(); commit; end loop; end $$", on=old)
    async with connect(old.url) as queue:
        await queue.enqueue_many("moved", "charge", orders(3))
        (held,) = await queue.database.fetch("select * from secateur.claim('moved', null, 1, 'w', '1 hour')")
        cancelled = await queue.cancel({"app_id": "moved", "if": "event.data.vendor == 'acme'"})
        # The sweep has done what it can, and waits for the run that was asked to stop.
        await eventually(lambda: _is_idle(queue, cancelled.id))
    names = {node: name for name, node in cluster.workers.items()}
    # Citus copies each table as its owner.
    cluster.run(
        "alter role secateur_audit login",
        "grant create on schema secateur to secateur_audit",
        "select citus_move_shard_placement(get_shard_id_for_distribution_column('secateur.apps', 'moved'::text),"
        f" '{names[old]}', 5432, '{names[new]}', 5432, shard_transfer_mode => 'block_writes')",
        "revoke create on schema secateur from secateur_audit",
        "alter role secateur_audit nologin",
    )
    assert cluster.node_of("moved") is new
    async with connect(new.url) as queue:
        step = "select secateur.begin_step('moved', $1, $2, 'next')"
        assert not await queue.database.fetchval(step, held["id"], held["claim_token"])
        swept = await queue.cancellations.wait(cancelled.id)
        assert (swept.state, swept.cancelled) == ("complete", 3)


async def _is_idle(queue: Queue, cancellation_id: UUID) -> bool:
    return (await queue.engine.ledger.sweep("moved", cancellation_id, 100)).idle
