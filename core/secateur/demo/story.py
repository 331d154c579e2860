"""What the demo's company does: its apps and functions, how busy each is, and what went wrong today.

For a while a vendor's webhook, `acme_inc`, has been calling in a loop, faster and faster, and `billing / vendor-syncs`
is drowning in runs. Everything else is an ordinary day.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import Any, TypeAlias

from secateur.demo import payloads as events

MakeEvent: TypeAlias = Callable[[Random, datetime], dict[str, Any]]
"""An event that happened at that moment."""


@dataclass(frozen=True, slots=True)
class Stream:
    """The runs of one function that arrive in one way."""

    app_id: str
    function_id: str
    make: MakeEvent
    backlog: float
    """Its share of the seeded backlog, from 0 to 1."""
    per_second: float
    """How many go on arriving."""
    scheduled: float = 0.0
    """The share, from 0 to 1, that is scheduled for the next hours."""
    flood: bool = False
    """Began lately and ramps up."""

    def reaches_back(self, runs: int) -> timedelta:
        """For how long so many runs have been arriving, at the rate at which more go on arriving."""
        return timedelta(seconds=runs / self.per_second * (2 if self.flood else 1))


@dataclass(frozen=True, slots=True)
class Duty:
    """How a worker performs one function: each step takes a time between the two, in seconds."""

    app_id: str
    function_id: str
    trigger: str
    steps: tuple[str, ...]
    step_seconds: tuple[float, float]
    concurrency: int
    """How many runs of it a worker process has at a time."""
    needs: tuple[str, ...] = ()
    """Fields of `event.data` that the function needs."""
    fails: float = 0.0
    """The share of attempts, from 0 to 1, that fail although the event is fine."""


STREAMS = (
    Stream("billing", "vendor-syncs", events.looping_vendor_sync, 0.41, 150.0, flood=True),
    Stream("billing", "vendor-syncs", events.vendor_sync, 0.47, 15.0),
    Stream("billing", "invoices", events.invoice, 0.025, 6.0, scheduled=0.2),
    Stream("crm", "contact-import", events.contact_import, 0.035, 4.0),
    Stream("crm", "welcome-mail", events.signup, 0.005, 3.0, scheduled=0.6),
    Stream("growth", "score-leads", events.lead, 0.05, 8.0),
    Stream("growth", "weekly-digest", events.digest, 0.005, 0.2, scheduled=0.97),
)

WORKERS = 2
"""Worker processes."""

DUTIES = (
    Duty(
        *("billing", "vendor-syncs", "vendor/sync", ("fetch", "store"), (0.12, 0.34), 8),
        needs=("vendor_id",),
    ),
    Duty(
        *("billing", "invoices", "invoice/due", ("render", "charge", "mail"), (0.03, 0.11), 3),
        needs=("amount",),
        fails=0.02,
    ),
    Duty("crm", "contact-import", "contacts/uploaded", ("parse", "upsert"), (0.1, 0.25), 3),
    Duty("crm", "welcome-mail", "user/created", ("render", "mail"), (0.02, 0.08), 2),
    Duty("growth", "score-leads", "lead/changed", ("load", "score"), (0.05, 0.15), 3, fails=0.01),
    Duty("growth", "weekly-digest", "digest/due", ("collect", "mail"), (0.1, 0.4), 2),
)
"""Concurrency is per worker process. Together, the workers complete fewer vendor-syncs than the flood brings."""
