"""How a watch is doing, as the health check of `secateur serve` tells it."""

from __future__ import annotations

from secateur.forms import Instant, JsonForm


class RuleState(JsonForm):
    name: str
    firing: int
    """How many functions it fires about."""
    problem: str | None
    """Why it cannot be evaluated, or never fires."""


class WatchState(JsonForm):
    evaluated_at: Instant | None
    """By the database's clock; null before the first time."""
    is_kept: bool
    """Whether what fires is kept in the database; if not, this process alone remembers it, and guards do nothing."""
    targets: list[str]
    rules: list[RuleState]
