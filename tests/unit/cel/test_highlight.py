"""The tokens that the editor colours, also of sources that are wrong."""

from __future__ import annotations

from random import Random

from secateur.cel import highlight


def coloured(source: str) -> list[tuple[str, str]]:
    return [(source[start:end], kind) for start, end, kind in highlight(source)]


def test_kinds() -> None:
    source = "event.data.`a b`.startsWith('é') && !(size(x) in [1, 2.5, true, null]) // why"
    assert coloured(source) == [
        ("event", "variable"),
        (".", "operator"),
        ("data", "field"),
        (".", "operator"),
        ("`a b`", "field"),
        (".", "operator"),
        ("startsWith", "function"),
        ("(", "operator"),
        ("'é'", "string"),
        (")", "operator"),
        ("&&", "operator"),
        ("!", "operator"),
        ("(", "operator"),
        ("size", "function"),
        ("(", "operator"),
        ("x", "variable"),
        (")", "operator"),
        ("in", "keyword"),
        ("[", "operator"),
        ("1", "number"),
        (",", "operator"),
        ("2.5", "number"),
        (",", "operator"),
        ("true", "boolean"),
        (",", "operator"),
        ("null", "boolean"),
        ("]", "operator"),
        (")", "operator"),
        ("// why", "comment"),
    ]


def test_a_text_that_is_still_being_typed() -> None:
    assert coloured("event.data.x == 'acm") == [
        *[("event", "variable"), (".", "operator"), ("data", "field"), (".", "operator"), ("x", "field")],
        ("==", "operator"),
        ("'acm", "error"),
    ]
    assert coloured("a = 1") == [("a", "variable"), ("=", "error"), ("1", "number")]


def test_any_text_gives_ordered_spans() -> None:
    random = Random(3)
    alphabet = "ab.'\"`\\/=!&|()[]{}0x1eu- \n\t\r\0\u00a0é😀\ud800"
    for _ in range(3_000):
        source = "".join(random.choice(alphabet) for _ in range(random.randint(0, 40)))
        position = 0
        for start, end, _ in highlight(source):
            assert position <= start < end <= len(source)
            position = end
