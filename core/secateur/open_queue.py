"""The services over one queue, used by commands, HTTP paths and screens; none of these sees the engine itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from secateur.engines.base import Source
from secateur.engines.controls import Controls
from secateur.engines.upkeep import Maintenance
from secateur.ledger.cancellations import Cancellations
from secateur.ledger.sweeping import SWEEP_BATCH
from secateur.looking.reader import Reader


@dataclass(frozen=True, slots=True)
class OpenQueue:
    """An open queue. Whoever opened its database also closes it."""

    reader: Reader
    controls: Controls
    cancellations: Cancellations
    maintenance: Maintenance

    @classmethod
    def over(
        cls, engine: Source, *, read_only: bool = False, batch: int = SWEEP_BATCH, counts_at_once: int = 1
    ) -> Self:
        """`batch` is how many rows a sweep rewrites at a time, `counts_at_once` how many exact counts run at a time."""
        return cls(
            Reader(engine, counts_at_once=counts_at_once),
            Controls(engine),
            Cancellations(engine, read_only=read_only, batch=batch),
            Maintenance(engine, read_only=read_only),
        )
