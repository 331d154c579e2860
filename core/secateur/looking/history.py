"""The history of the depth: points of the last 15 minutes, 2 hours or 48 hours, and since when it has been growing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from secateur.engines.base import Remembering, Source, queue_of, unsupported
from secateur.engines.unknown import no_such
from secateur.errors import Problem, RequestError
from secateur.looking.growth import FEWEST_RUNS, growing_since, is_at_the_edge, ladder
from secateur.runs import FunctionDepth, Scope
from secateur.samples import DEFAULT_RANGE, RANGES, Backlogs, Mark, Sample, SampleGap, SampleSteps

SECOND = timedelta(seconds=1)

POINTS = 720
"""Points of a time that is none of the ranges, as of the longest of these; but not one every less than a second."""

OVERVIEW_POINTS = 60
"""Points for every function at once, enough for a sparkline."""

LONGEST_HOLD = timedelta(seconds=30)
"""How long a queue counts as unchanged after its last sample."""

COARSE = timedelta(seconds=10)
"""The distance of the samples of all functions together."""

ONE_BY_ONE = 5
"""For up to this many functions, samples are queried by name; for more, those of all functions are read."""

GROWTH_SECONDS = 10.0
"""How long the list of growing functions is cached: there is a new sample every ten seconds."""


@dataclass(frozen=True, slots=True)
class Point:
    """The depth at the end of a step; a figure is None if it is not known."""

    at: datetime
    queued: int | None = None
    scheduled: int | None = None
    running: int | None = None
    failed: int | None = None
    """Runs that had failed for good and were kept."""
    cancelling: int | None = None
    """Estimate: runs that a cancellation matched but had not reached yet."""
    in_per_second: float | None = None
    """Arrivals per second, averaged over the step."""
    out_per_second: float | None = None
    """Runs per second that completed or failed for good, averaged over the step."""

    @property
    def backlog(self) -> int | None:
        return None if self.queued is None or self.scheduled is None else self.queued + self.scheduled


@dataclass(frozen=True, slots=True)
class Series:
    """The history of the depth of one function, or of a whole app."""

    scope: Scope
    steps: SampleSteps
    points: list[Point]
    """One for the end of every step, oldest first."""
    gaps: list[SampleGap]
    """When none of secateur's processes was alive, so that nothing is known."""
    marks: list[Mark]
    """What people did to the scope in this time, oldest first; the last 200."""
    growing_since: datetime | None
    """See `secateur.looking.growth`."""

    @property
    def grows_since(self) -> datetime | None:
        """`growing_since`; None as soon as it shrinks, that is, if it is less deep than a step ago and that step was no
        deeper than the one before."""
        depths = [each.backlog for each in self.points if each.backlog is not None][-3:]
        return None if len(depths) == 3 and depths[0] >= depths[1] > depths[2] else self.growing_since


