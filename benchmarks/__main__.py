"""Run the benchmarks, print their tables and write RESULTS.md: `make bench`.

python -m benchmarks                      all, in about half an hour
python -m benchmarks drain sweep          these; the other chapters of RESULTS.md stay
python -m benchmarks --resume             those that RESULTS.md does not have of this commit
python -m benchmarks --backlog 1000000    with a smaller "largest backlog"
python -m benchmarks pressure chaos --nightly   with sixty times as long under pressure: hours
python -m benchmarks --quick              with a twentieth of everything: whether it works; RESULTS.md stays
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
import traceback
from types import ModuleType

from benchmarks import (
    at_the_terminal,
    bad_cases,
    chaos,
    claim_throughput,
    commit_latency,
    depth_cost,
    depth_refresh,
    drain,
    enqueueing,
    floods,
    gated_claims,
    gated_drains,
    gated_workers,
    history_cost,
    language,
    live_counts,
    never_analyzed,
    other_queue,
    pins,
    pressure,
    serving,
    slow_disk,
    starting,
    suggesting,
    sustained,
    sweep_rate,
)
from benchmarks.bed import Ground
from benchmarks.report import Report, machine

BENCHMARKS: dict[str, ModuleType] = {
    "drain": drain,
    "enqueue": enqueueing,
    "starts": starting,
    "claims": claim_throughput,
    "gates": gated_claims,
    "gated-workers": gated_workers,
    "gated-drains": gated_drains,
    "other-queue": other_queue,
    "never-analyzed": never_analyzed,
    "pins": pins,
    "http": serving,
    "bad-cases": bad_cases,
    "sweep": sweep_rate,
    "sustained": sustained,
    "pressure": pressure,
    "chaos": chaos,
    "depth-cost": depth_cost,
    "history": history_cost,
    "commit": commit_latency,
    "slow-disk": slow_disk,
    "terminal": at_the_terminal,
    "depth": depth_refresh,
    "counts": live_counts,
    "suggestions": suggesting,
    "floods": floods,
    "language": language,
}
"""In their order: those on the largest backlog come one after the other, for they share it."""

LARGEST = 10_000_000
LARGEST_OF_QUICK = 100_000
LONGEST_MINUTES = 12
"""After that a benchmark is given up, so that the others get their turn."""


async def main() -> int:
    options = _options()
    failed = False
    async with Ground.open(options.backlog, quick=options.quick, nightly=options.nightly) as ground:
        report = Report([module.TITLE for module in BENCHMARKS.values()], machine(await ground.version()))
        names = options.names or list(BENCHMARKS)
        if options.resume:
            names = [name for name in names if not report.has(BENCHMARKS[name].TITLE)]
        for place, name in enumerate(names, start=1):
            module = BENCHMARKS[name]
            print(f"[{place}/{len(names)}] {name}: {module.TITLE}", flush=True)
            begun = time.monotonic()
            lines, complete = await _measure(module, ground)
            failed = failed or not complete
            if not options.quick:
                report.write(module.TITLE, lines)
            print("\n".join(["", *lines, "", f"  ({time.monotonic() - begun:.0f} s)", ""]), flush=True)
    return 1 if failed else 0


async def _measure(module: ModuleType, ground: Ground) -> tuple[list[str], bool]:
    """The benchmark's lines; those of one that broke say so."""
    limit = asyncio.timeout(None if ground.nightly else LONGEST_MINUTES * 60)
    try:
        async with limit:
            return await module.measure(ground), True
    except Exception as error:
        if limit.expired():
            return [f"Not measured: it took more than {LONGEST_MINUTES} minutes."], False
        traceback.print_exc()
        return [f"Not measured: {type(error).__name__}: {error}"], False


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Run benchmarks and write RESULTS.md.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"some of: {', '.join(BENCHMARKS)}")
    parser.add_argument("--backlog", type=int, help=f"runs in the largest backlog ({LARGEST:,})")
    parser.add_argument("--resume", action="store_true", help="only what RESULTS.md does not have of this commit")
    parser.add_argument("--quick", action="store_true", help="only see whether it works; RESULTS.md stays as it is")
    parser.add_argument("--nightly", action="store_true", help="keep pressure and chaos up for sixty times as long")
    options = parser.parse_args()
    options.backlog = options.backlog or (LARGEST_OF_QUICK if options.quick else LARGEST)
    if unknown := sorted(set(options.names) - BENCHMARKS.keys()):
        parser.error(f"there is no benchmark {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    return options


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
