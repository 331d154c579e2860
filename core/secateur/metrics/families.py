"""The metrics of a queue: their names, what they mean, and how depth and ledger become their samples.

By Prometheus' conventions: base units, counters end in `_total`, one metric is one thing whatever its labels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from secateur import __version__
from secateur.ledger.steps import LedgerFigures
from secateur.looking.depth import Outlook, Trend, outlook, waited_seconds
from secateur.metrics.exposition import Family
from secateur.metrics.shown import Shown, Totals
from secateur.runs import FunctionDepth, RunStatus
from secateur.states import State

FUNCTION = ("app", "function")

STATUSES: tuple[tuple[RunStatus, Callable[[FunctionDepth], int | None]], ...] = (
    (RunStatus.QUEUED, lambda depth: depth.queued),
    (RunStatus.SCHEDULED, lambda depth: depth.scheduled),
    (RunStatus.RUNNING, lambda depth: depth.running),
    (RunStatus.FAILED, lambda depth: depth.failed),
)


@dataclass(frozen=True, slots=True)
class FunctionGauge:
    """A gauge with a value for each function; `total` says what it is of several together."""

    name: str
    help: str
    value: Callable[[FunctionDepth, Outlook], float | None]
    """None: not known."""
    total: Callable[[Sequence[float]], float] = sum


GAUGES = (
    FunctionGauge(
        "secateur_oldest_claimable_seconds",
        "How long the run has waited that has been claimable for longest; 0 if none is claimable.",
        lambda depth, _: waited_seconds(depth),
        max,
    ),
    FunctionGauge(
        "secateur_cancelling_runs",
        "Runs still in the queue that a committed cancellation matches (an estimate).",
        lambda depth, _: depth.cancelling,
    ),
    FunctionGauge(
        "secateur_lost_runs",
        "The part of the running runs whose leases have expired: no live worker has them.",
        lambda depth, _: depth.lost,
    ),
    FunctionGauge(
        "secateur_arriving_runs_per_second",
        "Runs enqueued per second, averaged over ten seconds.",
        lambda depth, _: depth.in_per_second,
    ),
    FunctionGauge(
        "secateur_leaving_runs_per_second",
        "Runs completed or failed per second, averaged over ten seconds.",
        lambda depth, _: depth.out_per_second,
    ),
    FunctionGauge(
        "secateur_drain_seconds",
        "Until the backlog is empty at the present rate; +Inf if it does not drain.",
        lambda _, ahead: math.inf if ahead.drains_in_seconds is None else ahead.drains_in_seconds,
        max,
    ),
    FunctionGauge(
        "secateur_stalled",
        "1 if there is a backlog, and for a minute no run has come, left or been running.",
        lambda _, ahead: ahead.trend is Trend.STALLED,
        max,
    ),
    FunctionGauge(
        "secateur_paused", "1 if no run is claimed until somebody resumes.", lambda depth, _: depth.paused, max
    ),
)

COUNTERS: tuple[tuple[str, str, Callable[[Totals], int | None]], ...] = (
    ("secateur_runs_entered", "Runs that were enqueued.", lambda totals: totals.entered),
    ("secateur_runs_left", "Runs that completed or failed for good.", lambda totals: totals.left),
    ("secateur_runs_failed", "Runs that failed for good.", lambda totals: totals.failed),
)


def of_program(engine: str) -> Iterable[Family]:
    build = Family("secateur_build_info", "Always 1; the labels say what runs.", labels=("version", "engine"))
    build.add((__version__, engine), 1)
    yield build


def of_depth(shown: Shown) -> Iterable[Family]:
    """A sample for each function that is shown, and one for all others together."""
    known = Family("secateur_functions", "How many functions the queue has.")
    known.add((), shown.known)
    yield known
    runs = Family(
        "secateur_runs", "Runs by status; `failed` are those that are not deleted yet.", labels=(*FUNCTION, "status")
    )
    for status, of_status in STATUSES:
        for names, depths in shown.groups:
            values = [value for value in map(of_status, depths) if value is not None]
            if values:
                runs.add((*names, status), sum(values))
    yield runs
    ahead = [(names, [(each, outlook(each)) for each in depths]) for names, depths in shown.groups]
    for gauge in GAUGES:
        family = Family(gauge.name, gauge.help, labels=FUNCTION)
        for names, pairs in ahead:
            found = [float(value) for pair in pairs if (value := gauge.value(*pair)) is not None]
            if found:
                family.add(names, gauge.total(found))
        yield family
    drift = Family(
        "secateur_depth_drift_runs", "By how many runs the depth was off at its last check, before it was put right."
    )
    drift.add((), sum(each.drift for _, depths in shown.groups for each in depths))
    yield drift
    for name, help, of_totals in COUNTERS:
        counter = Family(name, help, FUNCTION, "counter")
        for names, totals in shown.totals:
            if (total := of_totals(totals)) is not None:
                counter.add(names, total)
        yield counter


def of_ledger(figures: LedgerFigures) -> Iterable[Family]:
    states = Family("secateur_cancellations", "Cancellations and retries, by state.", labels=("state",))
    for state in State:
        states.add((state,), figures.states.get(state, 0))
    yield states
    for name, help, value in (
        (
            "secateur_cancellations_pending",
            "Cancellations that are committed while an open transaction delays their guarantee.",
            figures.pending,
        ),
        (
            "secateur_cancellation_pending_seconds",
            "How long the oldest pending cancellation has waited; 0 if there is none.",
            figures.pending_seconds,
        ),
        (
            "secateur_sweep_lag_seconds",
            "The longest time for which an open cancellation was not swept or restored; 0 if none is open.",
            figures.sweep_lag_seconds,
        ),
        (
            "secateur_sweeps_failing",
            "Open cancellations whose last batches failed.",
            figures.failing,
        ),
    ):
        gauge = Family(name, help)
        gauge.add((), value)
        yield gauge
    for name, help, count in (
        ("secateur_runs_matched", "Runs that cancellations have reached: cancelled, or ended first.", figures.matched),
        ("secateur_runs_swept", "Runs that cancellations have cancelled.", figures.cancelled),
        ("secateur_runs_restored", "Runs that undos have put back.", figures.restored),
    ):
        counter = Family(name, help, kind="counter")
        counter.add((), count)
        yield counter
