"""Stops and undos that go through while a transaction which may still act for the cancellation stays open."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from itertools import product
from uuid import UUID

import arena
import asyncpg
import pytest
import pytest_asyncio
from arena import Mutation, build_in
from scene import GuaranteeBroken, Scene, Stage

from servers import Server, with_schema

HASTY = [
    Mutation("interval '4.5 seconds'", "interval '0.1 seconds'", function)
    for function in ("stop_cancellation", "undo_cancellation")
]
"""Who stays open stays so for the whole of a test: there is nothing to wait for."""

OPEN = (
    ("claim", "complete_and_claim", "surveyed"),
    ("claim", "hold_back", "batch checked"),
    ("claim", "complete_and_claim", "returned"),
    ("begin_step", "begin_step", "run locked"),
    ("begin_step", "begin_step", "returned"),
    ("fail", "fail", "returned"),
    ("sweep", "sweep_batch", "in the gate"),
    ("sweep", "walk_backlog", "batch evaluated"),
    ("sweep", "sweep_batch", "returned"),
)
"""Who may still act for the cancellation, and where it stands meanwhile."""

together = pytest.mark.asyncio(loop_scope="module")


async def hasty_arena(url: str) -> None:
    await arena.prepare(url)
    await build_in(url, HASTY)


@pytest.fixture(scope="module")
def hasty_url(postgres_servers: Callable[[str], Server]) -> Iterator[str]:
    yield from postgres_servers("embedded").borrow(with_schema, hasty_arena)


@pytest.fixture
def own_hasty_url(postgres_servers: Callable[[str], Server]) -> Iterator[str]:
    """An arena that a test may spoil."""
    yield from postgres_servers("embedded").borrow(with_schema, hasty_arena)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(hasty_url: str) -> AsyncIterator[Stage]:
    stage = Stage(hasty_url)
    yield stage
    stage.close()


async def state_of(here: Scene, id: UUID) -> tuple[str, bool]:
    row = await here.connections[0].fetchrow("select state, ending from secateur.cancellations where id = $1", id)
    assert row is not None
    return row["state"], row["ending"]


async def ends_beside(here: Scene, ending: str, operation: str, function: str, point: str) -> None:
    """It is ended while somebody stands there; then everybody else works on, and at last he goes on, too."""
    operator = await here.connect()
    async with here.paused(operation, function, point):
        await here.perform(operator, ending)
        state, pending = await state_of(here, here.cancellation)
        if (state, pending) != ("undone" if ending == "undo" else "stopped", True):
            raise GuaranteeBroken(f"the {ending} is {state}, and that {'not ' if pending else ''}for good")
        for _ in range(2):
            await here.perform(operator, "sweep")
            await here.perform(operator, "restore")
            await here.perform(operator, "confirm")
        # Not all of what waits: the open one shall find something, too.
        await here.perform(operator, "claim_few")
        await here.verify()


async def settled(here: Scene) -> None:
    await here.settle()
    await here.verify()
    state, pending = await state_of(here, here.cancellation)
    if pending or state not in ("stopped", "undone"):
        raise GuaranteeBroken(f"it has ended, and is {state}, {'and still pending' if pending else 'for good'}")


@together
@pytest.mark.parametrize(("ending", "one"), product(("stop", "undo"), OPEN), ids=lambda value: str(value))
async def test_it_goes_through_beside(stage: Stage, ending: str, one: tuple[str, str, str]) -> None:
    async with stage.scene("committed") as here:
        await ends_beside(here, ending, *one)
        await settled(here)


@together
async def test_undone_after_a_stop_that_is_not_final(stage: Stage) -> None:
    async with stage.scene("committed") as here:
        operator = await here.connect()
        async with here.paused("claim", "complete_and_claim", "surveyed"):
            await here.perform(operator, "stop")
            await here.perform(operator, "undo")
            await here.perform(operator, "undo_again")
            assert await state_of(here, here.cancellation) == ("undone", True)
        await settled(here)


@together
async def test_asking_again_makes_it_final(stage: Stage) -> None:
    for ending in ("stop", "undo"):
        async with stage.scene("committed") as here:
            operator = await here.connect()
            async with here.paused("claim", "complete_and_claim", "surveyed"):
                await here.perform(operator, ending)
            await here.perform(operator, ending)
            assert await state_of(here, here.cancellation) == ("stopped" if ending == "stop" else "undone", False)
            await settled(here)


@together
async def test_stopped_before_it_was_in_force(stage: Stage) -> None:
    async with stage.scene("before") as here:
        operator = await here.connect()
        async with here.paused("claim", "complete_and_claim", "surveyed"):
            await here.perform(operator, "commit")
            await here.perform(operator, "stop")
            assert await state_of(here, here.cancellation) == ("stopped", True)
        await settled(here)


@together
@pytest.mark.parametrize(
    ("ending", "point", "other"),
    [
        (ending, point, other)
        for ending in ("stop", "undo")
        for point in ("before the lock", "locked")
        for other in ("claim", "begin_step", "confirm", "undo_again")
    ],
)
async def test_somebody_comes_while_it_is_made_final(stage: Stage, ending: str, point: str, other: str) -> None:
    async with stage.scene("committed") as here:
        operator = await here.connect()
        async with here.paused("claim", "complete_and_claim", "surveyed"):
            await here.perform(operator, ending)
        await here.meet("confirm", "settle_ending", point, other)
        await here.verify()
        await settled(here)


KILL = """
select pg_terminate_backend(held.pid) from pg_locks as held
 where held.locktype = 'advisory' and held.classid = 99001 and not held.granted
   and held.database = (select oid from pg_database where datname = current_database())
