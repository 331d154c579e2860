"""What an engine's file cancels, its own workers leave alone; what it puts back is as it was, and they run it once."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta
from typing import Any

import asyncpg
import pytest
from beds import Bed
from pruning import Pruning, pres_of
from rights import rights_of

from patience import eventually

pytestmark = pytest.mark.timeout(300)

HOUR = timedelta(hours=1)

MAKE_OPERATOR = """
do $$ begin create role secateur_operator; exception when duplicate_object then null; end $$
"""


async def send(bed: Bed) -> dict[str, int]:
    """Jobs of all kinds that wait: due ones and later ones, of both tasks. Their numbers by id."""
    sent: dict[str, int] = {}
    for task, queue, numbers, options in (
        ("sync", "default", range(6), {"priority": 2}),
        ("mail", "default", range(6, 10), {}),
        ("sync", "idle", range(10, 12), {}),
        ("sync", "default", range(12, 15), {"delay": HOUR}),
    ):
        payloads = [{"number": number, "text": f'größer "{number}" \\ \u2028'} for number in numbers]
        ids = await bed.enqueue(payloads, task=task, queue=queue, **options)
        sent |= dict(zip(ids, numbers, strict=True))
    return sent


async def test_an_undo_leaves_every_row_as_it_was(pruning: Pruning) -> None:
    sent = await send(pruning.bed)
    before = await pruning.rows()
    cancelled = await pruning.cancel(list(sent))
    assert cancelled.keys() == sent.keys()
    assert {row["running"] for row in cancelled.values()} == {False}
    path = pruning.bed.path
    assert {row["function_id"] for row in cancelled.values()} == {f"{path}sync", f"{path}mail"}
    # Some engines delete what they cancel.
    assert set((await pruning.statuses(list(sent))).values()) <= {"cancelled"}
    assert await pruning.rows() != before
    outcomes = await pruning.restore(pres_of(cancelled))
    assert outcomes == dict.fromkeys(sent)
    assert await pruning.rows() == before


async def test_its_worker_runs_neither_more_nor_less(pruning: Pruning) -> None:
    bed = pruning.bed
    sent = await send(bed)
    unwanted = [id for id, number in sent.items() if number % 2]
    cancelled = await pruning.cancel(unwanted)
    due = {number for number in sent.values() if number < 10}
    async with bed.worker(concurrency=2):

        async def the_others_ended() -> bool:
            return set(await pruning.noted("end")) >= {number for number in due if number % 2 == 0}

        await eventually(the_others_ended, "the jobs that were not cancelled")
        assert not [number for number in await pruning.noted() if number % 2]
        assert set((await pruning.restore(pres_of(cancelled))).values()) == {None}

        async def all_ended() -> bool:
            return set(await pruning.noted("end")) >= due

        await eventually(all_ended, "the jobs that came back")
    assert set((await pruning.noted()).values()) == {1}


async def test_twice_does_no_more_than_once(pruning: Pruning) -> None:
    sent = await send(pruning.bed)
    before = await pruning.rows()
    cancelled = await pruning.cancel(list(sent))
    after = await pruning.rows()
    assert await pruning.cancel(list(sent)) == {}
    assert await pruning.rows() == after
    assert set((await pruning.restore(pres_of(cancelled))).values()) == {None}
    again = await pruning.restore(pres_of(cancelled))
    assert again.keys() == sent.keys()
    assert None not in again.values()
    assert await pruning.rows() == before


async def test_nothing_is_no_batch(pruning: Pruning) -> None:
    await send(pruning.bed)
    before = await pruning.rows()
    assert await pruning.cancel([]) == {}
    assert await pruning.restore([]) == {}
    assert await pruning.rows() == before


async def test_its_own_api_finds_them_cancelled(pruning: Pruning) -> None:
    bed = pruning.bed
    if bed.cancelled_as == "scheduled":
        pytest.skip(f"{bed.engine} itself cancels nothing")
    [ours, theirs] = await bed.enqueue([{"number": 1}, {"number": 2}], delay=HOUR)
    await pruning.cancel([ours])
    await bed.cancel(theirs)
    assert await bed.state(theirs) in (await bed.state(ours), None)  # there is one that deletes what it cancels


async def test_what_runs_is_stopped_or_left_alone(pruning: Pruning) -> None:
    bed = pruning.bed
    await pruning.connection.execute("insert into bed_held values (1)")
    [long] = await bed.enqueue([{"number": 1, "held": True}])
    stops = pruning.installation.file.stops is not None
    async with bed.worker():

        async def busy() -> bool:
            return bool(await pruning.noted())

        await eventually(busy, "the worker to be busy")

        async def nothing_changes() -> bool:
            before = await pruning.rows()
            assert await pruning.cancel([long]) == {}
            return await pruning.rows() == before

        await eventually(nothing_changes, "a look between two heartbeats of the job")
        if stops:
            [asked] = (await pruning.cancel([long], stop=True)).values()
            assert asked["running"]
        else:
            await pruning.connection.execute("delete from bed_held")
        last = "stopped" if stops else "end"

        async def over() -> bool:
            return bool(await pruning.noted(last)) and (await pruning.statuses([long])).get(long) != "running"

        await eventually(over, f"the job to note {last}")
    status = (await pruning.statuses([long])).get(long)
    assert status in (("cancelled", None) if stops else ("completed", None))


async def test_a_deleted_run_comes_back_from_its_pre_image(pruning: Pruning) -> None:
    """As one that the engine has pruned."""
    sent = await send(pruning.bed)
    before = await pruning.rows()
    cancelled = await pruning.cancel(list(sent))
    await pruning.delete_all()
    outcomes = await pruning.restore(pres_of(cancelled))
    assert outcomes == dict.fromkeys(sent)
    assert await pruning.rows() == before


async def test_a_key_that_is_held_by_another_job_is_not_taken_back(pruning: Pruning) -> None:
    bed = pruning.bed
    if not bed.has_keys:
        pytest.skip(f"{bed.engine} has no such key")
    [first] = await bed.enqueue([{"number": 1}], key="only one")
    cancelled = await pruning.cancel([first])
    [second] = await bed.enqueue([{"number": 2}], key="only one")
    assert second != first
    before = await pruning.rows()
    [(id, outcome)] = (await pruning.restore(pres_of(cancelled))).items()
    assert id == first
    assert "key" in outcome or "lock" in outcome
    assert await pruning.rows() == before
    async with bed.worker():

        async def ended() -> bool:
            return set(await pruning.noted("end")) == {2}

        await eventually(ended, "the second job")
    assert set(await pruning.noted()) == {2}


async def test_of_several_with_one_key_the_first_comes_back(pruning: Pruning) -> None:
    bed = pruning.bed
    if not bed.has_keys:
        pytest.skip(f"{bed.engine} has no such key")
    pres: list[Any] = []
    ids: list[str] = []
    for number in (1, 2):
        ids += await bed.enqueue([{"number": number}], key="only one")
        pres += pres_of(await pruning.cancel(ids[-1:]))
    outcomes = await pruning.restore(pres)
    assert outcomes.keys() == set(ids)
    assert sorted(outcome is None for outcome in outcomes.values()) == [False, True]
    assert Counter((await pruning.statuses(ids)).values()) - Counter(["cancelled"]) == Counter(["queued"])


async def test_the_rights_that_the_page_tells_to_grant_are_enough(pruning: Pruning) -> None:
    bed, outside = pruning.bed, pruning.connection
    sent = await send(bed)
    await outside.execute(MAKE_OPERATOR)
    await outside.execute(rights_of(bed, "secateur_operator"))
    try:
        before = await pruning.rows()
        await outside.execute("set role secateur_operator")
        cancelled = await pruning.cancel(list(sent))
        assert cancelled.keys() == sent.keys()
        some = list(cancelled)[::2]
        await outside.execute("reset role")
        await pruning.delete_all()
        await outside.execute("set role secateur_operator")
        assert await pruning.restore([cancelled[id]["pre"] for id in some]) == dict.fromkeys(some)
        rest = cancelled.keys() - set(some)
        assert await pruning.restore([cancelled[id]["pre"] for id in rest]) == dict.fromkeys(rest)
        await outside.execute("reset role")
        assert await pruning.rows() == before
    finally:
        await outside.execute("reset role; drop owned by secateur_operator")


async def test_two_sweeps_of_the_same_runs_wait_for_each_other(pruning: Pruning, empty_database_url: str) -> None:
    """Locks are taken in one order, whatever the order of the ids."""
    sent = list(await pruning.bed.enqueue([{"number": number} for number in range(60)], delay=HOUR))
    other = Pruning(pruning.bed, await asyncpg.connect(empty_database_url), pruning.installation)
    try:
        for _ in range(5):
            ways = await asyncio.gather(pruning.cancel(sent), other.cancel(sent[::-1]))
            assert sorted(map(len, ways)) == [0, len(sent)]
            pres = [pre for way in ways for pre in pres_of(way)]
            back = await asyncio.gather(pruning.restore(pres), other.restore(pres[::-1]))
            came = Counter(id for outcomes in back for id, outcome in outcomes.items() if outcome is None)
            assert came == Counter(sent)
    finally:
        await other.connection.close()


async def test_a_run_is_either_cancelled_or_claimed(pruning: Pruning) -> None:
    """While its worker claims what the batches are about to cancel."""
    bed = pruning.bed
    ids = await bed.enqueue([{"number": number} for number in range(400)])
    numbers = {id: number for number, id in enumerate(ids)}
    cancelled: set[int] = set()
    async with bed.worker(concurrency=5):

        async def claims() -> bool:
            return bool(await pruning.noted())

        await eventually(claims, "the worker to claim")
        for start in reversed(range(0, len(ids), 20)):  # towards the worker
            cancelled |= {numbers[id] for id in await pruning.cancel(ids[start : start + 20][::-1][::2])}

        async def over() -> bool:
            return set(await pruning.noted("end")) == set(numbers.values()) - cancelled

        await eventually(over, "everything that was not cancelled")
    assert set((await pruning.noted()).values()) == {1}
    assert cancelled
    assert not cancelled & set(await pruning.noted())
