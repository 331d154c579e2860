"""As many get in as there may be connections, in the order of coming."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from secateur.postgres import turnstile
from secateur.postgres.turnstile import Turnstile


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