"""


@together
@pytest.mark.parametrize("point", ["before the lock", "locked"])
async def test_who_makes_it_final_is_killed(stage: Stage, point: str) -> None:
    async with stage.scene("committed") as here:
        operator = await here.connect()
        async with here.paused("claim", "complete_and_claim", "surveyed"):
            await here.perform(operator, "undo")
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError)):
            async with here.paused("confirm", "settle_ending", point):
                await operator.execute(KILL)
        assert await state_of(here, here.cancellation) == ("undone", True)
        await settled(here)
        here.connections[:] = [each for each in here.connections if not each.is_closed()]


Scenario = Callable[[Scene], Awaitable[None]]


def beside(ending: str, operation: str, function: str, point: str) -> Scenario:
    async def scenario(here: Scene) -> None:
        await ends_beside(here, ending, operation, function, point)

    return scenario


async def stopped_during_a_sweep(here: Scene) -> None:
    """In its second batch, when there is no request any more that keeps the stop pending."""
    operator = await here.connect()
    await operator.fetch("select secateur.sweep_cancellation($1, $2, 1)", here.app, here.cancellation)
    await ends_beside(here, "stop", "sweep", "walk_backlog", "batch evaluated")


async def stopped_while_it_completes(here: Scene) -> None:
    """Of the sweep's last batch, which finds that nothing is left."""
    operator = await here.connect()
    await here.begin_step(operator)
    await here.perform(operator, "sweep")
    async with here.paused("sweep", "sweep_batch", "pass begun"):
        await here.perform(operator, "stop")


FAULTS: list[tuple[str, list[Mutation], Scenario]] = [
    (
        "an end is final at once",
        [Mutation("         ending = true\n", "         ending = false\n", "undo_cancellation")],
        beside("undo", "claim", "complete_and_claim", "surveyed"),
    ),
    (
        "an end is made final without the lock",
        [
            Mutation(
                "  if not secateur.try_lock_app(ended.app_id, '50 ms') then\n    return false;\n  end if;\n",
                "",
                "settle_ending",
            )
        ],
        beside("stop", "claim", "complete_and_claim", "surveyed"),
    ),
    (
        "an end is made final without the gate",
        [Mutation("  perform secateur.take_lock(try_ending.app_id, 'sweeps', 'exclusive');\n", "", "try_ending")],
        stopped_during_a_sweep,
    ),
    (
        "a restore does not wait until an undo is final",
        [
            Mutation(
                "  elsif undone.ending then\n    return secateur.ending_step(undone);\n", "", "restore_cancellation"
            ),
            Mutation("  if not found or undone.ending then\n", "  if not found then\n", "restore_cancellation"),
        ],
        beside("undo", "claim", "complete_and_claim", "surveyed"),
    ),
    (
        "an end is final while a run is being stopped",
        [Mutation("return held and not secateur.has_requests(rule.app_id, rule.id);", "return held;", "withdraw")],
        beside("undo", "fail", "fail", "returned"),
    ),
    (
        "a sweep completes what was stopped",
        [Mutation("       and swept.state = rule.state;\n", ";\n", "end_pass")],
        stopped_while_it_completes,
    ),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault[0])
async def test_a_fault_is_noticed(own_hasty_url: str, fault: tuple[str, list[Mutation], Scenario]) -> None:
    _, mutations, scenario = fault
    stage = Stage(own_hasty_url)
    try:
        async with stage.scene("committed") as here:
            await build_in(own_hasty_url, [*HASTY, *mutations])
            with pytest.raises(GuaranteeBroken):
                await scenario(here)
                await settled(here)
    finally:
        stage.close()


@together
async def test_it_completes_nothing_that_was_stopped(stage: Stage) -> None:
    async with stage.scene("committed") as here:
        await stopped_while_it_completes(here)
        await settled(here)
