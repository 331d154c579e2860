"""Compiled modules for the tests' many processes, where Python is told to write none beside the sources."""

from __future__ import annotations

import os
import sys
from pathlib import Path

PLACE = Path(__file__).parents[1] / ".pytest_cache" / "bytecode"


def keep_bytecode() -> None:
    """Compile every module once, and not anew in each process: that would take as long as all the imports.

    Without the variable PYTHONDONTWRITEBYTECODE, Python does so by itself.
    """
    if sys.dont_write_bytecode:
        sys.dont_write_bytecode = False
        sys.pycache_prefix = str(PLACE)
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix
