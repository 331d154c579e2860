"""A file or function that has grown long is where to look for the second thing that hides in it.

Whatever is longer than this says why: its comment or docstring has the words "It is longer than others".
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

import pytest

ROOT = Path(__file__).parents[2]
PRODUCT = ("core", "tui")
EXCUSE = "It is longer than others"

MOST_LINES = {"Python function": 60, "SQL function": 90, "file": 400}
MEDIAN_FILE = 130

_SQL_FUNCTION = re.compile(
    r"(?P<comment>(?:^--[^\n]*\n)*)"
    r"(?P<definition>^create or replace function (?P<name>[\w.]+)\(.*?(?P<quote>\$\w*\$).*?(?P=quote);)",
    re.MULTILINE | re.DOTALL,
)


def files(suffix: str, *roots: str) -> list[Path]:
    return sorted(path for root in roots for path in (ROOT / root).rglob(f"*{suffix}"))


def lines(text: str) -> int:
    return len(text.splitlines())


def python_functions() -> Iterator[tuple[str, int, str]]:
    for path in files(".py", *PRODUCT, "tests", "benchmarks", "screenshots"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                yield f"{path.relative_to(ROOT)}: {node.name}", length, ast.get_docstring(node) or ""


def sql_functions() -> Iterator[tuple[str, int, str]]:
    for path in files(".sql", *PRODUCT):
        for found in _SQL_FUNCTION.finditer(path.read_text(encoding="utf-8")):
            yield f"{path.relative_to(ROOT)}: {found['name']}", lines(found["definition"]), found["comment"]


def product_files() -> Iterator[tuple[str, int, str]]:
    for path in (*files(".py", *PRODUCT), *files(".sql", *PRODUCT)):
        text = path.read_text(encoding="utf-8")
        yield str(path.relative_to(ROOT)), lines(text), text[:2000]


@pytest.mark.parametrize(
    ("kind", "find"),
    [
        ("Python function", python_functions),
        ("SQL function", sql_functions),
        ("file", product_files),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_long_says_why(kind: str, find: Callable[[], Iterator[tuple[str, int, str]]]) -> None:
    found = list(find())
    assert len(found) > 150, "they are found at all"
    long = {name: length for name, length, _ in found if length > MOST_LINES[kind]}
    excused = {name for name, _, comment in found if EXCUSE in comment}
    assert {name: length for name, length in long.items() if name not in excused} == {}
    if kind != "file":
        assert excused - set(long) == set(), "an excuse for what is short"


def test_half_of_the_files_are_read_at_a_glance() -> None:
    assert median(lines(path.read_text(encoding="utf-8")) for path in files(".py", *PRODUCT)) <= MEDIAN_FILE