class DepthHistory:
    """Reads the history of one queue's depth. Raises `Unsupported` if its engine keeps none."""

    def __init__(self, engine: Source) -> None:
        self._engine = engine
        self._growing: dict[Scope, datetime] = {}
        self._looked_at = float("-inf")

    @property
    def is_kept(self) -> bool:
        return isinstance(self._engine, Remembering)

    def is_kept_of(self, app_id: str) -> bool:
        """Whether the queue that has the app keeps a history; not every queue does."""
        return isinstance(queue_of(self._engine, app_id), Remembering)

    async def series_of(self, scope: Scope, range_name: str) -> Series:
        """`series` of one of the ranges. Raises `RequestError` for anything else."""
        _range(range_name)
        return await self.series(scope, range_name)

    async def series(
        self, scope: Scope, range_: str | timedelta = DEFAULT_RANGE, *, around: datetime | None = None
    ) -> Series:
        """The history of one function, or of an app as a whole; `range_` is one of `RANGES`, or any other time.

        It ends now or, with `around`, has that moment in the middle as far as it is kept.

        Raises `RequestError` for another range, and `NotFound` for an unknown scope.
        """
        reach, length = (range_, max(SECOND, range_ / POINTS)) if isinstance(range_, timedelta) else _range(range_)
        steps = await self._steps(reach, length, around)
        samples = await self._source.samples(scope, _with_the_one_before(steps))
        if not any(sample.entered for sample in samples) and not _has(depths := await self._engine.depth(), scope):
            raise no_such(scope, depths)
        return Series(
            scope,
            steps,
            points(samples, steps),
            await self._source.gaps(scope.app_id, steps.since, steps.until),
            await self._source.marks(scope, steps.since, steps.until),
            await self.growing_since(scope),
        )

    async def overview(self, range_name: str = DEFAULT_RANGE, count: int = OVERVIEW_POINTS) -> list[Series]:
        """`count` points of every function that has had runs, by app and function; without marks."""
        reach, _ = _range(range_name)
        steps = await self._steps(reach, reach / count)
        found = await self._source.samples_of_functions(_with_the_one_before(steps))
        gaps = {
            app_id: await self._source.gaps(app_id, steps.since, steps.until)
            for app_id in sorted({scope.app_id for scope in found})
        }
        growing = await self.growing(await self._engine.depth())
        return [
            Series(scope, steps, points(samples, steps), gaps[scope.app_id], [], growing.get(scope))
            for scope, samples in sorted(found.items(), key=lambda each: (each[0].app_id, each[0].function_id or ""))
        ]

    async def changes(self, reach: timedelta, count: int) -> dict[Scope, list[Sample]]:
        """Some `count` samples of every function that has had runs, from `reach` ago until now, oldest first.

        Nothing where the engine keeps no history.
        """
        if not self.is_kept:
            return {}
        now, length = await self._engine.clock(), max(COARSE, reach / count)
        return await self._source.samples_of_functions([SampleSteps(now - reach - length, now, length)])

    async def growing_since(self, scope: Scope) -> datetime | None:
        """When the function, or the app as a whole, was last at its usual depth; None if it is not growing."""
        return growing_since(await self._source.samples(scope, ladder(await self._engine.clock())))

    async def began_growing(self, scope: Scope) -> datetime | None:
        """Like `growing_since`, but None if it was growing already when the history began, or began again."""
        if not self.is_kept:
            return None
        samples = await self._source.samples(scope, ladder(await self._engine.clock()))
        since = growing_since(samples)
        if since is None or is_at_the_edge(samples, since):
            return None
        return since

    async def growing(self, depths: Iterable[FunctionDepth]) -> dict[Scope, datetime]:
        """All functions that grow. The answer is remembered for some seconds."""
        deep = self._deep(depths)
        if deep and not self._is_remembered:
            self._looked_at = time.monotonic()
            self._growing = await self._look(deep)
        return {scope: since for scope, since in self._growing.items() if scope in deep}

    async def growing_of(self, depths: Iterable[FunctionDepth]) -> dict[Scope, datetime]:
        """Those of these functions that grow; only their samples are read."""
        deep = self._deep(depths)
        found = self._growing if self._is_remembered or not deep else await self._look(deep)
        return {scope: since for scope, since in found.items() if scope in deep}

    def _deep(self, depths: Iterable[FunctionDepth]) -> dict[Scope, FunctionDepth]:
        """Those whose backlog is large enough to count as growing."""
        if not self.is_kept:
            return {}
        return {each.scope: each for each in depths if each.backlog > FEWEST_RUNS}

    @property
    def _is_remembered(self) -> bool:
        return time.monotonic() <= self._looked_at + GROWTH_SECONDS

    async def _look(self, deep: Mapping[Scope, FunctionDepth]) -> dict[Scope, datetime]:
        steps = ladder(next(iter(deep.values())).as_of)
        if len(deep) <= ONE_BY_ONE:
            backlogs = {scope: Backlogs.of(await self._source.samples(scope, steps)) for scope in deep}
        else:
            backlogs = await self._source.backlogs_of_functions(steps, sorted({scope.app_id for scope in deep}))
        return await asyncio.to_thread(_growing, {scope: backlogs[scope] for scope in deep if scope in backlogs})

    @property
    def _source(self) -> Remembering:
        if not isinstance(self._engine, Remembering):
            raise unsupported(self._engine, "show its history")
        return self._engine

    async def _steps(self, reach: timedelta, length: timedelta, around: datetime | None = None) -> SampleSteps:
        # The last step includes the present, and has not ended yet.
        until = (await self._engine.clock()).replace(microsecond=0) + SECOND
        if around is not None:
            oldest = until - max(longest for longest, _ in RANGES.values()) + reach
            until = max(oldest, min(until, around.replace(microsecond=0) + reach / 2))
        return SampleSteps(until - reach, until, length)


def points(samples: Sequence[Sample], steps: SampleSteps) -> list[Point]:
    """The points at the ends of the steps, from samples that may begin before the first step.

    A step without a sample is like the one before it, for up to half a minute: while nothing happens, there are fewer
    samples. What came in or went out between two samples is spread evenly; if they are further apart, it is not known
    when it did.
    """
    found: list[Point] = []
    place = 0
    farthest = max(LONGEST_HOLD, 2 * steps.length)
    for number in range(1, (steps.until - steps.since) // steps.length + 1):
        end = steps.since + number * steps.length
        while place < len(samples) and samples[place].at <= end:
            place += 1
        if place == 0 or samples[place - 1].at <= end - max(LONGEST_HOLD, steps.length):
            found.append(Point(end))
            continue
        sample = samples[place - 1]
        is_new = sample.at > end - steps.length
        one = place - 1 if is_new or place == len(samples) else place
        entered, drained = _rates(samples[one - 1], samples[one], farthest) if one else (None, None)
        found.append(
            Point(
                end,
                sample.queued,
                sample.scheduled,
                sample.running,
                sample.failed,
                sample.cancelling,
                entered,
                drained,
            )
        )
    return found


def _range(name: str) -> tuple[timedelta, timedelta]:
    if not isinstance(name, str) or name not in RANGES:
        given = f", not {name!r}" if isinstance(name, str) else ""
        raise RequestError([Problem("range", f"must be one of {', '.join(RANGES)}{given}")])
    return RANGES[name]


def _with_the_one_before(steps: SampleSteps) -> list[SampleSteps]:
    """The range extended backwards by as long as a sample may count for the first step."""
    before = -(-LONGEST_HOLD // steps.length) * steps.length
    return [SampleSteps(steps.since - before, steps.until, steps.length)]


def _rates(before: Sample, after: Sample, farthest: timedelta) -> tuple[float | None, float | None]:
    """Runs in and out per second between two samples."""
    apart = after.at - before.at
    if apart > farthest:
        return None, None
    seconds = apart.total_seconds()
    return (
        round(max(0, after.entered - before.entered) / seconds, 3),
        round(max(0, after.drained - before.drained) / seconds, 3),
    )


def _growing(backlogs: Mapping[Scope, Backlogs]) -> dict[Scope, datetime]:
    return {scope: since for scope, each in backlogs.items() if (since := growing_since(each)) is not None}


def _has(depths: Iterable[FunctionDepth], scope: Scope) -> bool:
    return any(scope.covers(each.app_id, each.function_id) for each in depths)
