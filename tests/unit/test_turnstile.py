"""As many get in as there may be connections, in the order of coming."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext, suppress

import pytest

from secateur.postgres import turnstile
from secateur.postgres.turnstile import Turnstile, in_background


async def settled() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


async def test_no_more_than_there_is_room_for() -> None:
    door = Turnstile(2)
    inside: list[int] = []

    async def use(number: int) -> None:
        await door.enter()
        inside.append(number)

    tasks = [asyncio.create_task(use(number)) for number in range(5)]
    await settled()
    assert inside == [0, 1]
    door.leave()
    await settled()
    assert inside == [0, 1, 2], "first come, first served"
    tasks[3].cancel()
    await settled()
    door.leave()
    door.leave()
    await settled()
    assert inside == [0, 1, 2, 4]
    assert door.inside == 1


async def test_a_turn_that_is_given_up_goes_to_the_next() -> None:
    door = Turnstile(1)
    await door.enter()
    first, second = (asyncio.create_task(door.enter()) for _ in range(2))
    await settled()
    door.leave()  # it is the first one's turn, which does not know of it yet
    first.cancel()
    with suppress(asyncio.CancelledError):
        await first
    await second
    assert door.inside == 1


async def test_one_that_is_cancelled_and_has_not_noticed_yet_takes_no_turn() -> None:
    door = Turnstile(1)
    await door.enter()
    first, second = (asyncio.create_task(door.enter()) for _ in range(2))
    await settled()
    first.cancel()
    door.leave()  # before the first one's task has run again
    with suppress(asyncio.CancelledError):
        await first
    await second
    assert door.inside == 1
    door.leave()
    assert door.inside == 0


async def test_what_the_server_refuses_is_not_asked_for_at_once_again(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(turnstile.time, "monotonic", lambda: now)
    door = Turnstile(10)
    for _ in range(4):
        await door.enter()
    door.refused(3)
    door.leave()
    assert (door.room, door.refusals) == (3, 1)
    waiting = asyncio.create_task(door.enter())
    await settled()
    assert not waiting.done()
    door.leave()
    await waiting
    now += turnstile.GROW_SECONDS
    await door.enter()
    assert door.room == 4, "one more is tried"
    door.fits(7)
    assert door.room == 7
    door.refused(0)
    assert door.room == 1, "never none"


async def entering(door: Turnstile, inside: list[str], name: str, *, background: bool = False) -> None:
    """Enters, and leaves when it is cancelled."""
    with in_background() if background else nullcontext():
        await door.enter()
        inside.append(name)
        try:
            await asyncio.Event().wait()
        finally:
            inside.remove(name)
            door.leave()


async def left(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])
    await settled()


async def test_background_work_leaves_one_connection_to_the_others() -> None:
    door, inside = Turnstile(3), list[str]()
    sweeps = [asyncio.create_task(entering(door, inside, f"sweep {number}", background=True)) for number in range(3)]
    await settled()
    assert inside == ["sweep 0", "sweep 1"]
    claim = asyncio.create_task(entering(door, inside, "claim"))
    await settled()
    assert inside == ["sweep 0", "sweep 1", "claim"], "it does not wait behind a sweep that may not enter"
    await left(sweeps[0])
    assert inside == ["sweep 1", "claim", "sweep 2"]
    # Nor does background work wait for ever: it comes in its turn.
    more = [asyncio.create_task(entering(door, inside, f"claim {number}")) for number in range(2)]
    await settled()
    await left(claim)
    assert inside == ["sweep 1", "sweep 2", "claim 0"]
    for task in (*sweeps[1:], *more):
        await left(task)
    assert door.inside == 0


async def test_a_single_connection_is_shared_with_background_work(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1000.0]
    monkeypatch.setattr(turnstile.time, "monotonic", lambda: clock[0])
    door, inside = Turnstile(1), list[str]()
    first = asyncio.create_task(entering(door, inside, "sweep", background=True))
    await settled()
    claims = [asyncio.create_task(entering(door, inside, f"claim {number}")) for number in range(2)]
    second = asyncio.create_task(entering(door, inside, "sweep again", background=True))
    await settled()
    clock[0] += 0.05
    await left(first)  # it has taken 50 ms while others waited: it rests for 200
    assert inside == ["claim 0"]
    await left(claims[0])
    await left(claims[1])
    assert inside == [], "the connection is free, and kept for those who could not wait"
    claim = asyncio.create_task(entering(door, inside, "claim"))
    await settled()
    assert inside == ["claim"]
    await left(claim)
    clock[0] += 0.19
    await settled()
    assert inside == []
    clock[0] += 0.02
    await settled()
    assert inside == ["sweep again"]
    # Where nobody waits, it does not rest.
    await left(second)
    third = asyncio.create_task(entering(door, inside, "a third", background=True))
    await settled()
    assert inside == ["a third"]
    await left(third)
