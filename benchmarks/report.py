"""RESULTS.md: a chapter per benchmark, so that one can be measured again while the others stay."""

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
    """What every figure of the file was measured on."""
    return (
        f"{_processor()}, {os.cpu_count()} cores, {_memory()} ({platform.machine()}), "
        f"Python {platform.python_version()}, Postgres {server}."
    )


class Report:
    """The file's chapters by title. Figures of another machine, or of other versions, are not kept."""

    def __init__(self, titles: Sequence[str], machine: str, path: Path = RESULTS) -> None:
        self._titles = titles
        self._machine = machine
        self._path = path
        self._chapters: dict[str, list[str]] = {}
        if path.exists() and machine in (text := path.read_text()).splitlines():
            for chapter in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
                title, _, body = chapter.partition("\n")
                if title in titles:
                    self._chapters[title] = body.strip("\n").splitlines()

    def has(self, title: str) -> bool:
        """Whether the chapter is there, measured to its end and with the code of this commit."""
        lines = self._chapters.get(title, [""])
        return lines[0].endswith(f"{_commit()}_") and not any(line.startswith("Not measured") for line in lines)

    def write(self, title: str, lines: Sequence[str]) -> None:
        """Put the chapter in the place of its former figures, at once."""
        self._chapters[title] = [f"_{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {_load()}, {_commit()}_", "", *lines]
        text = [
            "# Results",
            "",
            "Made by `make bench`. The sides of a comparison take turns within one run on one server; absolute figures",
            "are this machine's, ratios travel. Measured on:",
            "",
            self._machine,
            "",
            "## Goals",
            "",
            "| goal | wanted | figure | met |",
            "|:--|---:|---:|:--|",
            *self._goals(),
        ]
        for known in self._titles:
            if known in self._chapters:
                text += ["", f"## {known}", "", *self._chapters[known]]
        self._path.write_text("\n".join(text) + "\n")

    def _goals(self) -> list[str]:
        rows = []
        for known in self._titles:
            for line in self._chapters.get(known, ()):
                if found := _GOAL.match(line):
                    met, what, wanted, figure = found.groups()
                    rows.append(f"| {what} | {wanted} | {figure} | {'yes' if met == 'Met' else '**no**'} |")
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
