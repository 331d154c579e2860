"""Brackets and quotes close by themselves, and are typed over; what a person means by other keys stays."""

from __future__ import annotations

import pytest

from secateur_tui.filter import pairing


def typed(text: str, keys: str) -> str:
    """`|` is the cursor."""
    before, after = text.split("|")
    for key in keys:
        before, after = pairing.typed(before, after, key)
    return f"{before}|{after}"


@pytest.mark.parametrize(
    ("text", "keys", "becomes"),
    [
        ("|", "(", "(|)"),
        ("|", "(a[1])", "(a[1])|"),
        ("|", "x == 'a'", "x == 'a'|"),
        ("|", 'x == "a"', 'x == "a"|'),
        ("|", "x == '", "x == '|'"),
        ("|", "''", "''|"),
        ("|", "'''", "'''|"),
        ("|", "'it\\'s'", "'it\\'s'|"),
        ("|", "'(", "'(|'"),
        ("|", "r'a'", "r'a'|"),
        ("it|", "'", "it'|"),
        ("|x > 1", "(", "(|x > 1"),
        ("(x > 1|", ")", "(x > 1)|"),
        ("(x > 1|)", ")", "(x > 1)|"),
        ("((x > 1|)", ")", "((x > 1)|)"),
        ("f(')', |)", ")", "f(')', )|"),
        ("|", "// it's (", "// it's (|"),
        ("|", "x.exists(i, i.sku == 'a' && i.n > 1) || y", "x.exists(i, i.sku == 'a' && i.n > 1) || y|"),
    ],
)
def test_what_is_typed(text: str, keys: str, becomes: str) -> None:
    assert typed(text, keys) == becomes


@pytest.mark.parametrize(
    ("before", "after", "becomes"),
    [
        ("(", ")", ("", "")),
        ("x == '", "'", ("x == ", "")),
        ("x[", "] > 1", ("x", " > 1")),
        ("''", "'", None),
        ("(a", ")", None),
        ("", ")", None),
        ("(", "", None),
        ("(", "]", None),
    ],
)
def test_an_empty_pair_is_erased_as_one(before: str, after: str, becomes: tuple[str, str] | None) -> None:
    assert pairing.erased(before, after) == becomes


@pytest.mark.parametrize(
    ("before", "start", "after", "becomes"),
    [
        ("size(event.data.x", 0, ")", ("", "")),
        ("a && size(b", 5, ")", ("a && ", "")),
        ("size(event.data.x", 11, ")", ("size(event.", ")")),
        ("(a[x", 0, "])", ("", "")),
        ("x == 'acme", 5, "'", ("x == ", "")),
        ("f(g(x) + y", 0, ") > 1", ("", " > 1")),
        ("f(')", 0, "')", ("", "")),
        ("f(x", 0, "]", ("", "]")),
        ("f(x) + ", 0, ")", ("", ")")),
        ("f(x // it's", 0, ")", ("", ")")),
    ],
)
def test_what_is_erased_takes_its_closing_signs_along(
    before: str, start: int, after: str, becomes: tuple[str, str]
) -> None:
    assert pairing.erased_back(before, start, after) == becomes
