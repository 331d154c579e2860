"""What has a name is not written a second time as a bare string."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import secateur
import secateur_tui
from secateur.runs import RunStatus
from secateur.states import Guarantee, Kind, State

NAMED = {"state": State, "guarantee": Guarantee, "kind": Kind, "status": RunStatus}
"""Attributes whose values are compared with members, and the enumeration of these."""

SOURCES = [path for package in (secateur, secateur_tui) for path in Path(package.__file__).parent.rglob("*.py")]


def bare(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Each comparison and `case` of a named attribute with a string that its enumeration has: line and string."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            attributes = [side.attr for side in sides if isinstance(side, ast.Attribute)]
            texts = [each for side in sides for each in ast.walk(side) if isinstance(each, ast.Constant)]
        elif isinstance(node, ast.Match) and isinstance(node.subject, ast.Attribute):
            attributes = [node.subject.attr]
            patterns = [each for case in node.cases for each in ast.walk(case.pattern)]
            texts = [each for each in patterns if isinstance(each, ast.Constant)]
        else:
            continue
        for attribute in attributes:
            members = set(map(str, NAMED.get(attribute, ())))
            yield from ((text.lineno, text.value) for text in texts if text.value in members)


@pytest.mark.parametrize(
    "code",
    [
        "one.state == 'active'",
        "'undone' != one.state",
        "one.state in ('active', 'complete')",
        "one.guarantee is not None and one.guarantee == 'pending'",
        "match one.state:\n  case 'stopped' if one.stopped_at: pass",
    ],
)
def test_bare_states_are_found(code: str) -> None:
    assert list(bare(ast.parse(code)))


def test_states_are_compared_by_name() -> None:
    found = {path.name: list(bare(ast.parse(path.read_text(encoding="utf-8")))) for path in SOURCES}
    assert {name: lines for name, lines in found.items() if lines} == {}


def test_one_class_name_is_one_thing() -> None:
    """Outside the compiler, whose names are its own."""
    places: dict[str, list[str]] = {}
    for path in SOURCES:
        if "cel" in path.parts:
            continue
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name, []).append(path.as_posix().rpartition("secateur")[2])
    assert {name: found for name, found in places.items() if len(found) > 1} == {}
