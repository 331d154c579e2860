"""Run every benchmark, print its table and write RESULTS.md: `make bench`."""

from __future__ import annotations

import asyncio
import os
import platform
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import claim_throughput, commit_latency, language
from benchmarks.bed import bed

RESULTS = Path(__file__).with_name("RESULTS.md")


async def main() -> None:
    async with bed() as ground:
        server = await ground.database.fetchval("show server_version")
    lines = [
        "# Results",
        "",
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores ({platform.machine()}), "
        f"Python {platform.python_version()}, Postgres {server}. Made by `make bench`; absolute figures are "
        "this machine's, the ratios travel.",
    ]
    for benchmark in (commit_latency, claim_throughput, language):
        table = await benchmark.measure()
        print("\n".join(table), end="\n\n", flush=True)
        lines += ["", *table]
    RESULTS.write_text("\n".join(lines) + "\n")


asyncio.run(main())
