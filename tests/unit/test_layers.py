"""Every module has its layer, the architecture shows the layers, and the links of the documents lead somewhere."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from secateur.schema import Part, bundled

ROOT = Path(__file__).parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "docs/coming-from").glob("*.md")),
]


def layers() -> list[str]:
    """Those that import-linter checks, as pyproject.toml has them, from the top."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = project["tool"]["importlinter"]["contracts"]
    (found,) = [one["layers"] for one in contracts if one["name"] == "Layers point down"]
    return list(found)


def headings(page: Path) -> set[str]:
    """Of one page, as the anchors that GitHub makes of them."""
    found = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}


def test_every_module_is_in_a_layer() -> None:
    modules = {path.stem for path in (ROOT / "core/secateur").glob("*.py")} - {"__init__"}
    packages = {path.parent.name for path in (ROOT / "core/secateur").glob("*/__init__.py")}
    named = {name.removeprefix("secateur.").split(".")[0] for layer in layers() for name in layer.split(" | ")}
    assert modules | packages | {"secateur_tui"} == named


def test_the_architecture_shows_the_layers_that_are_checked() -> None:
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"```\n(secateur_tui\n.*?)```", page, re.DOTALL)
    assert shown.splitlines() == [layer.replace("secateur.", "") for layer in layers()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
    broken = []
    for link in links:
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if not target.exists() or (anchor and anchor not in headings(target)):
            broken.append(link)
    assert not broken


def test_the_map_for_newcomers_is_of_this_country() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    paths = re.findall(r"`((?:core|tui|tests|docs|benchmarks)/[^`]*|[\w.]+\.(?:md|toml))`", page)
    assert len(paths) > 30
    assert [path for path in paths if not (ROOT / path).exists()] == []


SEAM = {
    *("require_functions", "exceeds", "request_running", "withdraw_requests", "reset_floors", "has_keyed"),
    *("has_requests", "awaits_runs"),
}
"""What the ledger calls of secateur's own queue, for an app of it."""


def test_the_ledger_needs_nothing_of_the_queue() -> None:
    """It can be there alone: it names no table of secateur's own queue, and calls its functions for its apps only."""
    of_queue = {
        name
        for one in bundled()
        if one.part is Part.QUEUE and not one.is_numbered
        for name in re.findall(r"^create (?:or replace )?\w+ secateur\.(\w+)", one.sql, re.MULTILINE)
    } - {"undecided"}
    assert of_queue > {"runs", "claim", "slow_verdicts", "oldest_queued", "claimed_run"}
    named = {
        name
        for one in bundled()
        if one.part is Part.LEDGER and not one.is_numbered and one.name != "rights.sql"
        for name in re.findall(r"\bsecateur\.(\w+)", re.sub(r"--.*", "", one.sql))
    }
    assert named & of_queue == SEAM
