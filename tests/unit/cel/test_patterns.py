"""Regular expressions: which mean the same in Postgres, and which are refused."""

from __future__ import annotations

import pytest
from blocks import blocks

from secateur.cel import EvaluationError, ExpressionError, compile
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
    with pytest.raises(EvaluationError, match=r"`\\pL` is not supported"):
        matcher(r"\pL")


@pytest.mark.parametrize(
    ("pattern", "such_as", "yes", "no"),
    [
        (r"^\p{L}+$", "[A-Za-zÀ-ÖØ-öø-ɏ]", "Straße", "1"),
        (r"^\pL+$", "[A-Za-zÀ-ÖØ-öø-ɏ]", "Żółw", "×"),
        (r"[\d\p{Lu}]", "[A-ZÀ-ÖØ-Þ]", "É", "é"),
        (r"\p{Ll}", "[a-zß-öø-ÿ]", "é", "É"),
        (r"\p{Nd}", "[0-9]", "7", "x"),
        (r"\P{L}", "[^A-Za-zÀ-ÖØ-öø-ɏ]", "1", "ü"),
        (r"\p{^N}", "[^0-9]", "x", "1"),
        (r"\P{^N}", "[0-9]", "1", "x"),
        (r"\p{Zs}", r"[\s\x{A0}]", "\u00a0", "x"),
        (r"\p{P}", "[[:punct:]]", "!", "x"),
        (r"\pS", "[$+<=>^`|~]", "=", "x"),
        (r"\p{Cyrillic}", "[Ѐ-ӿ]", "Ж", "Z"),
        (r"\p{Mn}", "[A-Za-zÀ-ÖØ-öø-ɏ]", "a", "1"),
    ],
)
def test_a_class_of_unicode_is_refused_with_what_to_write(pattern: str, such_as: str, yes: str, no: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        compile(f"event.data.x.matches(r'{pattern}')")
    (diagnostic,) = caught.value.diagnostics
    assert "is not supported in a pattern: its characters" in diagnostic.message
    assert diagnostic.suggestion == f"list the characters you mean, such as `{such_as}`"
    matches = matcher(such_as)
    assert (matches(yes), matches(no)) == (True, False)


def test_bounds_the_written_out_size() -> None:
    assert translate("(?:a{10}){90}")
    with pytest.raises(PatternError, match="too large"):
        translate("[ab]{250}" * 5)
    with pytest.raises(PatternError, match="longer than 1,000 characters"):
        translate("a" * 1_001)
    with pytest.raises(PatternError):
        translate("(" * 400 + "a" + ")" * 400)
