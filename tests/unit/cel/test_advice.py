"""Warnings about valid expressions: what is said of which, and that nothing is said of the rest."""

from __future__ import annotations

from random import Random

import pytest
from backlog import SHAPE, summarise
from blocks import blocks
from random_expressions import expression

from secateur.cel import ExpressionError, compile
from secateur.cel.authoring.advice import advise


def advised(source: str) -> str:
    warnings = advise(compile(source), SHAPE)
    lines = [warning.render(source) for warning in warnings]
    fixed = next((warning.fix.apply(source) for warning in warnings if warning.fix), None)
    return "\n".join([*lines, *([f"fixed: {fixed}"] if fixed else [])]) or "fine"


@pytest.mark.parametrize(("source", "expected"), blocks("advice.txt"))
def test_advises(source: str, expected: str) -> None:
    assert advised(source) == expected


def test_without_a_sample_only_what_no_payload_changes() -> None:
    filter_ = compile("event.data.amont > 5 && 1 == 1")
    (warning,) = advise(filter_)
    assert warning.message == "this part is always true, whatever the run"
    assert advise(filter_, summarise([])) == (warning,)


def test_fields_of_an_object_with_too_many_keys_are_not_missed() -> None:
    shape = summarise([{"data": {f"key-{number}": 1 for number in range(1_000)}}])
    assert advise(compile("event.data.x == 1"), shape) == ()


def test_any_expression_can_be_advised_on() -> None:
    random = Random(5)
    compiled = 0
    for _ in range(3_000):
        source = expression(random, 4)
        try:
            filter_ = compile(source)
        except ExpressionError:
            continue
        compiled += 1
        for warning in advise(filter_, SHAPE):
            assert warning.severity == "warning"
            warning.render(source)
            if warning.fix is not None:
                compile(warning.fix.apply(source))
    assert compiled > 100
