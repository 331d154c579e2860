"""What one kind of queue has, and what its users call it. Whoever opens a queue needs no more of the language."""

from __future__ import annotations

from dataclasses import dataclass

RUN_FIELDS = ("queue", "tags", "unique_key", "concurrency_key")
"""Fields of `run` that some queues have: see `secateur.cel.declarations.RUN_FIELDS`."""


@dataclass(frozen=True, slots=True)
class QueueWords:
    """What one kind of queue has, and what its users call it."""

    queue: str
    """The queue in messages."""
    data: str | None = None
    """What they call `event.data`, such as `args`; None where that is its name."""
    fields: tuple[tuple[str, str], ...] = ()
    """The names of `RUN_FIELDS` that it has, each with what its users call that."""
    elsewhere: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Those that it does not have, each with the queues that do."""
