"""Posts what is in the outbox, to each target by itself: one that is down holds up no other."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from secateur.errors import SecateurError
from secateur.troubles import SAID_AFTER, Trouble, Troubles
from secateur.watch.keeping import Keeping, Outgoing
from secateur.watch.posting import NotPosted
from secateur.watch_settings import WatchTarget

logger = logging.getLogger(__name__)

POLL_SECONDS = 2.0
"""How often each target's outbox is looked at, besides whenever this watch puts something there."""

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 300.0
"""Seconds before a message is tried again: twice as long each time."""

GIVE_UP_AFTER = timedelta(hours=24)

LEASE_MARGIN = timedelta(seconds=30)
"""How much longer than its timeout a post is given before another watch may try it."""


class Posting(Protocol):
    """`secateur.watch.posting.Poster`."""

    async def post(self, name: str, message: Mapping[str, Any]) -> None: ...


@dataclass(frozen=True, slots=True)
class Happening:
    """Something that a watch did, for the lines that it writes."""

    what: str
    """`watching`, `blind`, `fired`, `guard`, `resolved`, `posted`, `not_posted`, `given_up` or `untold`."""
    summary: str
    details: Mapping[str, Any] = field(default_factory=dict)


Say = Callable[[Happening], object]


class Outbox:
    """The messages that wait for these targets, and the one watch of several that posts them."""

    def __init__(self, targets: Mapping[str, WatchTarget], keeping: Keeping, poster: Posting, say: Say) -> None:
        self._targets, self._keeping, self._poster, self._say = targets, keeping, poster, say
        self._something_new = asyncio.Event()
        self._troubles = Troubles(logger)
        self._unposted: dict[str, Trouble] = {}
        """By target; what happens says each of these failures already."""

    @property
    def troubles(self) -> Iterator[Trouble]:
        """What keeps failing: reading an outbox, or posting to a target."""
        yield from self._troubles
        yield from (each for each in list(self._unposted.values()) if each.failures >= SAID_AFTER)

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            for target in self._targets:
                group.create_task(self._post_forever(target))

    def notice(self) -> None:
        """There is a new message: look at once."""
        self._something_new.set()

    async def post_due(self) -> None:
        """What is due, once. Raises the errors of the database."""
        for target in self._targets:
            while await self._post_next(target):
                pass

    async def _post_forever(self, target: str) -> None:
        while True:
            try:
                while await self._post_next(target):
                    pass
                self._troubles.went_well(f"the outbox of {target}")
            except SecateurError as error:
                self._troubles.failed(f"the outbox of {target}", error)
            self._something_new.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL_SECONDS * random.uniform(0.8, 1.2)):  # noqa: S311
                    await self._something_new.wait()

    async def _post_next(self, target: str) -> bool:
        """Whether there was something to post. Raises the errors of the database."""
        seconds = self._targets[target].timeout_seconds
        outgoing = await self._keeping.take([target], timedelta(seconds=seconds) + LEASE_MARGIN)
        if outgoing is None:
            return False
        said = {"target": target, "id": outgoing.message.get("id"), "kind": outgoing.message.get("kind")}
        try:
            await self._poster.post(target, outgoing.message)
        except NotPosted as error:
            self._not_posted(target, error)
            again = _pause(outgoing, error)
            await self._keeping.settle(outgoing, str(error), again)
            if again is None:
                self._say(
                    Happening("given_up", f"{target}: given up after {outgoing.attempts} attempts: {error}", said)
                )
            else:
                said |= {"error": str(error), "again_in_seconds": round(again.total_seconds(), 1)}
                self._say(Happening("not_posted", f"{target}: {error}; it will be tried again", said))
        else:
            self._unposted.pop(target, None)
            await self._keeping.settle(outgoing, None, None)
            self._say(Happening("posted", f"{target}: posted “{outgoing.message.get('summary')}”", said))
        return True

    def _not_posted(self, target: str, error: NotPosted) -> None:
        before = self._unposted.get(target)
        since, failures = (before.since, before.failures + 1) if before else (datetime.now(UTC), 1)
        self._unposted[target] = Trouble(f"posting to {target}", str(error), since, failures)


def _pause(outgoing: Outgoing, error: NotPosted) -> timedelta | None:
    """None: it is given up."""
    if outgoing.age > GIVE_UP_AFTER:
        return None
    seconds = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(20, outgoing.attempts - 1)) * random.uniform(0.5, 1)  # noqa: S311
    return timedelta(seconds=min(3600.0, max(seconds, error.retry_after or 0.0)))
