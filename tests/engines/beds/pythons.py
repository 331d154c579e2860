"""A Python for packages that need a newer one than that of the tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from beds.packages import installed, run_installer


def python_with(*packages: str, least: tuple[int, int]) -> Path:
    """The interpreter of an environment that has them. Raises `LookupError` where there is no Python for it."""

    def install(directory: Path) -> None:
        python = newer_python(least)
        run_installer("a virtual environment", [python, "-m", "venv", str(directory)])
        pip = [str(directory / "bin" / "python"), "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
        run_installer(packages[0], [*pip, *packages])

    return installed(packages[0], install) / "bin" / "python"


def newer_python(least: tuple[int, int]) -> str:
    """This one, or one on the path or of pyenv. Raises `LookupError` if none is new enough."""
    for python in _pythons(least):
        asked = f"import sys; sys.exit(sys.version_info < {least})"
        if subprocess.run([python, "-c", asked], capture_output=True).returncode == 0:
            return python
    raise LookupError(f"there is no Python {least[0]}.{least[1]} or newer")


def _pythons(least: tuple[int, int]) -> Iterator[str]:
    yield sys.executable
    names = [f"python{least[0]}.{minor}" for minor in range(least[1], least[1] + 10)]
    yield from (found for name in names if (found := shutil.which(name)))
    kept = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    yield from (str(found) for name in names for found in sorted(kept.glob(f"*/bin/{name}")))
