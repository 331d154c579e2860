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


def test_a_chapter_that_is_measured_again_on_another_machine_replaces_only_itself(tmp_path: Path) -> None:
    results = tmp_path / "RESULTS.md"
    code = (
        "import sys; from pathlib import Path\n"
        "from benchmarks.report import Report, goal\n"
        "path, processor, *titles = sys.argv[1:]\n"
        "report = Report(['One', 'Two'], f'{processor}, 2 cores, Postgres 18.6', Path(path))\n"
        "for title in titles:\n"
        "    report.write(title, [goal(f'{title} a second', len(processor), least=4)])\n"
        "print(report.has('One'), report.has('Two'))"
    )

    def measure(processor: str, *titles: str) -> str:
        command = [sys.executable, "-c", code, str(results), processor, *titles]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()

    assert measure("Xeon", "Two", "One") == "True True"
    before = results.read_text().split("\n## ")
    assert measure("EPYC 9", "Two") == "False True"
    head, goals, one, two = results.read_text().split("\n## ")
    assert (head, one) == (before[0], before[2])
    assert "EPYC 9, 2 cores" in two
    measured = [line.split(" | ")[2:] for line in goals.splitlines() if "a second" in line]
    assert [(figure, met, stamp.split(", ")[1]) for figure, met, stamp in measured] == [
        ("4", "yes", "Xeon |"),
        ("6", "yes", "EPYC 9 |"),
    ]
