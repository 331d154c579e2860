"""Several functions of an app, and how they are named."""

from __future__ import annotations

import pytest

from secateur.requests import CancellationRequest
from secateur.runs import Functions, Scope


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        ([], "billing / every function"),
        (["a"], "billing / a"),
        (["b", "a", "b"], "billing / a and b"),
        (["c", "b", "a"], "billing / a, b and c"),
        (["a", "b", "c", "d"], "billing / a, b and 2 more"),
    ],
)
def test_they_are_named(names: list[str], shown: str) -> None:
    assert str(Functions.of("billing", names)) == shown


def test_one_function_is_its_scope() -> None:
    assert Functions.of("billing", ["a"]) == Scope("billing", "a")
    assert Functions.of("billing", []) == Scope("billing")
    assert Functions.of("billing", ["b", "a"]).each == (Scope("billing", "a"), Scope("billing", "b"))


@pytest.mark.parametrize(
    ("body", "functions"),
    [
        ({}, Scope("billing")),
        ({"function_id": "a"}, Scope("billing", "a")),
        ({"function_ids": ["a"]}, Scope("billing", "a")),
        ({"function_ids": ["b", "a"]}, Functions("billing", ("a", "b"))),
    ],
)
def test_a_request_names_them(body: dict[str, object], functions: Scope | Functions) -> None:
    assert CancellationRequest.parse({"app_id": "billing", **body}).functions == functions
