"""An episode: the time from when a rule's figure reaches its threshold until that is over. Pure; time is given.

(nothing) ──over──> pending ──over for `for`──> firing ──clear for `clears_after`──> (nothing)
                       └──────not over any more──────────────────────────────────────┘
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid4

from secateur.instants import utc
from secateur.runs import Scope
from secateur.watch.figures import RuleReading
from secateur.watch_settings import WatchRule


class EpisodeState(StrEnum):
    PENDING = "pending"
    """At the threshold, and not for long enough yet."""
    FIRING = "firing"


class EpisodeStep(StrEnum):
    """What a reading does to an episode."""

    NOTHING = "nothing"
    KEPT = "kept"
    """It is to be kept as it is now; nobody is told."""
    FIRED = "fired"
    FORGOTTEN = "forgotten"
    """It never fired."""
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True)
class EpisodeKey:
    """Which episode: there is one at a time of a rule about a function."""

    rule: str
    scope: Scope


@dataclass(frozen=True, slots=True)
class GuardDone:
    """What the guard did, or why it did nothing."""

    action: str
    """`paused`, `cancelled`, `proposed` or `nothing`."""
    until: datetime | None = None
    why: str | None = None
    id: str | None = None
    """Of the cancellation or the proposal."""
    is_final: bool = True
    """Whether it is not tried again."""


@dataclass(frozen=True, slots=True)
class Episode:
    id: UUID
    state: EpisodeState
    over_since: datetime
    fired_at: datetime | None = None
    clear_since: datetime | None = None
    is_told: bool = False
    """The message is in the outbox."""
    guard: GuardDone | None = None

    def document(self) -> dict[str, Any]:
        """As it is kept."""
        guard = None
        if self.guard is not None:
            guard = {
                "action": self.guard.action,
                "until": _text(self.guard.until),
                "why": self.guard.why,
                "id": self.guard.id,
                "is_final": self.guard.is_final,
            }
        return {
            "id": str(self.id),
            "state": str(self.state),
            "over_since": _text(self.over_since),
            "fired_at": _text(self.fired_at),
            "clear_since": _text(self.clear_since),
            "is_told": self.is_told,
            "guard": guard,
        }

    @classmethod
    def read(cls, document: Any) -> Episode:
        """Raises `ValueError`, `KeyError` or `TypeError` for what no watch wrote."""
        guard = document["guard"]
        done = None
        if guard is not None:
            done = GuardDone(
                guard["action"], _moment(guard["until"]), guard["why"], guard["id"], bool(guard["is_final"])
            )
        over_since = _moment(document["over_since"])
        if over_since is None:
            raise ValueError("an episode has a beginning")
        return cls(
            UUID(document["id"]),
            EpisodeState(document["state"]),
            over_since,
            _moment(document["fired_at"]),
            _moment(document["clear_since"]),
            bool(document["is_told"]),
            done,
        )


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else utc(moment)


def _moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a time needs a zone")
    return moment


def step(
    before: Episode | None, reading: RuleReading, rule: WatchRule, now: datetime
) -> tuple[EpisodeStep, Episode | None]:
    """What the reading does to the episode, and what it is then; None: there is none."""
    if before is None:
        if not reading.is_over:
            return EpisodeStep.NOTHING, None
        begun = Episode(uuid4(), EpisodeState.PENDING, now)
        return (
            (EpisodeStep.KEPT, begun)
            if rule.for_
            else (EpisodeStep.FIRED, replace(begun, state=EpisodeState.FIRING, fired_at=now))
        )
    if before.state is EpisodeState.PENDING:
        return _pending(before, reading, rule, now)
    if reading.is_clear and before.clear_since is None:
        before = replace(before, clear_since=now)
        if rule.clears_after:
            return EpisodeStep.KEPT, before
    elif not reading.is_clear:
        # A figure in between neither fires nor clears; one that is not known changes nothing.
        if before.clear_since is None or reading.value is None:
            return EpisodeStep.NOTHING, before
        return EpisodeStep.KEPT, replace(before, clear_since=None)
    if before.clear_since is not None and now - before.clear_since >= rule.clears_after:
        return EpisodeStep.RESOLVED, None
    return EpisodeStep.NOTHING, before


def _pending(
    before: Episode, reading: RuleReading, rule: WatchRule, now: datetime
) -> tuple[EpisodeStep, Episode | None]:
    if reading.value is None:
        return EpisodeStep.NOTHING, before
    if not reading.is_over:
        return EpisodeStep.FORGOTTEN, None
    if now - before.over_since >= rule.for_:
        return EpisodeStep.FIRED, replace(before, state=EpisodeState.FIRING, fired_at=now)
    return EpisodeStep.NOTHING, before
