"""secateur's own queue, in the schema `secateur` of the database: the engine with every capability."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from secateur.engines.base import Gate, Retrying, Stopping
from secateur.engines.native.arrivals import NativeArrivals
from secateur.engines.native.governing import NativeGoverning
from secateur.engines.native.history import NativeHistory
from secateur.engines.native.searching import NativeSearching
from secateur.engines.native.sending import NativeSending
from secateur.engines.native.tracing import NativeTracing
from secateur.engines.native.upkeep import NativeUpkeep
from secateur.ledger.ledger import Cancelling, Ledger
from secateur.postgres.database import Database
from secateur.runs import RunStatus


class NativeEngine(
    NativeSearching,
    NativeArrivals,
    NativeHistory,
    NativeTracing,
    NativeGoverning,
    NativeSending,
    NativeUpkeep,
    Gate,
    Stopping,
    Retrying,
    Cancelling,
):
    """Reads the queue's tables, and writes through its SQL functions only."""

    statements: Mapping[str, str] = {**NativeSearching.statements, **NativeArrivals.statements}
    gate: ClassVar[str] = "claim function"
    starves: ClassVar[bool] = False
    stops_at: ClassVar[str] = "next step"
    retryable: ClassVar[tuple[RunStatus, ...]] = (RunStatus.FAILED, RunStatus.CANCELLED)

    def __init__(self, database: Database, replica: Database | None = None) -> None:
        super().__init__(database, replica)
        self._ledger = Ledger(database)

    @property
    def ledger(self) -> Ledger:
        return self._ledger
