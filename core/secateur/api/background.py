"""What the server does beside answering: it sweeps and keeps the queue up, and knows how that fares."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

from secateur.errors import PermissionDenied
from secateur.instants import utc
from secateur.ledger.cancellations import sweep_of
from secateur.open_queue import OpenQueue

logger = logging.getLogger(__name__)

LOOK_SECONDS = 2.0
"""How long the state of health may wait for what is kept with the records: a monitor waits for no lock."""


class Background:
    """Runs as long as the application."""

    def __init__(self, queue: OpenQueue) -> None:
        self._cancellations = queue.cancellations
        self._maintenance = queue.maintenance
        self._broken: dict[str, str] = {}

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        tasks = {
            asyncio.create_task(self._cancellations.sweep_forever(), name="sweeping"),
            asyncio.create_task(self._maintenance.keep_up_forever(), name="upkeep"),
        }
        for task in tasks:
            task.add_done_callback(self._ended)
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def problems(self) -> list[dict[str, Any]]:
        """What does not go well, here or in any process that keeps it with the record: `what`, `error`, `since`."""
        problems = {each["what"]: each for each in self._own()}
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                for each in await self._cancellations.problems():
                    what = sweep_of(each.id)
                    problems.setdefault(what, {"what": what, "error": each.error, "since": utc(each.since)})
        except PermissionDenied:
            pass  # a role that may not read the records
        except TimeoutError:
            error = f"the records of cancellations could not be read within {LOOK_SECONDS:.0f} s"
            problems["records"] = {"what": "records", "error": error, "since": None}
        return list(problems.values())

    def _own(self) -> Iterator[dict[str, Any]]:
        for what, error in self._broken.items():
            yield {"what": what, "error": error, "since": None}
        for each in (*self._cancellations.troubles, *self._maintenance.troubles):
            yield {"what": each.what, "error": each.error, "since": utc(each.since.replace(microsecond=0))}

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()):
            logger.error(
                "the %s task of this server has ended by a bug; the server goes on without it",
                task.get_name(),
                exc_info=error,
            )
            self._broken[task.get_name()] = "it crashed; the server's log says why"
