from __future__ import annotations

import pytest
from blocks import blocks

from secateur.cel import EvaluationError
from secateur.cel.patterns import PatternError, matcher, translate


def translated(pattern: str) -> str:
    try:
        return f"= {translate(pattern)}"
    except PatternError as error:
        return f"! {error}"


@pytest.mark.parametrize(("pattern", "expected"), blocks("patterns.txt"))
def test_translates_for_postgres_or_says_why_not(pattern: str, expected: str) -> None:
    assert translated(pattern) == expected


def test_matches_in_linear_time() -> None:
    assert not matcher("(a+)+$")("a" * 100_000 + "b")


def test_a_refused_pattern_is_an_error() -> None:
    with pytest.raises(EvaluationError, match=r"`\\p` is not supported"):
        matcher(r"\pL")


def test_bounds_the_written_out_size() -> None:
    assert translate("(?:a{10}){90}")
    with pytest.raises(PatternError, match="too large"):
        translate("[ab]{250}" * 5)
    with pytest.raises(PatternError, match="longer than 1,000 characters"):
        translate("a" * 1_001)
    with pytest.raises(PatternError):
        translate("(" * 400 + "a" + ")" * 400)
