"""Calls at the same time are made as one, and none suffers from another."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from secateur.engines.native.together import Together


class Doubling:
    """Doubles numbers, refuses negative ones, and takes its time."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def __call__(self, numbers: Sequence[int]) -> Sequence[int]:
        self.calls.append(list(numbers))
        await self.go_on.wait()
        if any(number < 0 for number in numbers):
            raise ValueError(f"negative: {numbers}")
        return [2 * number for number in numbers]


async def test_those_of_the_same_moment_share_a_call() -> None:
    doubling = Doubling()
    together = Together(doubling)
    assert await asyncio.gather(*(together(number) for number in range(5))) == [0, 2, 4, 6, 8]
    assert await together(7) == 14
    assert doubling.calls == [[0, 1, 2, 3, 4], [7]]


async def test_those_that_come_meanwhile_share_the_next_one() -> None:
    doubling = Doubling()
    doubling.go_on.clear()
    together = Together(doubling)
    first = asyncio.create_task(together(1))
    while not doubling.calls:
        await asyncio.sleep(0)
    others = [asyncio.create_task(together(number)) for number in (2, 3)]
    await asyncio.sleep(0.01)
    doubling.go_on.set()
    assert await asyncio.gather(first, *others) == [2, 4, 6]
    assert doubling.calls == [[1], [2, 3]]


async def test_no_call_is_larger_than_it_may_be() -> None:
    doubling = Doubling()
    together = Together(doubling, most=10, size=lambda number: number)
    assert await asyncio.gather(*(together(number) for number in (6, 4, 1, 50, 2))) == [12, 8, 2, 100, 4]
    assert doubling.calls == [[6, 4], [1], [50], [2]]


async def test_what_is_refused_does_not_hurt_the_others() -> None:
    doubling = Doubling()
    together = Together(doubling)
    one, bad, two = await asyncio.gather(together(1), together(-1), together(2), return_exceptions=True)
    assert (one, two) == (2, 4)
    assert isinstance(bad, ValueError)
    with pytest.raises(ValueError, match="negative"):
        await together(-5)
    assert await together(3) == 6


async def test_one_that_is_interrupted_does_not_hurt_the_others() -> None:
    doubling = Doubling()
    doubling.go_on.clear()
    together = Together(doubling)
    first, second = (asyncio.create_task(together(number)) for number in (1, 2))
    while not doubling.calls:
        await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0.01)
    doubling.go_on.set()
    assert await second == 4
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_closed_it_interrupts_whoever_waits() -> None:
    doubling = Doubling()
    doubling.go_on.clear()
    together = Together(doubling)
    first = asyncio.create_task(together(1))
    while not doubling.calls:
        await asyncio.sleep(0)
    second = asyncio.create_task(together(2))
    await asyncio.sleep(0)
    together.close()
    for task in (first, second):
        with pytest.raises(asyncio.CancelledError):
            await task
    assert doubling.calls == [[1]]


async def test_another_call_takes_along_what_waits() -> None:
    doubling = Doubling()
    together = Together(doubling)
    async with together.taken_along() as (none, answer):
        assert none == []
        first = [asyncio.create_task(together(number)) for number in (1, 2)]
        await asyncio.sleep(0.01)
        async with together.taken_along() as (items, answer_two):
            assert items == [1, 2]
            late = asyncio.create_task(together(3))
            await asyncio.sleep(0.01)
            answer_two([10, 20])
        assert await asyncio.gather(*first) == [10, 20]
        await asyncio.sleep(0.01)
        assert doubling.calls == [], "what came meanwhile waits for the end of the other call"
        answer([])
    assert await late == 6
    assert doubling.calls == [[3]]


async def test_what_another_call_did_not_answer_is_asked_anew() -> None:
    doubling = Doubling()
    together = Together(doubling)
    with pytest.raises(OSError, match="lost"):
        async with together.taken_along():
            first = asyncio.create_task(together(1))
            await asyncio.sleep(0)
            async with together.taken_along() as (items, _):
                assert items == [1]
                second = asyncio.create_task(together(2))
                await asyncio.sleep(0)
                raise OSError("lost")
    assert [await first, await second] == [2, 4]
    assert doubling.calls == [[1, 2]]


async def test_whoever_waits_is_let_go_at_the_end() -> None:
    together = Together(Doubling())
    async with together.taken_along():
        waiting = asyncio.create_task(together(1))
        await asyncio.sleep(0)
        together.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting


class Told:
    """Takes an answer without waiting for it."""

    def __init__(self) -> None:
        self.answers: list[object] = []

    def done(self) -> bool:
        return False

    def set_result(self, result: object, /) -> None:
        self.answers.append(result)

    def set_exception(self, error: BaseException, /) -> None:
        self.answers.append(error)

    def cancel(self) -> None:
        self.answers.append("none")


async def test_whoever_does_not_wait_is_told() -> None:
    doubling = Doubling()
    together, told = Together(doubling), Told()
    for number in (1, -2, 3):
        together.ask(number, told)
    assert await together(4) == 8
    first, refused, third = told.answers
    assert (first, third, type(refused)) == (2, 6, ValueError)
    together.ask(5, told)
    together.close()
    await asyncio.sleep(0)
    assert told.answers[3:] == ["none"]
