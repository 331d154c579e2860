"""Where episodes and messages are kept: in the database, so that any number of watches post each message once; or in
this process, where nothing may be written."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol, Self
from uuid import uuid4

from secateur.errors import PermissionDenied
from secateur.postgres.database import Database
from secateur.postgres.statements import Statements
from secateur.runs import Scope
from secateur.watch.episodes import Episode, EpisodeKey, EpisodeState

_SQL = Statements.load("secateur.watch", "keeping.sql")

Message = dict[str, Any]
"""As `secateur.watch.forms.MessageForm` writes it."""


@dataclass(frozen=True, slots=True)
class KeptEpisode:
    """An episode as it was seen last."""

    episode: Episode
    version: int
    is_paused: bool = False
    """Its guard's pause lasts."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message that this watch is to post now."""

    app_id: str
    serial: int
    target: str
    message: Message
    attempts: int
    """With this one."""
    age: timedelta


class Keeping(Protocol):
    """Each method is one short transaction."""

    async def episodes(self) -> dict[EpisodeKey, KeptEpisode]:
        """All of this queue."""
        ...

    async def move(
        self,
        key: EpisodeKey,
        before: KeptEpisode | None,
        after: Episode | None,
        targets: Sequence[str] = (),
        message: Message | None = None,
    ) -> bool:
        """Keep the episode as it is now, or (None) end it, together with a message to the targets.

        False if somebody else was quicker, or if its guard's pause lasts.
        """
        ...

    async def take(self, targets: Sequence[str], lease: timedelta) -> Outgoing | None:
        """The next message that is due."""
        ...

    async def settle(self, message: Outgoing, error: str | None, again: timedelta | None) -> None:
        """It was posted (no `error`), is tried again, or (neither) is given up."""
        ...


class InDatabase:
    """Kept in the schema `secateur`, where they are still there when this process is not, and all others see them:
    so only here can guards act. Needs the role secateur_operator."""

    def __init__(self, database: Database, queue: str) -> None:
        self._database, self._queue = database, queue

    @classmethod
    async def where_possible(cls, database: Database, queue: str) -> Self | None:
        """None if this login may not keep them there, or nothing of secateur is there. Raises `DatabaseError` if that
        cannot be told now."""
        if database.read_only:
            return None
        try:
            is_there = await database.fetchval(_SQL["is_there"], repeatable=True)
        except PermissionDenied:
            return None
        return cls(database, queue) if is_there else None

    async def episodes(self) -> dict[EpisodeKey, KeptEpisode]:
        found = {}
        for row in await self._database.fetch(_SQL["episodes"], self._queue, repeatable=True):
            key = EpisodeKey(row["rule"], Scope(row["app_id"], row["function_id"] or None))
            try:
                episode = Episode.read(json.loads(row["episode"]))
            except (ValueError, KeyError, TypeError, AttributeError):
                # No watch wrote it: it must neither end this one, nor keep the rule from firing.
                episode = Episode(uuid4(), EpisodeState.PENDING, datetime.min.replace(tzinfo=UTC))
            found[key] = KeptEpisode(episode, row["version"], row["is_paused"])
        return found

    async def move(
        self,
        key: EpisodeKey,
        before: KeptEpisode | None,
        after: Episode | None,
        targets: Sequence[str] = (),
        message: Message | None = None,
    ) -> bool:
        return bool(
            await self._database.fetchval(
                _SQL["move"],
                *self._names(key),
                None if before is None else before.version,
                None if after is None else json.dumps(after.document()),
                list(targets),
                None if message is None else json.dumps(message),
            )
        )

    async def take(self, targets: Sequence[str], lease: timedelta) -> Outgoing | None:
        row = await self._database.fetchrow(_SQL["take"], list(targets), lease)
        if row is None:
            return None
        return Outgoing(
            row["app_id"],
            row["serial"],
            row["target"],
            json.loads(row["message"]),
            row["attempts"],
            row["now"] - row["made_at"],
        )

    async def settle(self, message: Outgoing, error: str | None, again: timedelta | None) -> None:
        await self._database.execute(_SQL["settle"], message.app_id, message.serial, error is None, error, again)

    async def guard_pause(self, key: EpisodeKey, lasts: timedelta, author: str) -> datetime | None:
        """Until when the function is paused; None if somebody else has paused it. Repeatable."""
        until: datetime | None = await self._database.fetchval(_SQL["guard_pause"], *self._names(key), lasts, author)
        return until

    async def end_guard_pauses(self) -> None:
        """Resume what guards have paused, when its time is over."""
        await self._database.fetch(_SQL["end_guard_pauses"])

    def _names(self, key: EpisodeKey) -> tuple[str, str, str, str]:
        return key.scope.app_id, key.scope.function_id or "", self._queue, key.rule


@dataclass
class _Waiting:
    outgoing: Outgoing
    key: EpisodeKey
    made_at: datetime
    due_at: datetime


class InProcess:
    """Kept as long as this process lives."""

    def __init__(self) -> None:
        self._episodes: dict[EpisodeKey, KeptEpisode] = {}
        self._waiting: dict[int, _Waiting] = {}
        self._serial = 0

    async def episodes(self) -> dict[EpisodeKey, KeptEpisode]:
        return dict(self._episodes)

    async def move(
        self,
        key: EpisodeKey,
        before: KeptEpisode | None,
        after: Episode | None,
        targets: Sequence[str] = (),
        message: Message | None = None,
    ) -> bool:
        if after is None:
            self._episodes.pop(key, None)
        else:
            self._episodes[key] = KeptEpisode(after, 1 if before is None else before.version + 1)
        now = datetime.now(UTC)
        for target in targets:
            self._serial += 1
            outgoing = Outgoing(key.scope.app_id, self._serial, target, message or {}, 0, timedelta(0))
            self._waiting[self._serial] = _Waiting(outgoing, key, now, now)
        return True

    async def take(self, targets: Sequence[str], lease: timedelta) -> Outgoing | None:
        now = datetime.now(UTC)
        ahead: set[tuple[EpisodeKey, str]] = set()
        for waiting in self._waiting.values():
            place = (waiting.key, waiting.outgoing.target)
            if place not in ahead and waiting.due_at <= now and waiting.outgoing.target in targets:
                waiting.due_at = now + lease
                taken = waiting.outgoing
                waiting.outgoing = replace(taken, attempts=taken.attempts + 1, age=now - waiting.made_at)
                return waiting.outgoing
            ahead.add(place)
        return None

    async def settle(self, message: Outgoing, error: str | None, again: timedelta | None) -> None:
        if error is None or again is None:
            self._waiting.pop(message.serial, None)
        elif (waiting := self._waiting.get(message.serial)) is not None:
            waiting.due_at = datetime.now(UTC) + again


def targets_of(named: Sequence[str] | None, known: Mapping[str, object]) -> list[str]:
    """The rule's targets; all of them where it names none."""
    return sorted(known if named is None else set(named))
