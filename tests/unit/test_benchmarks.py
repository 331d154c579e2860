"""The benchmarks, which nobody runs every day, still fit the program."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def test_every_chapter_can_be_imported_and_finds_the_sql_that_it_changes() -> None:
    code = (
        "import benchmarks.__main__ as all\n"
        "from benchmarks.depth_cost import functions_without_depth\n"
        "assert all.BENCHMARKS and 'depth_deltas' not in functions_without_depth()"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
