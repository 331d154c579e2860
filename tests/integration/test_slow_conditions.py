"""Conditions that take long: whatever they cost, they hold up no other function, and can always be taken back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

import secateur
from patience import eventually
from secateur.engines.native.client import Queue
from secateur.errors import Conflict
from secateur.postgres.database import Database

THOUSAND = "'xxxxxxxxxx'.replace('x', 'yyyyyyyyyy').replace('y', '" + "az" * 10 + "').split('z')"
MILLION = "'xxxxxxxxxx'" + "".join(f".replace('{old}', '{new * 10}')" for old, new in ("xy", "yz", "zw", "wv", "vu"))
SLOW: dict[str, tuple[str, dict[str, Any]]] = {
    "two lists of the payload": (
        "event.data.t.exists(a, event.data.l.exists(b, a == b))",
        {"t": list(range(3000)), "l": list(range(10_000, 20_000))},
    ),
    "a list of skus that is long": (
        "event.data.items.exists(i, event.data.skus.exists(s, s == i.sku))",
        {"items": [{"sku": f"a{n}"} for n in range(2000)], "skus": [f"b{n}" for n in range(2000)]},
    ),
    "a text that is long": ("event.data.text.matches('(.*a){20}b')", {"text": "a" * 500_000}),
    "a text that is looked through for each element": (
        "event.data.l.exists(a, event.data.text.matches('(.*b){20}' ))",
        {"text": "a" * 20_000, "l": list(range(10_000))},
    ),
}


@pytest.fixture
async def queue(embedded_url: str) -> AsyncIterator[Queue]:
    async with secateur.connect(embedded_url) as queue:
        yield queue


async def put(queue: Queue, function: str, data: dict[str, Any], count: int) -> None:
    await queue.enqueue_many("billing", function, [{"name": "x", "data": data}] * count)


async def claims(url: str, count: int) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(url)
    try:
        sql = "select * from secateur.claim_batch('billing', null, 10, 'w', '1 hour')"
        return [run for _ in range(count) for run in await connection.fetch(sql) if run["id"]]
    finally:
        await connection.close()


@pytest.mark.parametrize("kind", SLOW)
async def test_it_holds_up_no_other_function_and_can_be_taken_back(embedded_url: str, queue: Queue, kind: str) -> None:
    condition, data = SLOW[kind]
    await put(queue, "slow", data, 8)
    await put(queue, "quick", {}, 40)
    request = {"app_id": "billing", "function_id": "slow", "if": condition}
    sweeping = asyncio.create_task(queue.cancellations.sweep_forever())
    try:
        committed = await queue.cancel(request)
        assert committed.guarantee == "in_force"
        claiming = asyncio.create_task(claims(embedded_url, 20))
        # While claims and sweeps evaluate it. Each would raise SC423 after five seconds.
        await queue.pause("billing", "slow")
        await queue.resume("billing", "slow")
        await queue.stop(committed.id)
        again = await queue.cancel(request)
        await queue.undo(again.id)
        granted = await claiming
    finally:
        sweeping.cancel()
    assert [run["function_id"] for run in granted].count("quick") == 40


async def test_what_is_undecided_is_neither_claimed_nor_cancelled(embedded_url: str, queue: Queue) -> None:
    condition, data = SLOW["two lists of the payload"]
    await put(queue, "slow", data, 3)
    await put(queue, "slow", {"t": [1], "l": [2]}, 3)
    await put(queue, "slow", {"t": [1], "l": [1]}, 3)
    committed = await queue.cancel({"app_id": "billing", "if": condition})
    granted: list[asyncpg.Record] = []

    async def all_but_the_slow() -> bool:
        """Of the others it is known at once, unless the machine has a lot to do."""
        granted.extend(await claims(embedded_url, 1))
        step = await queue.engine.ledger.sweep("billing", committed.id, 100)
        assert step.state == "active"
        await queue.engine.ledger.decide("billing", committed.id)
        shown = await queue.cancellations.get(committed.id)
        return (len(granted), shown.undecided, shown.cancelled) == (3, 3, 3)

    await eventually(all_but_the_slow, "three runs to be claimed and three to be cancelled")
    assert not await claims(embedded_url, 2)
    stopped = await queue.stop(committed.id)
    assert (stopped.undecided, stopped.cancelled) == (0, 3)
    assert len(await claims(embedded_url, 2)) == 3


async def test_what_takes_a_while_is_decided_in_the_background(embedded_url: str, queue: Queue) -> None:
    """Some match, some do not: all of it as if it had been quick."""
    skus = [f"b{n}" for n in range(250)]
    no = {"items": [{"sku": f"a{n}"} for n in range(250)], "skus": skus}
    yes = {"items": [*no["items"], {"sku": "b249"}], "skus": skus}
    await put(queue, "slow", no, 10)
    await put(queue, "slow", yes, 10)
    condition = "event.data.items.exists(i, event.data.skus.exists(s, s == i.sku))"
    committed = await queue.cancel({"app_id": "billing", "if": condition})
    granted = await claims(embedded_url, 3)
    done = await queue.cancellations.wait(committed.id)
    assert (done.state, done.cancelled, done.undecided) == ("complete", 10, 0)
    granted += await claims(embedded_url, 3)
    assert len(granted) == 10
    assert all("b249" not in json.dumps(json.loads(run["event"])["data"]["items"]) for run in granted)


async def test_a_running_run_that_is_undecided_goes_back(embedded_url: str, queue: Queue) -> None:
    condition, data = SLOW["two lists of the payload"]
    await put(queue, "slow", data, 1)
    (run,) = await claims(embedded_url, 1)
    committed = await queue.cancel({"app_id": "billing", "if": condition})
    begun = "select secateur.begin_step('billing', $1, $2, 'next')"
    assert not await queue.database.fetchval(begun, run["id"], run["claim_token"])
    assert (await queue.get(run["id"])).status == "queued"
    assert not await claims(embedded_url, 2)
    await queue.stop(committed.id)
    (again,) = await claims(embedded_url, 1)
    assert await queue.database.fetchval(begun, again["id"], again["claim_token"])


async def test_a_session_cannot_make_a_claim_wait_or_hurry(embedded_url: str, queue: Queue) -> None:
    """The deadline is the function's own, whatever a session has set."""
    await put(queue, "sync", {"v": 1}, 4)
    condition = "event.data.v > 0 && [1].exists(a, a == event.data.v)"
    committed = await queue.cancel({"app_id": "billing", "if": condition})
    async with Database.connect(embedded_url, max_size=1) as database:
        for deadline in ("1", "99999999999", "soon", ""):
            await database.execute(f"set secateur.deadline = '{deadline}'")
            assert not await database.fetch("select id from secateur.claim('billing', null, 1, 'w', '1 hour')")
            assert await database.fetchval("select current_setting('secateur.deadline')") == deadline
    # The deadlines of the session, past or none at all, were not the claims'.
    await queue.engine.ledger.decide("billing", committed.id)
    undecided = "select count(*) from secateur.slow_verdicts where verdict is null"
    assert await queue.database.fetchval(undecided) == 0


async def test_an_element_is_looked_for_in_a_list_as_it_stands(queue: Queue) -> None:
    """Like the macro, element by element: numbers by their worth, whatever they are written like."""
    sql = "select secateur_cel.in_v1($1::jsonb, $2::jsonb)"
    listed = '["json", ["a", 1, 2.5, 10000000000000000000000, true, null, [1], {"k": 1}]]'
    for element, expected in {
        '["string", "a"]': True,
        '["string", "1"]': False,
        '["json", 1]': True,
        '["json", 1.0]': True,
        '["uint", 1]': True,
        '["double", "2.5"]': True,
        '["double", "NaN"]': False,
        '["double", "1e22"]': True,
        '["bool", true]': True,
        '["bool", false]': False,
        '["null", null]': True,
        '["json", [1]]': True,
        '["json", {"k": 1}]': True,
        '["json", {"k": 2}]': False,
        '["timestamp", 1]': False,
    }.items():
        assert await queue.database.fetchval(sql, element, listed) is expected, element


async def test_an_app_has_so_many_active_cancellations_at_most(queue: Queue) -> None:
    await put(queue, "sync", {"v": 1}, 2)
    made = "select secateur.commit_cancellation(gen_random_uuid(), 'billing', 'sync', null, null, $1, true, null, '{}',"
    made += " 1, '{}', null, null, 'python', 'tester', null, null) from generate_series(1, $2)"
    until = await queue.database.fetchval("select now() + interval '1 hour'")
    await queue.database.execute(made, until, 199)
    last = await queue.cancel({"app_id": "billing", "if": "event.data.v == 2"})
    run_id = await queue.enqueue("billing", "sync", {"data": {}})
    with pytest.raises(Conflict, match="more than 200 active cancellations"):
        await queue.cancel({"app_id": "billing", "if": "event.data.v == 3"})
    assert (await queue.cancel_run(run_id)).state == "complete"
    await queue.stop(last.id)
    assert (await queue.cancel({"app_id": "billing", "if": "event.data.v == 3"})).guarantee == "in_force"
