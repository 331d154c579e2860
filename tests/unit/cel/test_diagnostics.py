"""Every message about an expression, with its caret: the corpus is diagnostics.txt."""

from __future__ import annotations

import pytest
from blocks import blocks

from secateur.cel import SEARCH, ExpressionError, compile


def rendered(source: str) -> str:
    try:
        compiled = compile(source)
    except ExpressionError as error:
        return error.render()
    return "\n".join(warning.render(source) for warning in compiled.warnings) or "fine"


@pytest.mark.parametrize(("source", "expected"), blocks("diagnostics.txt"))
def test_says_what_is_wrong(source: str, expected: str) -> None:
    assert rendered(source) == expected


def test_problems_are_for_the_request() -> None:
    with pytest.raises(ExpressionError) as caught:
        compile("event.data.x = 'a'\n")
    (problem,) = caught.value.problems
    assert problem.field == "if"
    assert (problem.line, problem.column) == (1, 14)
    assert problem.suggestion == "write `==`"
    assert problem.excerpt == "event.data.x = 'a'\n             ^"
    assert str(caught.value) == "if: `=` is not a comparison"


def test_searches_may_read_what_changes() -> None:
    source = "run.status == 'queued' && run.attempt > 1 && has(run.scheduled_for)"
    compiled = compile(source, SEARCH)
    assert "run.scheduled_for is not null" in compiled.condition.sql
    with pytest.raises(ExpressionError) as caught:
        compile(source)
    assert len(caught.value.problems) == 3
