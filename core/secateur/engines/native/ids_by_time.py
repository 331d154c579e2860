"""Ids of runs by time: they begin with the milliseconds of the start, so that a window bounds what is read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

from secateur.runs import Window

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def ids_around(window: Window) -> tuple[UUID, UUID]:
    """Ids that lie around all runs of the window."""
    rest = 2**80 - 1
    low = 0 if window.started_after is None else _milliseconds(window.started_after) << 80
    high = 2**128 - 1 if window.started_before is None else _milliseconds(window.started_before) << 80 | rest
    return UUID(int=low), UUID(int=high)


def _milliseconds(moment: datetime) -> int:
    """Since 1970, as ids have them: what is older has none."""
    return max(0, (moment - _EPOCH) // timedelta(milliseconds=1))
