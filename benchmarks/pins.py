"""What does it cost a call that its function pins the settings that could change a result?

Two databases take turns. In one of them the functions take these settings from the session, as functions usually do.
"""

from __future__ import annotations

import re
import statistics

from benchmarks.bed import Bed, Ground, claim, complete, median_ratio, seed, timed
from secateur.schema import definition

TITLE = "What pinned settings cost"

BATCHES = {1: 600, 100: 150}
"""Claims, by their batch."""
EMPTY_CALLS = 20_000
ROUNDS = 9
WARM_UP = 20

PINNED = re.findall(r"^ +'(\w+)', '", definition("pins.sql"), re.MULTILINE)

UNPIN = """
do $$
declare
  one regprocedure;
  setting text;
begin
  for one in select oid from pg_proc where pronamespace = 'secateur'::regnamespace and prosecdef loop
    foreach setting in array '{%s}'::text[] loop
      execute format('alter function %%s reset %%I', one, setting);
    end loop;
  end loop;
end
$$
"""

EMPTY = """
create function secateur.empty() returns void language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$ begin end $$
"""
CALL_EMPTY = "select count(secateur.empty()) from generate_series(1, $1)"


async def measure(ground: Ground) -> list[str]:
    async with ground.bed() as pinned, ground.bed() as free:
        beds = (pinned, free)
        for bed in beds:
            await bed.database.execute(EMPTY)
            await seed(bed.database, sum(batch * (WARM_UP + ground.scaled(calls)) for batch, calls in BATCHES.items()))
        await pinned.database.execute(definition("pins.sql"))
        await free.database.execute(UNPIN % ",".join(PINNED))
        rows = [await _empty(beds)]
        for batch, calls in BATCHES.items():
            rows.append(await _claims(beds, batch, ground.scaled(calls)))
    return [
        f"### A call of a function that pins {len(PINNED)} settings, and of the same function without, medians",
        "",
        "| call | pinned | not pinned | ratio |",
        "|:--|---:|---:|---:|",
        *rows,
    ]


async def _empty(beds: tuple[Bed, Bed]) -> str:
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(ROUNDS):
        for bed, taken in zip(beds, seconds, strict=True):
            taken.append(await timed(lambda database=bed.database: database.execute(CALL_EMPTY, EMPTY_CALLS)))  # type: ignore[misc]
    return _row(
        "an empty function, called by a statement", *([each / EMPTY_CALLS for each in taken] for taken in seconds)
    )


async def _claims(beds: tuple[Bed, Bed], batch: int, calls: int) -> str:
    """A claim, and the completion of what it brought: two calls."""

    async def one(bed: Bed) -> None:
        await complete(bed.database, await claim(bed.database, batch))

    seconds: tuple[list[float], list[float]] = ([], [])
    for round in range(WARM_UP + calls):
        for bed, taken in zip(beds, seconds, strict=True):
            elapsed = await timed(lambda bed=bed: one(bed))  # type: ignore[misc]
            if round >= WARM_UP:
                taken.append(elapsed)
    return _row(f"claim {batch} and complete, over a connection", *seconds)


def _row(what: str, pinned: list[float], free: list[float]) -> str:
    medians = " | ".join(f"{1e6 * statistics.median(taken):,.1f} µs" for taken in (pinned, free))
    return f"| {what} | {medians} | {median_ratio(pinned, free):.2f} |"
