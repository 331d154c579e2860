"""Live depth: what waits, what runs, how fast it comes and goes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from secateur.instants import utc
from secateur.runs import FunctionDepth

NEGLIGIBLE = 0.05
"""Runs per second below which a rate is noise of its ten-second average."""


def drains_in(backlog: int, in_per_second: float, out_per_second: float) -> float | None:
    """Seconds until the backlog is empty at the present rates; 0 when it is, None when it never will be."""
    if backlog == 0:
        return 0.0
    net = out_per_second - in_per_second
    return backlog / net if net >= NEGLIGIBLE else None


def depth_json(depths: Iterable[FunctionDepth]) -> list[dict[str, Any]]:
    """Depth as the CLI and the API write it, to the letter."""
    return [
        {
            "app_id": depth.app_id,
            "function_id": depth.function_id,
            "queued": depth.queued,
            "scheduled": depth.scheduled,
            "running": depth.running,
            "lost": depth.lost,
            "failed": depth.failed,
            "cancelling": depth.cancelling,
            "oldest_started_at": utc(depth.oldest_started_at) if depth.oldest_started_at else None,
            "in_per_second": depth.in_per_second,
            "out_per_second": depth.out_per_second,
            "paused": depth.paused,
            "checked_at": utc(depth.checked_at) if depth.checked_at else None,
            "drift": depth.drift,
            "as_of": utc(depth.as_of),
        }
        for depth in depths
    ]
