"""The watch: looks at its rules again and again, moves their episodes on, and posts what is in the outbox."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Protocol

from secateur.errors import SecateurError, Unreachable
from secateur.troubles import Troubles
from secateur.watch.answers import Alert, Answers
from secateur.watch.episodes import Episode, EpisodeKey, EpisodeState, EpisodeStep, step
from secateur.watch.figures import QueueLook, RuleReading, gone
from secateur.watch.forms import MessageKind
from secateur.watch.guards import Guards
from secateur.watch.keeping import Keeping, KeptEpisode, Outgoing, targets_of
from secateur.watch.posting import NotPosted
from secateur.watch_settings import WatchRule, WatchSettings

logger = logging.getLogger(__name__)

MOST_FIRING = 20
"""Episodes of one rule that people are told of at a time; more would bury them. The largest backlogs come first."""

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
    """`watching`, `fired`, `guard`, `resolved`, `posted`, `not_posted`, `given_up` or `untold`."""
    summary: str
    details: Mapping[str, Any] = field(default_factory=dict)


Say = Callable[[Happening], object]


class QueueWatch:
    """Any number of them may watch the same queue with the same rules: each message is posted by one of them."""

    def __init__(
        self,
        settings: WatchSettings,
        keeping: Keeping,
        answers: Answers,
        guards: Guards,
        poster: Posting,
        look: Callable[[], Awaitable[QueueLook]],
        say: Say,
    ) -> None:
        self._settings, self._keeping, self._answers, self._guards = settings, keeping, answers, guards
        self._poster, self._look, self._say = poster, look, say
        self._posted_something = asyncio.Event()
        self._untold: dict[str, int] = {}
        self.troubles = Troubles(logger)

    async def run(self) -> None:
        """Until cancelled. Survives a database and receivers that go away."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._evaluate_forever())
            for name in self._settings.targets:
                group.create_task(self._post_forever(name))

    async def once(self) -> bool:
        """Evaluate every rule and post what is due, once; whether any rule fires. Raises the errors of the database."""
        await self.evaluate()
        for name in self._settings.targets:
            while await self._post_next(name):
                pass
        return await self.fires()

    async def fires(self) -> bool:
        kept = await self._keeping.episodes()
        return any(
            each.episode.state is EpisodeState.FIRING for key, each in kept.items() if key.rule in self._settings.rules
        )

    async def _evaluate_forever(self) -> None:
        while True:
            try:
                await self.evaluate()
                self.troubles.went_well("evaluating the rules")
            except SecateurError as error:
                self.troubles.failed("evaluating the rules", error)
            await asyncio.sleep(self._settings.every_seconds)

    async def evaluate(self) -> None:
        """One look at the queue, and what follows from it for every rule."""
        await self._keeping.end_guard_pauses()
        look = await self._look()
        kept = await self._keeping.episodes()
        for name, rule in self._settings.rules.items():
            what = f"rule {name}"
            try:
                readings = await look.readings(rule)
                own = {key: one for key, one in kept.items() if key.rule == name}
                await self._apply(name, rule, readings, own, look)
            except Unreachable:
                raise
            except SecateurError as error:
                # The other rules are not held up by it.
                self.troubles.failed(what, error)
            else:
                self.troubles.went_well(what)

    async def _apply(
        self,
        name: str,
        rule: WatchRule,
        readings: Sequence[RuleReading],
        kept: Mapping[EpisodeKey, KeptEpisode],
        look: QueueLook,
    ) -> None:
        found = {EpisodeKey(name, each.scope): each for each in readings}
        found |= {key: gone(key.scope) for key in kept if key not in found}
        firing = sum(one.episode.state is EpisodeState.FIRING for one in kept.values())
        untold = 0
        for key, reading in found.items():
            before = kept.get(key)
            done, after = step(None if before is None else before.episode, reading, rule, look.now)
            if done is EpisodeStep.FIRED:
                if firing >= MOST_FIRING:
                    untold += 1
                    continue
                firing += 1
            episode = after if after is not None or before is None else before.episode
            if episode is not None:
                await self._move(Alert(MessageKind.FIRING, key, rule, episode, reading, look.now), before, done, after)
        if untold != self._untold.get(name, 0) and untold:
            self._say(
                Happening(
                    "untold", f"rule {name} also fires for {untold} more functions", {"rule": name, "functions": untold}
                )
            )
        self._untold[name] = untold

    async def _move(self, alert: Alert, before: KeptEpisode | None, done: EpisodeStep, after: Episode | None) -> None:
        key = alert.key
        match done:
            case EpisodeStep.KEPT | EpisodeStep.FORGOTTEN:
                await self._keeping.move(key, before, after)
            case EpisodeStep.FIRED:
                # First of all it is known to everybody that this episode fires; what to say about it takes a while.
                if await self._keeping.move(key, before, after) and after is not None:
                    version = 1 if before is None else before.version + 1
                    await self._tell(alert, KeptEpisode(after, version))
            case EpisodeStep.RESOLVED:
                await self._resolve(alert, before)
            case EpisodeStep.NOTHING if before is not None and before.episode.state is EpisodeState.FIRING:
                await self._catch_up(alert, before)

    async def _catch_up(self, alert: Alert, kept: KeptEpisode) -> None:
        """What an earlier attempt, or a watch that is gone, has left to do."""
        guard = alert.rule.guard
        if not kept.episode.is_told:
            await self._tell(alert, kept)
        elif guard is not None and kept.episode.guard is not None and not kept.episode.guard.is_final:
            now = await self._guards.act(alert.key, kept.episode, guard)
            if now.action != "nothing" or now.is_final:
                episode = replace(kept.episode, guard=now)
                await self._send(replace(alert, kind=MessageKind.GUARD, episode=episode), kept, episode, "guard")

    async def _tell(self, alert: Alert, kept: KeptEpisode) -> None:
        """The guard first: it must not wait for words."""
        episode = kept.episode
        if alert.rule.guard is not None and episode.guard is None:
            episode = replace(episode, guard=await self._guards.act(alert.key, episode, alert.rule.guard))
        episode = replace(episode, is_told=True)
        await self._send(replace(alert, kind=MessageKind.FIRING, episode=episode), kept, episode, "fired")

    async def _resolve(self, alert: Alert, kept: KeptEpisode | None) -> None:
        if kept is None or kept.is_paused:
            return  # while its guard's pause lasts, nothing says that it is over
        if not kept.episode.is_told:
            await self._tell(replace(alert, episode=kept.episode), kept)
            return
        await self._send(replace(alert, kind=MessageKind.RESOLVED, episode=kept.episode), kept, None, "resolved")

    async def _send(self, alert: Alert, kept: KeptEpisode, after: Episode | None, what: str) -> None:
        message = await self._answers.message(alert)
        targets = targets_of(alert.rule.targets, self._settings.targets)
        if await self._keeping.move(alert.key, kept, after, targets, message):
            self._say(Happening(what, message["summary"], {"message": message}))
            self._posted_something.set()

    async def _post_forever(self, target: str) -> None:
        while True:
            try:
                while await self._post_next(target):
                    pass
                self.troubles.went_well(f"the outbox of {target}")
            except SecateurError as error:
                self.troubles.failed(f"the outbox of {target}", error)
            self._posted_something.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL_SECONDS * random.uniform(0.8, 1.2)):  # noqa: S311
                    await self._posted_something.wait()

    async def _post_next(self, target: str) -> bool:
        """Whether there was something to post. Raises the errors of the database."""
        seconds = self._settings.targets[target].timeout_seconds
        outgoing = await self._keeping.take([target], timedelta(seconds=seconds) + LEASE_MARGIN)
        if outgoing is None:
            return False
        said = {"target": target, "id": outgoing.message.get("id"), "kind": outgoing.message.get("kind")}
        try:
            await self._poster.post(target, outgoing.message)
        except NotPosted as error:
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
            await self._keeping.settle(outgoing, None, None)
            self._say(Happening("posted", f"{target}: posted “{outgoing.message.get('summary')}”", said))
        return True


def _pause(outgoing: Outgoing, error: NotPosted) -> timedelta | None:
    """None: it is given up."""
    if outgoing.age > GIVE_UP_AFTER:
        return None
    seconds = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(20, outgoing.attempts - 1)) * random.uniform(0.5, 1)  # noqa: S311
    return timedelta(seconds=min(3600.0, max(seconds, error.retry_after or 0.0)))


def immediately(settings: WatchSettings) -> WatchSettings:
    """The same rules, which fire at the first look: for whoever looks only once and remembers nothing."""
    rules = {name: rule.model_copy(update={"for_": timedelta(0)}) for name, rule in settings.rules.items()}
    return settings.model_copy(update={"rules": rules})
