"""Every module has its layer, the architecture shows the layers, and the links of the documents lead somewhere."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

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


def test_the_ledger_names_no_table_of_the_queue() -> None:
    """Whatever the queue keeps in them, it does itself."""
    core = ROOT / "core/secateur"
    tables = set(re.findall(r"^create table secateur\.(\w+)", "\n".join(sql(core / "schema", "0*.sql")), re.MULTILINE))
    theirs = {
        *("cancellations", "cancellation_deltas", "cancel_requests", "slow_verdicts", "sweeps", "restores", "audit"),
        *("condition_vocabulary", "retention", "proposals", "budgets"),
        # Of every engine: which queue an app is in, and what a cancellation has met in a queue of others.
        *("apps", "preimages", "slow_jobs"),
    }
    assert theirs < tables
    named = re.findall(r"\bsecateur\.(\w+)\b(?!\()", "\n".join(sql(core / "ledger", "**/*.sql")))
    assert set(named) & (tables - theirs) == set()


def sql(folder: Path, names: str) -> list[str]:
    return [path.read_text(encoding="utf-8") for path in sorted(folder.glob(names))]
