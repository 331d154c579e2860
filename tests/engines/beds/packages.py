"""Packages that cannot be in the environment of the tests: installed once, into `.engines` in the checkout."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from beds.processes import TESTS

PACKAGES = TESTS.parent / ".engines"
INSTALL_SECONDS = 300
BELIEVED_SECONDS = 600
"""How long it is believed that something cannot be installed: every test would try again."""


class Missing:
    """Why a package cannot be had, or None; found out when first asked, for it may have to be installed."""

    def __init__(self, install: Callable[[], object]) -> None:
        """`install` raises `LookupError` where it cannot be had."""
        self._install = install

    def __get__(self, bed: object, kind: type) -> str | None:
        try:
            self._install()
        except LookupError as error:
            return str(error)
        return None


def installed(name: str, install: Callable[[Path], None]) -> Path:
    """The directory `name` with what `install` has put into it; it comes into being when all of it is there.

    Raises `LookupError` where that fails, or failed a short while ago.
    """
    directory = PACKAGES / name
    if directory.exists():
        return directory
    try:
        PACKAGES.mkdir(exist_ok=True)
        with (PACKAGES / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not directory.exists():
                _install(directory, install)
    except OSError as error:
        raise LookupError(f"{name} cannot be put into {PACKAGES}: {error}") from None
    return directory


def _install(directory: Path, install: Callable[[Path], None]) -> None:
    failed = directory.with_name(f"{directory.name}.failed")
    if failed.exists() and time.time() - failed.stat().st_mtime < BELIEVED_SECONDS:
        raise LookupError(failed.read_text(encoding="utf-8"))
    beginning = directory.with_name(f"{directory.name}.new")
    shutil.rmtree(beginning, ignore_errors=True)
    beginning.mkdir()
    try:
        install(beginning)
    except LookupError as error:
        failed.write_text(str(error), encoding="utf-8")
        raise
    failed.unlink(missing_ok=True)
    beginning.rename(directory)


def run_installer(
    what: str, command: Sequence[str], *, environment: Mapping[str, str] | None = None, **options: Path
) -> None:
    """Raises `LookupError` that says what could not be installed, and why."""
    try:
        done = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=INSTALL_SECONDS,
            **options,
        )
    except subprocess.TimeoutExpired:
        raise LookupError(f"{what} could not be installed in {INSTALL_SECONDS} s") from None
    if done.returncode:
        raise LookupError(f"{what} could not be installed: {' '.join(done.stdout.split())[-300:]}")
