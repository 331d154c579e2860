"""How many runs were queued in the last quarter of an hour: as the database remembers it, and as it is seen here."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from datetime import datetime

from secateur.looking.history import OVERVIEW_POINTS, Series
from secateur.runs import FunctionDepth, Scope
from secateur.samples import DEFAULT_RANGE, RANGES
from secateur.words.sparklines import BLOCKS, UNKNOWN

STEP_SECONDS = RANGES[DEFAULT_RANGE][0].total_seconds() / OVERVIEW_POINTS
"""From one point to the next. Points lie on fixed times, so that a line moves only once in so long."""


class Trends:
    """The points of every function and app, on one scale: the eye goes to the deepest queue, not to the liveliest."""

    def __init__(self) -> None:
        self._points: dict[Scope, deque[int | None]] = {}
        self._last_step: int | None = None
        self._first_step: int | None = None
        """Of what was seen here."""
        self.highest = 0

    def see(self, depths: Iterable[FunctionDepth], as_of: datetime) -> bool:
        """Note what is there now, once in every step; returns whether the lines have moved."""
        step = int(as_of.timestamp() // STEP_SECONDS)
        missed = 0 if self._last_step is None else min(OVERVIEW_POINTS, step - self._last_step)
        if self._last_step is not None and missed <= 0:
            return False
        if self._first_step is None:
            self._first_step = step
        self._last_step = step
        unseen = [None] * (missed - 1)
        present = {Scope(depth.app_id, depth.function_id or None): depth.queued for depth in depths}
        self._points = {scope: points for scope, points in self._points.items() if scope in present}
        for scope, queued in present.items():
            points = self._points.setdefault(scope, deque(maxlen=OVERVIEW_POINTS))
            points.extend(unseen)
            points.append(queued)
        self._find_highest()
        return True

    def remember(self, past: Sequence[Series]) -> None:
        """Put the database's history before what was seen here."""
        first = self._first_step
        if first is None:
            return
        apps: dict[Scope, dict[int, int]] = {}
        for series in past:
            before: dict[int, int | None] = dict.fromkeys(range(first - OVERVIEW_POINTS, first))
            app = apps.setdefault(Scope(series.scope.app_id), {})
            for point in series.points:
                step = int(point.at.timestamp() // STEP_SECONDS)
                if step in before:
                    before[step] = point.queued
                    if point.queued is not None:
                        app[step] = app.get(step, 0) + point.queued
            self._put_before(series.scope, list(before.values()))
        for scope, known in apps.items():
            self._put_before(scope, [known.get(step) for step in range(first - OVERVIEW_POINTS, first)])
        self._find_highest()

    def line(self, scope: Scope, queued: int, width: int, bars: str = BLOCKS) -> str:
        """The points as `width` cells, the last of which is how many are `queued` now; blank where nothing is known."""
        if width <= 0:
            return ""
        size = -(-OVERVIEW_POINTS // width)
        values = [*[*self._points.get(scope, ())][:-1], queued]
        last = self._last_step or 0
        parts: list[int | None] = []
        number = None
        for step, value in enumerate(values, last - len(values) + 1):
            if step // size != number:
                number = step // size
                parts.append(value)
            elif value is not None:
                parts[-1] = value
        return "".join(self._bar(value, bars) for value in parts[-width:]).rjust(width)

    def _bar(self, value: int | None, bars: str) -> str:
        if value is None:
            return UNKNOWN
        return bars[min(len(bars) - 1, value * len(bars) // max(1, self.highest))]

    def _put_before(self, scope: Scope, values: Sequence[int | None]) -> None:
        if (points := self._points.get(scope)) is not None:
            self._points[scope] = deque([*values, *points], maxlen=OVERVIEW_POINTS)

    def _find_highest(self) -> None:
        self.highest = max(
            (max((value for value in points if value is not None), default=0) for points in self._points.values()),
            default=0,
        )
