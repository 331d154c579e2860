"""Other queues to compare with, installed in an environment of their own, `.venv-peers`."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.bed import processor_seconds

ROOT = Path(__file__).parent.parent
OWN = Path(sys.prefix)
ENVIRONMENT = ROOT / ".venv-peers"
NEWER_ENVIRONMENT = ROOT / ".venv-peers-newer"
"""For what needs a newer Python than our own may be."""
RUNNERS = Path(__file__).with_name("runners")

PACKAGES = {
    ENVIRONMENT: ("procrastinate>=3,<4", "psycopg[binary]", "pgqueuer[asyncpg]>=1,<2", "awa-pg>=0.6,<1"),
    NEWER_ENVIRONMENT: ("oban>=0.7,<1",),
}
DISTRIBUTIONS = {"awa": "awa-pg"}
"""Where it has another name than the queue."""
LEAST_NEWER = (3, 12)
INSTALL_SECONDS = 300


@dataclass(frozen=True, slots=True)
class System:
    """A queue that a runner script drives. `setting` is the concurrency or batch size that suits it."""

    name: str
    environment: Path
    setting: int
    unfinished: str
    """A statement that counts what is not yet recorded as done."""
    jobs: int
    """Per process: as many as take some seconds."""

    @property
    def python(self) -> Path:
        return Path(sys.executable) if self.environment == OWN else self.environment / "bin" / "python"

    @property
    def runner(self) -> Path:
        return RUNNERS / f"run_{self.name}.py"


SECATEUR = System(
    "secateur",
    OWN,
    500,
    "select count(*) from secateur.runs where status in ('queued', 'scheduled', 'running')",
    20_000,
)
PROCRASTINATE = System(
    "procrastinate",
    ENVIRONMENT,
    200,
    "select count(*) from procrastinate_jobs where status in ('todo', 'doing')",
    1_000,
)
PGQUEUER = System("pgqueuer", ENVIRONMENT, 500, "select count(*) from pgqueuer", 20_000)
AWA = System(
    "awa",
    ENVIRONMENT,
    500,
    "select count(*) from awa.jobs where state in ('scheduled', 'available', 'running', 'retryable')",
    3_000,
)
OBAN = System(
    "oban",
    NEWER_ENVIRONMENT,
    50,
    "select count(*) from oban_jobs where state in ('available', 'scheduled', 'executing', 'retryable')",
    1_000,
)


@dataclass(frozen=True, slots=True)
class Compared:
    """`systems`, our own first; how tables call them; and if the peers are not there, lines that say why."""

    systems: list[System]
    labels: dict[str, str]
    missing: list[str]


async def compared(*more: System) -> Compared:
    """Our own queue and, if they can be installed, its usual peers and some more."""
    found = Compared([SECATEUR], {SECATEUR.name: SECATEUR.name}, [])
    for system in (PGQUEUER, PROCRASTINATE, *more):
        try:
            version = await _prepare(system)
        except (LookupError, RuntimeError) as error:
            found.missing += [f"{system.name} could not be installed, so it is not compared: {error}", ""]
        else:
            found.systems.append(system)
            found.labels[system.name] = f"{system.name} {version}"
    return found


async def _prepare(system: System) -> str:
    """Make its environment if need be, and return its version. Raises `LookupError` or `RuntimeError` in words."""
    directory, packages = system.environment, PACKAGES[system.environment]
    stamp = directory / ".packages"
    if not stamp.exists() or stamp.read_text() != "\n".join(packages):
        python = sys.executable if directory == ENVIRONMENT else engine_beds("pythons").newer_python(LEAST_NEWER)
        await output([python, "-m", "venv", "--clear", str(directory)], INSTALL_SECONDS)
        pip = [str(system.python), "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
        await output([*pip, *packages], INSTALL_SECONDS)
        stamp.write_text("\n".join(packages))
    name = DISTRIBUTIONS.get(system.name, system.name)
    found = await output([str(system.python), "-c", f"import importlib.metadata as m; print(m.version({name!r}))"], 30)
    return found.strip()


def engine_beds(module: str = "") -> Any:
    """A module of what the engine suite knows of other queues."""
    tests = ROOT / "tests"
    sys.path[:0] = [path for path in (str(tests / "engines"), str(tests)) if path not in sys.path]
    return import_module(f"beds.{module}" if module else "beds")


async def call(system: System, *arguments: str, seconds: float = 120) -> str:
    """What the system's runner prints."""
    return await output([str(system.python), str(system.runner), *arguments], seconds)


async def output(command: list[str], seconds: float) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(seconds):
            printed, complaint = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise RuntimeError(f"{command[1]} took more than {seconds:g} seconds") from None
    if process.returncode != 0:
        last = complaint.decode(errors="replace").strip().splitlines()[-1:] or ["no reason given"]
        raise RuntimeError(f"{' '.join(command[1:4])}: {last[0]}")
    return printed.decode()


class Workers:
    """Some worker processes of one system, ready and waiting for the word."""

    def __init__(self, system: System, url: str, setting: int, count: int) -> None:
        self._command = [str(system.python), str(system.runner), "work", url, str(setting)]
        self._count = count
        self._processes: list[asyncio.subprocess.Process] = []
        self._done: list[int] = [0] * count
        self.waited: list[float] = []
        """Seconds that jobs waited which say when they were put in."""
        self._readers: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Workers:
        for _ in range(self._count):
            self._processes.append(
                await asyncio.create_subprocess_exec(
                    *self._command,
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=asyncio.subprocess.DEVNULL,
                )
            )
        try:
            async with asyncio.timeout(30):
                for process in self._processes:
                    if process.stdout is None or not await process.stdout.readline():
                        raise RuntimeError(f"{self._command[1]} does not start")
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        for process in self._processes:
            if process.stdin is not None:
                process.stdin.close()
        for process in self._processes:
            try:
                async with asyncio.timeout(10):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()
        for reader in self._readers:
            reader.cancel()

    def seconds(self) -> dict[int, float]:
        """Processor time that each process has taken so far."""
        return processor_seconds(process.pid for process in self._processes)

    def begin(self) -> None:
        for place, process in enumerate(self._processes):
            if process.stdin is not None:
                process.stdin.write(b"begin\n")
            self._readers.append(asyncio.create_task(self._read(place, process)))

    @property
    def done(self) -> int:
        """Jobs performed so far, at most a few hundredths of a second ago."""
        return sum(self._done)

    @property
    def alive(self) -> bool:
        return all(process.returncode is None for process in self._processes)

    async def _read(self, place: int, process: asyncio.subprocess.Process) -> None:
        if process.stdout is not None:
            async for line in process.stdout:
                said = json.loads(line)
                self._done[place] = said.get("done", 0)
                self.waited += said.get("waited", ())
