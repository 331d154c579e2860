"""Which functions have samples of their own, so that a scrape costs the same however many there are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from secateur.runs import FunctionDepth

MOST_FUNCTIONS = 200
"""The functions with the largest backlogs; the others are summed."""

OTHERS = ("(other)", "(other)")
"""The names under which these are summed."""

Names = tuple[str, str]
"""App and function."""


@dataclass(frozen=True, slots=True)
class Totals:
    """Counters; None where the engine does not keep count."""

    entered: int | None
    left: int | None
    failed: int | None

    @classmethod
    def of(cls, depth: FunctionDepth) -> Totals:
        return cls(depth.ever_entered, depth.ever_left, depth.ever_failed)

    def since(self, before: Totals) -> Totals:
        """How much they grew."""
        return Totals(
            _grown(self.entered, before.entered), _grown(self.left, before.left), _grown(self.failed, before.failed)
        )

    def plus(self, more: Totals) -> Totals:
        return Totals(_sum(self.entered, more.entered), _sum(self.left, more.left), _sum(self.failed, more.failed))


@dataclass(frozen=True, slots=True)
class Shown:
    """One look at the depth, as it is shown."""

    known: int
    """How many functions there are in all."""
    groups: Sequence[tuple[Names, Sequence[FunctionDepth]]]
    """Each function by itself, then all others together."""
    totals: Sequence[tuple[Names, Totals]]


class TopFunctions:
    """Keeps what was shown: a function stays as long as it is among twice as many, so that series do not come and go.

    The counters of the others begin at 0 with this process, and grow with each of them while it is one of them. Their
    sum would fall whenever one of them is shown, which Prometheus takes for a restart.
    """

    def __init__(self, most: int = MOST_FUNCTIONS) -> None:
        self._most = most
        self._kept: set[Names] = set()
        self._others: dict[Names, Totals] = {}
        """What the others had at the last look."""
        self._sum = Totals(None, None, None)

    def show(self, depths: Sequence[FunctionDepth]) -> Shown:
        ranked = sorted(depths, key=lambda each: (-each.backlog - each.running, each.app_id, each.function_id))
        near = ranked[: 2 * self._most]
        stays = [each for each in near if _names(each) in self._kept][: self._most]
        comes = [each for each in ranked[: self._most] if _names(each) not in self._kept]
        chosen = {_names(each) for each in [*stays, *comes][: self._most]}
        # The largest is always shown, whatever was there before it.
        chosen |= {_names(each) for each in ranked[: self._most // 2]}
        self._kept = chosen
        shown = [each for each in depths if _names(each) in chosen]
        others = [each for each in depths if _names(each) not in chosen]
        self._count(others)
        groups: list[tuple[Names, Sequence[FunctionDepth]]] = [(_names(each), [each]) for each in shown]
        totals = [(_names(each), Totals.of(each)) for each in shown]
        if others:
            groups.append((OTHERS, others))
            totals.append((OTHERS, self._sum))
        return Shown(len(depths), groups, totals)

    def _count(self, others: Sequence[FunctionDepth]) -> None:
        now = {_names(each): Totals.of(each) for each in others}
        for names, totals in now.items():
            if totals != (before := self._others.get(names)):
                self._sum = self._sum.plus(totals.since(before or totals))
        self._others = now


def _names(depth: FunctionDepth) -> Names:
    return depth.app_id, depth.function_id


def _grown(now: int | None, before: int | None) -> int | None:
    return None if now is None else max(0, now - (before or 0))


def _sum(one: int | None, other: int | None) -> int | None:
    return one if other is None else (one or 0) + other
