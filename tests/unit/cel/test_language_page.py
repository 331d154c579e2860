"""The examples of docs/language.md are true."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from secateur.cel import CANCELLATION, EvaluationError, ExpressionError, compile
from secateur.cel.declarations import MACROS
from secateur.cel.library import FUNCTIONS
from secateur.cel.values import decode_json
from secateur.runs import Run, RunStatus

PAGE = (Path(__file__).parents[3] / "docs" / "language.md").read_text(encoding="utf-8")
(EVENT,) = [decode_json(text) for text in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)]
EXAMPLES = [
    tuple(line.rsplit("//", 1))
    for block in re.findall(r"```cel\n(.*?)```", PAGE, re.DOTALL)
    for line in block.splitlines()
]
STARTED, NOW = datetime(2024, 1, 21, 9, tzinfo=UTC), datetime(2024, 1, 21, 12, tzinfo=UTC)


@pytest.mark.parametrize(("source", "expected"), EXAMPLES)
def test_an_example(source: str, expected: str) -> None:
    run = Run("run-1", "billing", "vendor-syncs", EVENT, RunStatus.QUEUED, 0, 0, STARTED)
    try:
        outcome = str(compile(source).matches(run, NOW)).lower()
    except ExpressionError:
        outcome = "refused"
    except EvaluationError:
        outcome = "error"
    assert outcome == expected.strip()


def test_the_page_names_what_there_is() -> None:
    named = set(re.findall(r"[A-Za-z_]+", PAGE))
    assert set(MACROS) <= named
    assert {"startsWith", "endsWith", "contains", "matches", "size"} <= named & set(FUNCTIONS)
    for variable in CANCELLATION.variables:
        assert f"`{variable}`" in PAGE
