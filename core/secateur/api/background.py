"""The server's background work: it sweeps, maintains and watches the queue, and knows how that is going."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from typing import Any, Protocol

from secateur.errors import PermissionDenied
from secateur.instants import utc
from secateur.ledger.sweeping import sweep_of
from secateur.open_queue import OpenQueue
from secateur.troubles import Trouble
from secateur.watch_state import WatchState

logger = logging.getLogger(__name__)

LOOK_SECONDS = 2.0
"""How long a health check may wait for the records, so that a monitor never waits for a lock."""


class Watching(Protocol):
    """`secateur.watch.watching.QueueWatch`."""

    @property
    def troubles(self) -> Iterable[Trouble]: ...

    def state(self) -> WatchState: ...

    async def run(self) -> None: ...


class Background:
    """Runs while the application runs."""

    def __init__(self, queue: OpenQueue, watch: Watching | None = None) -> None:
        self.watch = watch
        self._cancellations = queue.cancellations
        self._maintenance = queue.maintenance
        self._broken: dict[str, str] = {}

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        tasks = {
            asyncio.create_task(self._cancellations.sweep_forever(), name="sweeping"),
            asyncio.create_task(self._maintenance.keep_up_forever(), name="upkeep"),
        }
        if self.watch is not None:
            tasks.add(asyncio.create_task(self.watch.run(), name="watch"))
        for task in tasks:
            task.add_done_callback(self._ended)
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def problems(self) -> list[dict[str, Any]]:
        """What is failing, here or in any process that notes it in the record: `what`, `error`, `since`."""
        problems = {each["what"]: each for each in self._own()}
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                for each in (await self._cancellations.activity()).problems:
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
        of_watch = () if self.watch is None else self.watch.troubles
        for each in (*self._cancellations.troubles, *self._maintenance.troubles, *of_watch):
            yield {"what": each.what, "error": each.error, "since": utc(each.since.replace(microsecond=0))}

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()):
            logger.error(
                "the %s task of this server crashed because of a bug; the server continues without it",
                task.get_name(),
                exc_info=error,
            )
            self._broken[task.get_name()] = "it crashed; the server's log says why"
