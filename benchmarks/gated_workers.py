"""What does a gate cost an engine's own worker, on jobs that do nothing?

Each gate has a database of its own, with the engine's real schema. In every round each of them gets the same jobs, and
one worker process of the engine, which is ready before they come. The order is rotated from round to round. A round's
time is from the enqueue until no job is unfinished. Its processor time is that of the worker and of the whole server:
these ratios hold on a machine that has other things to do, too. Nothing is active that matches a job.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

from benchmarks.bed import Ground, median_ratio, processor_seconds, say
from benchmarks.gated_claims import COMPLEX, EQUALITY
from benchmarks.peers import engine_beds
from benchmarks.report import because, goal
from secateur.engines.foreign.gating import GateKeeper
from secateur.engines.foreign.installation import Installation
from secateur.engines.foreign.installing import install_queue
from secateur.engines.loading import find_installation, open_engine
from secateur.open_queue import OpenQueue
from secateur.postgres.database import Database
from secateur.requests import CancellationRequest

TITLE = "Gates and the workers of other engines"

GATES: dict[str, tuple[str, int] | None] = {
    "no gate": None,
    "nothing active": (EQUALITY, 0),
    "1 equality": (EQUALITY, 1),
    "10 equalities": (EQUALITY, 10),
    "10 complex": (COMPLEX, 10),
}
GOALS = {"nothing active": 0.95, "1 equality": 0.92, "10 equalities": 0.88, "10 complex": 0.88}
ROUNDS = 2
JOBS = {"procrastinate": (300, 10), "oban": (1_000, 50)}
"""A round's jobs, and how many the worker runs at once."""
POLL = 0.05
LONGEST = 120.0
WHY = "jobs that do nothing, on a processor that the server and the worker share"


@dataclass(slots=True)
class Place:
    """An engine's queue in a database of its own."""

    bed: Any
    database: Database
    installation: Installation
    queue: OpenQueue
    rates: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)
    """Seconds of the worker's and the server's for each job."""

    @property
    def unfinished(self) -> str:
        runs = self.installation.source.replace("{sampled}", "")
        return f"select exists (select from {runs} as run where {self.installation.sql('unfinished')})"


async def measure(ground: Ground) -> list[str]:
    lines = [
        f"### Jobs per second of one worker, the median of {ground.scaled(ROUNDS)} rounds; and processor time a job",
        "",
        "| worker of | gate | jobs/s | against none | worker and server, CPU a job | against none |",
        "|:--|:--|---:|---:|---:|---:|",
    ]
    goals: list[str] = []
    for kind in beds():
        jobs, concurrency = JOBS[kind.engine]
        found = await _in_turns(ground, kind, ground.scaled(jobs), concurrency)
        none = found["no gate"]
        for name, place in found.items():
            rate = median_ratio(place.rates, none.rates)
            processor = median_ratio(none.processor, place.processor)
            jobs_a_second, each = statistics.median(place.rates), 1_000_000 * statistics.median(place.processor)
            lines.append(
                f"| {kind.engine} | {name} | {jobs_a_second:,.0f} | {rate:.2f} | {each:,.0f} µs | {processor:.2f} |"
            )
            say(f"{kind.engine}, {name}: {rate:.2f}, {processor:.2f}")
            if name in GOALS:
                what = f"{kind.engine}: jobs for each second of processor time, {name}, against no gate"
                goals += because(goal(what, processor, least=GOALS[name]), WHY)
    return [*lines, "", *goals]


def beds() -> list[Any]:
    """Those of the engine suite whose packages are here."""
    usual: dict[str, Any] = {}
    for kind in engine_beds().every_bed():
        if kind.engine in JOBS and kind.missing is None:
            usual.setdefault(kind.engine, kind)
    return [usual[engine] for engine in JOBS if engine in usual]


async def placed(stack: AsyncExitStack, ground: Ground, kind: Any, gate: tuple[str, int] | None) -> Place:
    url = await stack.enter_async_context(ground.empty())
    bed = kind(url)
    await bed.install()
    await bed.enqueue([{"number": 0, "is_noop": True}])
    database = await stack.enter_async_context(Database.connect(url))
    installation = await find_installation(database, kind.engine)
    queue = OpenQueue.over(await open_engine(database, name=kind.engine))
    if gate is not None:
        await install_queue(database, installation, author="bench")
        await GateKeeper(database, installation).install("bench")
        queue = OpenQueue.over(await open_engine(database, name=kind.engine))
        condition, active = gate
        for n in range(active):
            await commit(queue, condition.replace("{n}", str(n)))
    return Place(bed, database, installation, queue)


async def commit(queue: OpenQueue, condition: str) -> Any:
    [app] = {each.app_id for each in await queue.reader.depth()}
    request = CancellationRequest.parse({"app_id": app, "if": condition})
    return await queue.cancellations.commit(request, author="bench", source="python")


async def _in_turns(ground: Ground, kind: Any, jobs: int, concurrency: int) -> dict[str, Place]:
    payloads = [{"number": n, "is_noop": True, "vendor": f"v{n}", "amount": n} for n in range(jobs)]
    async with AsyncExitStack() as stack:
        places = {name: await placed(stack, ground, kind, gate) for name, gate in GATES.items()}
        turns = list(places.values())
        for _ in range(1 + ground.scaled(ROUNDS)):
            for place in turns:
                await _round(ground, place, payloads, concurrency)
            turns.append(turns.pop(0))
        for place in turns:
            # The first round warms up.
            del place.rates[0], place.processor[0]
        return places


async def _round(ground: Ground, place: Place, payloads: list[dict[str, Any]], concurrency: int) -> None:
    async with place.bed.worker(concurrency=concurrency) as worker:
        await place.bed.enqueue([{"number": 0, "is_noop": True}])
        await until_done(place)
        before = _processor(ground, worker)
        begun = time.perf_counter()
        await place.bed.enqueue(payloads)
        await until_done(place)
        place.rates.append(len(payloads) / (time.perf_counter() - begun))
        place.processor.append((_processor(ground, worker) - before) / len(payloads))


def _processor(ground: Ground, worker: Any) -> float:
    return sum(ground.server_seconds().values()) + sum(processor_seconds([worker.pid]).values())


async def until_done(place: Place) -> None:
    async with asyncio.timeout(LONGEST):
        while await place.database.fetchval(place.unfinished):  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(POLL)
