"""What the tests need of a queue of others: its real schema, its own API to send and to ask, its own worker processes.

A bed is made over an empty database. Its tasks are `sync` and `mail`. Each takes an object with `number`, and
optionally `vendor`, `seconds` (how long it runs; 0 by default), `held` (it runs while its number is in `bed_held`),
`fails` (it raises an error at its end) and whatever else a test filters by. It writes to `bed_ran` when it starts and
when it ends: see `processes.py`.

A module names its beds in `BEDS`: the usual installation first, then others of the same engine, such as one in a schema
of its own.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any, ClassVar, Protocol

if (tests := str(Path(__file__).parents[2])) not in sys.path:
    sys.path.append(tests)  # The demo, the pictures and the benchmarks use the beds without pytest and its paths.

RAN = """
create table if not exists bed_ran (
  number bigint not null,
  what text not null check (what in ('start', 'end', 'stopped')),
  at timestamptz not null default clock_timestamp());
create table if not exists bed_held (number bigint primary key)
"""


class Bed(Protocol):
    url: str
    engine: ClassVar[str]
    """As secateur calls it."""
    missing: ClassVar[str | None]
    """Why it cannot be used here, such as `the package procrastinate is not installed`; None where it can."""
    schema: ClassVar[str]
    """Where it is installed."""
    prefix: ClassVar[str]
    """What the names of its tables begin with, where the engine has such a setting; else empty."""
    path: ClassVar[str] = ""
    """What the engine puts before the name of a task."""
    has_queues: ClassVar[bool] = True
    """Whether `queue` means anything; False where the app is something else."""
    usual_priority: ClassVar[int] = 0
    """What a job has for which none was given."""
    cancelled_as: ClassVar[str] = "cancelled"
    """The status of a run that its own API cancelled."""
    keeps_ends: ClassVar[bool] = True
    """Whether it keeps when a job failed or was cancelled."""
    tables: ClassVar[tuple[str, ...]] = ()
    """What an undo of a cancel leaves as it was, to the last column."""
    has_keys: ClassVar[bool] = True
    """Whether `key` keeps a second job with the same one from waiting."""
    has_doubles: ClassVar[bool] = False
    """Every number is a double in the language of its client."""

    def __init__(self, url: str) -> None: ...

    async def install(self) -> None:
        """Its schema, as its own package makes it, and the table `bed_ran`."""
        ...

    async def enqueue(
        self,
        payloads: Sequence[dict[str, Any]],
        *,
        task: str = "sync",
        queue: str = "default",
        priority: int = 0,
        delay: timedelta | None = None,
        key: str | None = None,
    ) -> list[str]:
        """By its own API, or by its own statement where there is none; the ids, as secateur shows them.

        `key` is the engine's key of uniqueness, where it has one.
        """
        ...

    def worker(self, *, queue: str = "default", concurrency: int = 1) -> AbstractAsyncContextManager[Any]:
        """A worker of its own in a process of its own (its `pid` is the value's), stopped at the end."""
        ...

    async def state(self, run_id: str) -> str | None:
        """The job's state by its own API, in its own word; None where it is gone."""
        ...

    async def cancel(self, run_id: str) -> None:
        """As its own API cancels it."""
        ...


def every_bed() -> list[type[Bed]]:
    """Of every module here, whether or not it can be used."""
    modules = [import_module(f"{__name__}.{module.name}") for module in iter_modules(__path__)]
    return [bed for module in modules for bed in getattr(module, "BEDS", ())]
