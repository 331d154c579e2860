"""RESULTS.md: a chapter per benchmark. One can be measured again, anywhere, while the others stay."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

RESULTS = Path(__file__).with_name("RESULTS.md")

_GOAL = re.compile(r"- \*\*(Met|Missed)\*\*: (.+) \(goal (.+?)\): (.+)")


def goal(what: str, figure: float, unit: str = "", *, least: float | None = None, most: float | None = None) -> str:
    """A line that says whether the figure reaches its goal: at least `least`, or at most `most`."""
    met = (least is None or figure >= least) and (most is None or figure <= most)
    wanted = f"at least {_number(least)}" if least is not None else f"at most {_number(most or 0)}"
    return f"- **{'Met' if met else 'Missed'}**: {what} (goal {wanted}{unit}): {_number(figure)}{unit}"


def because(line: str, cause: str) -> list[str]:
    """The line of a goal, followed by the cause if it was missed."""
    return [line, f"  Cause: {cause}"] if line.startswith("- **Missed**") else [line]


def machine(server: str) -> str:
    """What the figures of a chapter are measured on."""
    return (
        f"{_processor()}, {os.cpu_count()} cores, {_memory()} ({platform.machine()}), "
        f"Python {platform.python_version()}, Postgres {server}"
    )


class Report:
    """The file's chapters by title. Each one says when it was measured, on what machine and with the code of which
    commit, so that one that is measured again replaces nothing but itself."""

    def __init__(self, titles: Sequence[str], machine: str, path: Path = RESULTS) -> None:
        self._titles = titles
        self._machine = machine
        self._path = path

    def has(self, title: str) -> bool:
        """Whether the chapter is there, measured to its end, on this machine and with the code of this commit."""
        lines = self._chapters().get(title, [""])
        return {self._machine, _commit()} <= set(_stamp(lines[0])) and not any(
            line.startswith("Not measured") for line in lines
        )

    def write(self, title: str, lines: Sequence[str]) -> None:
        """Put the chapter in the place of its former figures, at once."""
        stamp = f"_{datetime.now(UTC):%Y-%m-%d %H:%M} UTC; {self._machine}; {_load()}; {_commit()}_"
        chapters = self._chapters() | {title: [stamp, "", *lines]}
        text = [
            "# Results",
            "",
            "Made by `make bench`. The sides of a comparison take turns within one run on one server. Compare ratios:",
            "absolute figures hold only for the machine that their chapter names.",
            "",
            "## Goals",
            "",
            "| goal | wanted | figure | met | measured |",
            "|:--|---:|---:|:--|:--|",
            *(row for known in self._titles for row in _goals(chapters.get(known, []))),
        ]
        for known in self._titles:
            if known in chapters:
                text += ["", f"## {known}", "", *chapters[known]]
        self._path.write_text("\n".join(text) + "\n")

    def _chapters(self) -> dict[str, list[str]]:
        """As the file has them now: somebody else may have measured another one meanwhile."""
        found = {}
        if self._path.exists():
            for chapter in re.split(r"^## ", self._path.read_text(), flags=re.MULTILINE)[1:]:
                title, _, body = chapter.partition("\n")
                found[title] = body.strip("\n").splitlines()
        return found


def _stamp(line: str) -> list[str]:
    """When a chapter was measured, on what machine, at which load and commit."""
    return line.strip("_").split("; ")


def _goals(chapter: Sequence[str]) -> list[str]:
    """The chapter's rows in the table of all goals. A part that was measured at another time has a stamp of its own."""
    measured = ""
    rows = []
    for line in chapter:
        if line.startswith("_"):
            when, machine, *_ = [*_stamp(line), ""]
            measured = f"{when[:10]}, {machine.partition(',')[0]}"
        elif found := _GOAL.match(line):
            met, what, wanted, figure = found.groups()
            rows.append(f"| {what} | {wanted} | {figure} | {'yes' if met == 'Met' else '**no**'} | {measured} |")
    return rows


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2f}".rstrip("0").rstrip(".")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "an unknown processor"
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), "an unknown processor")


def _memory() -> str:
    return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GB"


def _load() -> str:
    """With what the benchmark itself keeps busy; far above the number of cores, only ratios mean something."""
    return f"load {os.getloadavg()[1]:.0f}"


def _commit() -> str:
    found = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False, cwd=RESULTS.parent
    )
    return f"commit {found.stdout.strip()}" if found.returncode == 0 else "outside a repository"
