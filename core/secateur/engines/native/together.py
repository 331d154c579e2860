"""Calls that are made at about the same time, as one call for all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class Together(Generic[Item, Answer]):
    """Asks `ask` for the answers to several items at once, in their order. One such call is under way at a time, and
    takes all that came during the one before, up to a total of `most` by `size`."""

    def __init__(
        self,
        ask: Callable[[Sequence[Item]], Awaitable[Sequence[Answer]]],
        *,
        most: int = 1_000,
        size: Callable[[Item], int] = lambda _: 1,
    ) -> None:
        self._ask = ask
        self._most = most
        self._size = size
        self._waiting: list[tuple[Item, asyncio.Future[Answer]]] = []
        self._asking: asyncio.Task[None] | None = None

    async def __call__(self, item: Item) -> Answer:
        """The item's answer. Raises what `ask` raises for it."""
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, answer))
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask_all())
        return await answer

    def close(self) -> None:
        """Ask no more; whoever still waits is interrupted."""
        if self._asking is not None:
            self._asking.cancel()

    async def _ask_all(self) -> None:
        """A task of its own, so that all answers of a call come in one moment, whoever is interrupted."""
        batch: list[tuple[Item, asyncio.Future[Answer]]] = []
        try:
            await asyncio.sleep(0)  # lets those join that come in this very moment
            while self._waiting:
                batch = self._take()
                await self._answer(batch)
        finally:
            self._asking = None
            for _, answer in batch + self._waiting:
                answer.cancel()

    async def _answer(self, batch: Sequence[tuple[Item, asyncio.Future[Answer]]]) -> None:
        try:
            answers = await self._ask([item for item, _ in batch])
        except Exception as error:
            if len(batch) > 1:
                for one in batch:  # one of them was refused: the others must not be
                    await self._answer([one])
            elif not batch[0][1].done():
                batch[0][1].set_exception(error)
            return
        for (_, future), answer in zip(batch, answers, strict=True):
            if not future.done():
                future.set_result(answer)

    def _take(self) -> list[tuple[Item, asyncio.Future[Answer]]]:
        total = number = 0
        for item, _ in self._waiting:
            total += self._size(item)
            if number and total > self._most:
                break
            number += 1
        batch, self._waiting = self._waiting[:number], self._waiting[number:]
        return batch
