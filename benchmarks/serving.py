"""What does a request to `secateur serve` take: a commit at a large backlog, and a scrape of many functions?"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import httpx

from benchmarks.bed import Ground, processor_seconds, quantile, say, seed, timed
from benchmarks.commit_latency import FLOOR
from benchmarks.report import because, goal
from secateur.metrics.queues import FRESH_SECONDS

TITLE = "Requests over HTTP"

BACKLOG = 1_000_000
REQUESTS = 300
SCRAPES = 40
FUNCTIONS = 1_000
FILTER = {"app_id": "bench", "if": "event.data.vendor_id == 'v7'"}

WHY = "whatever else uses the cores: the machine's load is above, and one process answers while another measures"


async def measure(ground: Ground) -> list[str]:
    bed = await ground.backlog(min(BACKLOG, ground.largest))
    async with _server(bed.url) as (client, pid):
        commits, commit_cpu = await _measured(pid, ground.scaled(REQUESTS), lambda: _commit(client))
        await bed.database.execute("create table if not exists public.floor (n integer)")
        floor = [await timed(lambda: bed.database.execute(FLOOR)) for _ in range(ground.scaled(REQUESTS))]
    say(f"commits: {quantile(commits, 0.5):.1f} ms")
    async with ground.bed() as many:
        await seed(many.database, 10 * FUNCTIONS, functions=FUNCTIONS)
        async with _server(many.url) as (client, pid):
            scrapes, scrape_cpu = await _measured(pid, ground.scaled(SCRAPES), lambda: _scrape(client))
    say(f"scrapes: {quantile(scrapes, 0.5):.1f} ms")
    return [
        f"### One client, one request at a time; load of the machine {os.getloadavg()[0]:.1f}",
        "",
        "| request | p50 | p99 | processor time of the server for each, with all else that it does |",
        "|:--|---:|---:|---:|",
        _row(f"`POST /v1/cancellations` at {min(BACKLOG, ground.largest):,} runs", commits, commit_cpu),
        _row("one row inserted there, without HTTP", floor, None),
        _row(f"`GET /metrics` at {FUNCTIONS:,} functions", scrapes, scrape_cpu),
        "",
        *because(goal("POST /v1/cancellations p50", quantile(commits, 0.5), " ms", most=10), WHY),
        *because(goal("POST /v1/cancellations p99", quantile(commits, 0.99), " ms", most=50), WHY),
        *because(goal(f"GET /metrics p50 at {FUNCTIONS:,} functions", quantile(scrapes, 0.5), " ms", most=50), WHY),
    ]


def _row(what: str, seconds: list[float], cpu: float | None) -> str:
    spent = "" if cpu is None else f"{1000 * cpu:.1f} ms"
    return f"| {what} | {quantile(seconds, 0.5):.1f} ms | {quantile(seconds, 0.99):.1f} ms | {spent} |"


async def _measured(pid: int, times: int, request: Callable[[], Awaitable[float]]) -> tuple[list[float], float]:
    """Seconds of each request; and of the server's processor time for one, with whatever else it does meanwhile."""
    for _ in range(3):
        await request()
    before = processor_seconds([pid])[pid]
    seconds = [await request() for _ in range(times)]
    return seconds, (processor_seconds([pid])[pid] - before) / times


async def _commit(client: httpx.AsyncClient) -> float:
    """Seconds until the answer; then it is stopped, so that each meets the same queue."""
    began = time.perf_counter()
    answer = await client.post("/v1/cancellations", json=FILTER)
    seconds = time.perf_counter() - began
    assert answer.status_code == 201, answer.text
    stopped = await client.delete(answer.headers["location"])
    assert stopped.status_code == 200, stopped.text
    return seconds


async def _scrape(client: httpx.AsyncClient) -> float:
    """Seconds until the answer, which is never that of the look before."""
    await asyncio.sleep(FRESH_SECONDS + 0.05)

    async def scrape() -> None:
        (await client.get("/metrics")).raise_for_status()

    return await timed(scrape)


@asynccontextmanager
async def _server(url: str) -> AsyncIterator[tuple[httpx.AsyncClient, int]]:
    """`secateur serve` as a process of its own: a client of it, and its process id."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "secateur.cli", "serve", "--port", "0", "--database", url),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        address = (await process.stdout.readline()).decode().split()[0]
        async with httpx.AsyncClient(base_url=address, timeout=60) as client:
            yield client, process.pid
    finally:
        process.terminate()
        await process.wait()
