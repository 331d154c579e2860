"""What arrived in a queue: which runs are meant, and a sample of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from secateur.runs import NO_BOUNDS, Window

if TYPE_CHECKING:
    from secateur.cel import Filter


@dataclass(frozen=True, slots=True)
class Population:
    """The runs of one app that a sample is drawn from. Never cancelled ones: they have been dealt with."""

    app_id: str
    function_ids: tuple[str, ...] | None = None
    """None is every function."""
    window: Window = NO_BOUNDS
    but_functions: tuple[str, ...] = ()
    """Functions that are left out."""
    unfinished: bool = False
    """Only runs that a cancellation can cancel."""
    filter: Filter | None = None
    matching: bool = True
    """Only those that the filter matches, or only the others."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A run as it arrived, whatever has become of it."""

    event: Any
    function_id: str
    started_at: datetime
    unfinished: bool


@dataclass(frozen=True, slots=True)
class Arrivals:
    """A sample of the runs that arrived, in their order, and about how many there are in all."""

    sample: tuple[Arrival, ...]
    total: int
    unfinished: int


@dataclass(frozen=True, slots=True)
class Tally:
    """How many of a sample's runs each of several filters matches."""

    runs: int
    matched: tuple[int, ...]
