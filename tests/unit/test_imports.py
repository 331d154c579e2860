"""Start-up is a feature over SSH: what is slow to import waits until it is needed."""

from __future__ import annotations

import subprocess
import sys

import pytest

import secateur

SLOW = {"asyncpg", "celpy", "fastapi", "prometheus_client", "pydantic", "sqlalchemy", "sqlmodel", "textual", "uvicorn"}


def modules_of(code: str) -> set[str]:
    """All modules that `code` pulls in, in an interpreter of its own."""
    script = f"{code}\nimport sys\nprint('\\n'.join(sys.modules), file=sys.stderr)"
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return {*answer.stderr.split()}


def imported_by(code: str) -> set[str]:
    """The slow top-level modules among them."""
    return SLOW & {name.partition(".")[0] for name in modules_of(code)}


def test_the_package_alone_imports_nothing_slow() -> None:
    assert imported_by("import secateur") == set()


@pytest.mark.parametrize("arguments", [["--help"], ["cancel", "--help"], ["--version"]])
def test_help_imports_nothing_slow(arguments: list[str]) -> None:
    code = f"""
from secateur.cli import main
try:
    code = main({arguments!r})
except SystemExit as end:
    code = end.code
assert not code, code
"""
    assert imported_by(code) == set()


@pytest.mark.parametrize("arguments", [["--help"], ["cancel", "--help"]])
def test_help_imports_next_to_nothing(arguments: list[str]) -> None:
    """It takes no longer than Python itself, by what is loaded; times depend on the machine."""
    code = f"import secateur.cli\nassert secateur.cli.main({arguments!r}) == 0"
    modules_of(code)  # the first time, the text is made
    assert modules_of(code) - modules_of("pass") <= {"secateur", "secateur.cli", "secateur.cli.helping"}


@pytest.mark.parametrize("line", ["secateur cancel --ap", "secateur cancel --app b", "secateur --context "])
def test_a_completion_imports_only_what_asks_a_database(line: str) -> None:
    """A key was pressed: it checks no settings, and knows no queue of others."""
    code = f"""
from secateur.cli import main
assert main(["--database", "postgresql://a@127.0.0.1:1/b", "completion", "bash", "--line", {line!r}]) == 0
"""
    assert imported_by(code) <= {"asyncpg"}
    assert "secateur.engines.foreign" not in modules_of(code)


@pytest.mark.parametrize("module", ["secateur.cli.commands.look", "secateur_tui.app"])
def test_the_first_screen_and_quick_commands_wait_for_no_sqlalchemy(module: str) -> None:
    slow = SLOW - {"asyncpg", "pydantic", "textual"}
    assert imported_by(f"import {module}") & slow == set()


LATER = (
    "pydantic_settings",
    "secateur.cel.authoring",
    "secateur.cel.checker",
    "secateur.cel.declarations",
    "secateur.cel.diagnostics",
    "secateur.cel.filters",
    "secateur.cel.library",
    "secateur.cel.messages",
    "secateur.cel.python",
    "secateur.cel.sql",
    "secateur.cel.syntax",
    "secateur.engines.foreign.engine",
    "secateur.engines.foreign.installing",
    "secateur.engines.foreign.source",
    "secateur.engines.several",
    "secateur.looking.blast",
    "secateur.looking.hot_values",
    "secateur.looking.suggested_filters",
    "secateur.looking.why",
    "secateur.records",
    "secateur.requests",
    "secateur_tui.filter",
    "secateur_tui.frame.help",
    "secateur_tui.frame.palette",
    "secateur_tui.history",
    "secateur_tui.queues.timeline",
    "secateur_tui.review.screen",
    "secateur_tui.runs",
)
"""The compiler, the search for what stands out, queues of others, and every place but Queues."""


def test_the_first_figures_wait_for_no_other_place() -> None:
    code = (
        "import secateur.cli.commands.start, secateur.engines.native.engine, secateur_tui.launching, secateur_tui.app"
    )
    assert sorted(name for name in modules_of(code) if name.startswith(LATER)) == []


def test_the_core_runs_without_the_console() -> None:
    code = "import secateur\nfor name in secateur.__all__: getattr(secateur, name)"
    assert "textual" not in imported_by(code)


@pytest.mark.parametrize("name", secateur.__all__)
def test_public_names_are_there(name: str) -> None:
    assert getattr(secateur, name) is not None
    assert name in dir(secateur)


def test_other_names_are_not() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        _ = secateur.nonsense  # type: ignore[attr-defined]
