"""Live depth: what waits, what runs, how fast it comes and goes."""

from __future__ import annotations

NEGLIGIBLE = 0.05
"""Runs per second below which a rate is noise of its ten-second average."""


def drains_in(backlog: int, in_per_second: float, out_per_second: float) -> float | None:
    """Seconds until the backlog is empty at the present rates; 0 when it is, None when it never will be."""
    if backlog == 0:
        return 0.0
    net = out_per_second - in_per_second
    return backlog / net if net >= NEGLIGIBLE else None
