"""What is offered at the cursor of an unfinished expression, and in which order."""

from __future__ import annotations

import string

import pytest
from backlog import SHAPE, summarise
from blocks import blocks
from hypothesis import given, settings
from hypothesis import strategies as st

from secateur.cel import CANCELLATION, SEARCH, ExpressionError, compile
from secateur.cel.authoring.completion import Completion, complete
from secateur.cel.words import QueueWords

CURSOR = "▮"
SHOWN = 6


OWN = CANCELLATION.of_queue(QueueWords("native"))
"""Of a queue without fields of its own."""


def at_cursor(marked: str) -> tuple[str, int, Completion]:
    offset = marked.index(CURSOR)
    source = marked.replace(CURSOR, "")
    return source, offset, complete(source, offset, OWN, SHAPE)


def described(marked: str) -> str:
    source, offset, found = at_cursor(marked)
    lines = []
    for candidate in found.candidates[:SHOWN]:
        text, cursor = found.apply(source, candidate)
        lines.append(
            f"{candidate.kind:9}{candidate.label:22} {text[:cursor]}{CURSOR}{text[cursor:]}  {candidate.detail}"
        )
    if ghost := found.ghost(source, offset):
        lines.append(f"ghost    {ghost}")
    return "\n".join(line.rstrip() for line in lines) or "nothing"


@pytest.mark.parametrize(("source", "expected"), blocks("completed.txt"))
def test_completes(source: str, expected: str) -> None:
    assert described(source) == expected


def test_only_what_the_declarations_have() -> None:
    assert "status" not in [each.label for each in complete("run.", 4, CANCELLATION).candidates]
    assert "status" in [each.label for each in complete("run.", 4, SEARCH).candidates]


OF_ARGS = CANCELLATION.of_queue(QueueWords("jobs", "args"))


@pytest.mark.parametrize(
    ("typed", "taken", "result"),
    [
        ("arg", "args", "event.data.▮"),
        ("args.am", "event.data.amount", "event.data.amount▮"),
        ("true && args . am", "event.data.amount", "true && event.data.amount▮"),
        ("args.order", "event.data.order id", "event.data.`order id`▮"),
        ("has(args.am", "event.data.amount", "has(event.data.amount▮"),
        ("args.items.exists(i, i.sk", "sku", "args.items.exists(i, i.sku▮"),
        ("args.vendor_id.starts", "event.data.vendor_id.startsWith()", "event.data.vendor_id.startsWith(▮)"),
        ("args.vendor_id == ", "'acme_inc'", "args.vendor_id == 'acme_inc'▮"),
        ("args['ven", "vendor_id", "args['vendor_id'▮"),
    ],
)
def test_the_queues_own_word_is_understood(typed: str, taken: str, result: str) -> None:
    found = complete(typed, len(typed), OF_ARGS, SHAPE)
    candidate = next(each for each in found.candidates if each.label == taken)
    text, cursor = found.apply(typed, candidate)
    assert f"{text[:cursor]}{CURSOR}{text[cursor:]}" == result
    assert not candidate.before or found.ghost(typed, len(typed)) == ""


def test_a_word_that_names_an_element_is_no_other_word() -> None:
    typed = "event.data.items.exists(args, args.sk"
    assert [each.label for each in complete(typed, len(typed), OF_ARGS, SHAPE).candidates] == ["sku"]


def test_without_a_word_it_means_nothing() -> None:
    assert complete("args.am", 7, CANCELLATION, SHAPE).candidates == ()


FRAGMENTS = [
    *("event", "data", ".", "run", "now", "has", "(", ")", "[", "]", "{", "}", "'", '"', "`", "'''", "//", "\n", " "),
    *("==", "=", "!=", "in", "&&", "||", "!", "?", ":", ",", "exists", "x", "map", "startsWith", "vendor_id", "items"),
    *("1", "1.5", "true", "null", "acme", "order id", "😀", "\0", "\ud800", "r'", "b'", "\\", "-", "+"),
]


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from(FRAGMENTS) | st.text(string.printable, max_size=3), max_size=25), st.integers(-5, 80))
def test_never_raises(fragments: list[str], offset: int) -> None:
    source = "".join(fragments)
    found = complete(source, offset, SEARCH.of_queue(QueueWords("jobs", "data")), SHAPE)
    assert 0 <= found.start <= found.end <= len(source)
    found.ghost(source, offset)
    for candidate in found.candidates:
        text, cursor = found.apply(source, candidate)
        assert 0 <= cursor <= len(text)
        assert text.startswith(source[: found.start - candidate.before])
        assert text.endswith(source[found.end :])


HOSTILE = ["(" * 50_000, "event.data." * 1_500, "[" * 3_000 + "'", "x.all(y, " * 300, "a" * 30_000]


@pytest.mark.parametrize("source", HOSTILE, ids=lambda source: source[:10])
def test_hostile_sources(source: str) -> None:
    complete(source, len(source), CANCELLATION, SHAPE)


_STORABLE = st.characters(exclude_categories=["Cs"])


@settings(max_examples=100, deadline=None)
@given(st.text(_STORABLE, min_size=1, max_size=6), st.text(_STORABLE, max_size=6))
def test_any_key_and_value_can_be_written(key: str, value: str) -> None:
    """Every field and every text that is offered gives an expression that compiles, or that says why not."""
    shape = summarise([{"data": {key: value}}] * 3)
    found = complete("event.data.", 11, CANCELLATION, shape)
    field = next(each for each in found.candidates if each.label == key and each.kind == "field")
    source, _ = found.apply("event.data.", field)
    source += " == "
    found = complete(source, len(source), CANCELLATION, shape)
    given_value = next(each for each in found.candidates if each.kind == "value")
    source, _ = found.apply(source, given_value)
    if "\0" in key + value:
        with pytest.raises(ExpressionError, match=r"U\+0000"):
            compile(source)
    else:
        assert compile(source).evaluate({"event": {"data": {key: value}}}) is True
