"""The watch: looks at its rules again and again, moves their episodes on, and posts what is in the outbox."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from secateur.errors import SecateurError, Unreachable
from secateur.instants import utc
from secateur.troubles import Trouble, Troubles
from secateur.watch.answers import Alert, Answers
from secateur.watch.episodes import Episode, EpisodeKey, EpisodeState, EpisodeStep, GuardDone, step
from secateur.watch.figures import QueueLook, RuleReading, gone
from secateur.watch.forms import MessageKind
from secateur.watch.guards import NOT_KEPT, Guards
from secateur.watch.keeping import Keeping, KeptEpisode, targets_of
from secateur.watch.outbox import Happening, Outbox, Posting, Say
from secateur.watch_settings import Guard, WatchRule, WatchSettings
from secateur.watch_state import RuleState, WatchState

logger = logging.getLogger(__name__)

MOST_FIRING = 20
"""Episodes of one rule that people are told of at a time; more would bury them. The largest backlogs come first."""


class QueueWatch:
    """Any number of them may watch the same queue with the same rules: each message is posted by one of them."""

    def __init__(
        self,
        settings: WatchSettings,
        keeping: Keeping,
        answers: Answers,
        guards: Guards | None,
        poster: Posting,
        look: Callable[[], Awaitable[QueueLook]],
        say: Say,
    ) -> None:
        self._settings, self._keeping, self._answers, self._guards = settings, keeping, answers, guards
        self._look, self._say = look, say
        self._outbox = Outbox(settings.targets, keeping, poster, say)
        self._untold: dict[str, int] = {}
        self._blind: dict[str, str | None] = {}
        """Of each rule, why it never fires."""
        self._firing: Counter[str] = Counter()
        self._evaluated_at: datetime | None = None
        self._troubles = Troubles(logger)

    @property
    def troubles(self) -> Iterator[Trouble]:
        """What keeps failing: the evaluation, a rule, an outbox, or posting to a target."""
        yield from self._troubles
        yield from self._outbox.troubles

    def state(self) -> WatchState:
        """As of the last evaluation."""
        problems = {each.what: each.error for each in self._troubles}
        return WatchState(
            evaluated_at=None if self._evaluated_at is None else utc(self._evaluated_at),
            is_kept=self._guards is not None,
            targets=sorted(self._settings.targets),
            rules=[
                RuleState(
                    name=name,
                    firing=self._firing[name],
                    problem=self._blind.get(name) or problems.get(_of_rule(name)),
                )
                for name in sorted(self._settings.rules)
            ],
        )

    async def run(self) -> None:
        """Until cancelled. Survives a database and receivers that go away."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._evaluate_forever())
            group.create_task(self._outbox.run())

    async def once(self) -> bool:
        """Evaluate every rule and post what is due, once; whether any rule fires. Raises the errors of the database."""
        await self.evaluate()
        await self._outbox.post_due()
        return any(self._firing[name] for name in self._settings.rules)

    async def _evaluate_forever(self) -> None:
        while True:
            try:
                await self.evaluate()
                self._troubles.went_well("evaluating the rules")
            except SecateurError as error:
                self._troubles.failed("evaluating the rules", error)
            await asyncio.sleep(self._settings.every_seconds)

    async def evaluate(self) -> None:
        """One look at the queue, and what follows from it for every rule."""
        if self._guards is not None:
            await self._guards.end_pauses()
        # First what is kept: an episode that another watch ends after this look is not begun again by it.
        kept = await self._keeping.episodes()
        look = await self._look()
        self._look_for_blind_spots(look)
        for name, rule in self._settings.rules.items():
            what = _of_rule(name)
            try:
                readings = await look.readings(rule)
                own = {key: one for key, one in kept.items() if key.rule == name}
                await self._apply(name, rule, readings, own, look)
            except Unreachable:
                raise
            except SecateurError as error:
                # The other rules are not held up by it.
                self._troubles.failed(what, error)
            else:
                self._troubles.went_well(what)
        kept = await self._keeping.episodes()
        self._firing = Counter(key.rule for key, one in kept.items() if one.episode.state is EpisodeState.FIRING)
        self._evaluated_at = look.now

    def _look_for_blind_spots(self, look: QueueLook) -> None:
        for name, rule in self._settings.rules.items():
            why = look.blind_spot(rule)
            if why is not None and why != self._blind.get(name):
                self._say(Happening("blind", f"rule {name} {why}", {"rule": name}))
            self._blind[name] = why

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
            now = await self._act(alert.key, kept.episode, guard)
            if now.action != "nothing" or now.is_final:
                episode = replace(kept.episode, guard=now)
                await self._send(replace(alert, kind=MessageKind.GUARD, episode=episode), kept, episode, "guard")

    async def _tell(self, alert: Alert, kept: KeptEpisode) -> None:
        """The guard first: it must not wait for words."""
        episode = kept.episode
        if alert.rule.guard is not None and episode.guard is None:
            episode = replace(episode, guard=await self._act(alert.key, episode, alert.rule.guard))
        episode = replace(episode, is_told=True)
        await self._send(replace(alert, kind=MessageKind.FIRING, episode=episode), kept, episode, "fired")

    async def _act(self, key: EpisodeKey, episode: Episode, guard: Guard) -> GuardDone:
        return NOT_KEPT if self._guards is None else await self._guards.act(key, episode, guard)

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
            self._outbox.notice()


def _of_rule(name: str) -> str:
    """What the troubles call it."""
    return f"rule {name}"
