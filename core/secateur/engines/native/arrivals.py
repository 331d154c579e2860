"""Samples what arrived in secateur's own queue during a time, whatever became of the runs."""

from __future__ import annotations

from collections.abc import Mapping

from secateur.engines.arriving import ARRIVING, SampledArrivals, SampleQuestion
from secateur.engines.native.ids_by_time import ids_around
from secateur.engines.native.source import NativeSource
from secateur.engines.readings import Reading
from secateur.postgres.statements import Statements

ENDED = 30_000
"""Ended runs of an app, the last ones, among which those of a small scope are looked for."""

WAITING = 20_000
"""Unfinished runs, the newest ones, among which those of a small scope are looked for."""


class NativeArrivals(NativeSource, SampledArrivals):
    """Few runs of a scope are found by the indexes: the newest that wait, and the last that ended."""

    # The empty path selects the whole event, and leaves it decompressed.
    drawn_columns = (
        "run.id, run.app_id, run.function_id, run.status, run.started_at, run.scheduled_for, run.priority, "
        "run.attempt, run.event #> '{}' as event, pg_column_size(run.event) as stored_bytes"
    )
    statements: Mapping[str, str] = {
        **NativeSource.statements,
        **ARRIVING,
        **Statements.load("secateur.engines.native", "arrivals.sql"),
    }

    async def pages(self, reading: Reading) -> int:
        found: int = await reading.connection.fetchval(self.sql("pages"))
        return found

    async def of_few(self, reading: Reading, question: SampleQuestion, limit: int) -> tuple[object, ...]:
        await reading.connection.execute(self.sql("by_index"))
        around = ids_around(question.population.window)
        return self.statement("arrivals_of_few", question, limit, ENDED, WAITING, *around)
