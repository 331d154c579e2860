"""Merges calls that are made at about the same time into one call."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from contextvars import Context
from typing import Generic, Protocol, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
Told = TypeVar("Told", contravariant=True)


class Recipient(Protocol[Told]):
    """Where an answer goes. A future is one."""

    def done(self) -> bool:
        """Whether nobody wants the answer any more."""

    def set_result(self, result: Told, /) -> None: ...

    def set_exception(self, error: BaseException, /) -> None: ...

    def cancel(self) -> object:
        """There will be no answer."""


class Together(Generic[Item, Result]):
    """Calls `ask` with several items at once; it returns their answers in the same order. One call is under way at a
    time. It takes all items that arrived during the previous one, up to a total `size` of `most`.

    Some other call can take items along (`taken_along`). Those that arrive meanwhile wait for its end."""

    def __init__(
        self,
        ask: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]],
        *,
        most: int = 1_000,
        size: Callable[[Item], int] = lambda _: 1,
    ) -> None:
        self._ask = ask
        self._most = most
        self._size = size
        self._waiting: list[tuple[Item, Recipient[Result]]] = []
        self._asking: asyncio.Task[None] | None = None
        self._others = 0
        """Calls under way that take items along."""
        self._closed = False

    async def __call__(self, item: Item) -> Result:
        """The item's answer. Raises the error that `ask` raises for it."""
        answer: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self.ask(item, answer)
        return await answer

    def ask(self, item: Item, answer: Recipient[Result]) -> None:
        """The same for whoever does not wait: it is called with the answer, or with the error, some time later."""
        self._waiting.append((item, answer))
        self._begin()

    @asynccontextmanager
    async def taken_along(self) -> AsyncIterator[tuple[list[Item], Callable[[Sequence[Result]], None]]]:
        """The items that wait, and what to call with their answers; if that is not called, they are asked anew."""
        batch = self._take()
        answered = False

        def answer(results: Sequence[Result]) -> None:
            nonlocal answered
            answered = True
            _answer(batch, results)

        self._others += 1
        try:
            yield [item for item, _ in batch], answer
        finally:
            self._others -= 1
            if not answered:
                self._waiting = batch + self._waiting
            self._begin()

    def _begin(self) -> None:
        if self._waiting and self._asking is None and not self._others and not self._closed:
            # In a context of its own: it serves all who ask, not the one whose item happens to be the first.
            self._asking = asyncio.create_task(self._ask_all(), context=Context())

    def close(self) -> None:
        """Make no more calls; cancels those who still wait."""
        self._closed = True
        if self._asking is not None:
            self._asking.cancel()  # before its first step that is all that happens to it
        waiting, self._waiting = self._waiting, []
        self._give_up(waiting)

    async def _ask_all(self) -> None:
        """A separate task, so that all answers of a call arrive together, even if one caller is cancelled."""
        batch: list[tuple[Item, Recipient[Result]]] = []
        try:
            await asyncio.sleep(0)  # let calls made at this very moment join
            while self._waiting and not self._others:
                batch = self._take()
                await self._answer(batch)
                batch = []
        except BaseException:
            self._give_up(batch + self._waiting)
            raise
        finally:
            self._asking = None

    def _give_up(self, batch: Sequence[tuple[Item, Recipient[Result]]]) -> None:
        for _, answer in batch:
            answer.cancel()

    async def _answer(self, batch: Sequence[tuple[Item, Recipient[Result]]]) -> None:
        try:
            answers = await self._ask([item for item, _ in batch])
        except Exception as error:
            if len(batch) > 1:
                for one in batch:  # one of them was refused: the others must not be
                    await self._answer([one])
            elif not batch[0][1].done():
                batch[0][1].set_exception(error)
            return
        _answer(batch, answers)

    def _take(self) -> list[tuple[Item, Recipient[Result]]]:
        total = number = 0
        for item, _ in self._waiting:
            total += self._size(item)
            if number and total > self._most:
                break
            number += 1
        batch, self._waiting = self._waiting[:number], self._waiting[number:]
        return batch


def _answer(batch: Sequence[tuple[Item, Recipient[Result]]], answers: Sequence[Result]) -> None:
    for (_, future), answer in zip(batch, answers, strict=True):
        if not future.done():
            future.set_result(answer)
