"""The figures that rules look at: one look at a queue, and what each rule finds in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from secateur.looking.depth import Trend, outlook, waited_seconds
from secateur.looking.reader import Reader
from secateur.requests import CancellationRequest
from secateur.runs import FunctionDepth, Scope
from secateur.samples import Sample
from secateur.watch_settings import Metric, WatchRule

SAMPLES = 15
"""In how many steps the time of `failing_share` is read."""


@dataclass(frozen=True, slots=True)
class RuleReading:
    """What a rule finds about one function, or about an app as a whole."""

    scope: Scope
    value: float | None
    """In the unit of the rule's metric. None: not known now, so that nothing begins or ends."""
    is_over: bool
    """It is at the threshold."""
    is_clear: bool
    """It is below where the rule clears, or the rule does not apply any more."""
    depths: tuple[FunctionDepth, ...]
    """Of the function, or of the app's functions; none for one that is not there any more."""

    @property
    def backlog(self) -> int:
        return sum(each.backlog for each in self.depths)


def gone(scope: Scope) -> RuleReading:
    """Of a function that is not there any more."""
    return RuleReading(scope, 0.0, False, True, ())


class QueueLook:
    """One look at a queue, shared by all rules."""

    def __init__(self, reader: Reader, now: datetime, depths: Sequence[FunctionDepth]) -> None:
        self._reader, self.now, self._depths = reader, now, depths
        self._samples: dict[timedelta, dict[Scope, list[Sample]]] = {}

    @classmethod
    async def at(cls, reader: Reader) -> QueueLook:
        """Raises the errors of the database."""
        depths = await reader.depth()
        return cls(reader, await reader.clock(), depths)

    def blind_spot(self, rule: WatchRule) -> str | None:
        """Why the rule never fires, or never for some apps, because nothing keeps what it looks at; in words."""
        if rule.metric is not Metric.FAILING_SHARE:
            return None
        history, needs = self._reader.history, f"{rule.metric} needs a history of the depth"
        if not history.is_kept:
            return f"never fires: {needs}, which {self._reader.engine_name} does not keep"
        apps = sorted({each.app_id for each in self._depths if _is_meant(rule, each)})
        if blind := [app for app in apps if not history.is_kept_of(app)]:
            return f"never fires for {', '.join(blind)}: {needs}, which their queues do not keep"
        return None

    async def readings(self, rule: WatchRule) -> list[RuleReading]:
        """What the rule finds, about each function of its scope; the largest backlog first.

        Raises `RequestError` where the queue does not know what its `if` reads.
        """
        if rule.metric is Metric.MATCH_RATE:
            return [await self._match_rate(rule)]
        depths = [each for each in self._depths if _is_meant(rule, each)]
        shares = await self._failing(rule, depths) if rule.metric is Metric.FAILING_SHARE else {}
        found = []
        for depth in depths:
            match rule.metric:
                case Metric.GROWTH:
                    found.append(self._growth(rule, depth))
                case Metric.CLAIMABLE_AGE:
                    found.append(_age(rule, depth))
                case _:
                    found.append(_share(rule, depth, shares.get(depth.scope)))
        return sorted(found, key=lambda each: (-each.backlog, each.scope.app_id, each.scope.function_id or ""))

    def _growth(self, rule: WatchRule, depth: FunctionDepth) -> RuleReading:
        """By the depth's history where it is kept; else by the change of the last ten seconds, once there are two looks
        at it or the queue says what comes in."""
        kept, trend = self._reader.history.is_kept_of(depth.app_id), outlook(depth).trend
        if not kept and depth.in_per_second is None and depth.growth_per_second is None:
            return RuleReading(depth.scope, None, False, False, (depth,))
        grows = depth.growing_since is not None if kept else trend is Trend.GROWING
        value = float(depth.backlog if grows else 0)
        is_over = value >= rule.threshold and trend is not Trend.DRAINING
        has_stopped = trend is not Trend.GROWING and not grows if kept else trend in (Trend.DRAINING, Trend.EMPTY)
        return RuleReading(
            depth.scope, value, is_over, not is_over and (depth.backlog < rule.clears_below or has_stopped), (depth,)
        )

    async def _match_rate(self, rule: WatchRule) -> RuleReading:
        assert rule.app is not None  # noqa: S101 - the settings have checked it
        scope = Scope(rule.app, rule.function)
        depths = tuple(each for each in self._depths if scope.covers(each.app_id, each.function_id))
        if not depths:
            return gone(scope)
        request = request_of(scope, rule.if_)
        return _reading(rule, scope, await self._reader.counter.arrival_rate(request), depths)

    async def _failing(self, rule: WatchRule, depths: Sequence[FunctionDepth]) -> dict[Scope, tuple[int, int]]:
        """How many runs have failed and ended in that time, by function, as the history of the depth says."""
        if not depths:
            return {}
        if rule.within not in self._samples:
            self._samples[rule.within] = await self._reader.history.changes(rule.within, SAMPLES)
        found = {}
        for depth in depths:
            samples = [each for each in self._samples[rule.within].get(depth.scope, []) if each.failed is not None]
            if len(samples) > 1:
                first, last = samples[0], samples[-1]
                found[depth.scope] = (
                    max(0, (last.failed or 0) - (first.failed or 0)),
                    max(0, last.drained - first.drained),
                )
        return found


def request_of(scope: Scope, if_: str | None, **more: object) -> CancellationRequest:
    """The request for the runs of the scope that match. Raises `RequestError`."""
    body = {"app_id": scope.app_id, "function_id": scope.function_id, "if": if_} | more
    return CancellationRequest.parse({name: value for name, value in body.items() if value is not None})


def _is_meant(rule: WatchRule, depth: FunctionDepth) -> bool:
    return rule.app in (None, depth.app_id) and rule.function in (None, depth.function_id)


def _reading(rule: WatchRule, scope: Scope, value: float, depths: tuple[FunctionDepth, ...]) -> RuleReading:
    return RuleReading(scope, value, value >= rule.threshold, value < rule.clears_below, depths)


def _age(rule: WatchRule, depth: FunctionDepth) -> RuleReading:
    """Nobody is told of the age of runs that somebody holds up on purpose."""
    return _reading(rule, depth.scope, 0.0 if depth.paused else waited_seconds(depth), (depth,))


def _share(rule: WatchRule, depth: FunctionDepth, ended: tuple[int, int] | None) -> RuleReading:
    if ended is None:
        return RuleReading(depth.scope, None, False, False, (depth,))
    failed, left = ended
    share = min(1.0, failed / left) if left else 0.0
    is_over = left >= rule.at_least and share >= rule.threshold
    return RuleReading(depth.scope, share, is_over, not is_over and share < rule.clears_below, (depth,))
