"""What is picked on a screen becomes a condition: exactly that, or its opposite, added to an expression."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from backlog import summarise
from hypothesis import given, settings
from hypothesis import strategies as st

from secateur.cel import EvaluationError, compile
from secateur.cel.authoring.picking import MISSING, added, conjunct, narrowed, negation
from secateur.cel.values import decode_json


def is_true(source: str, event: Any) -> bool:
    try:
        return compile(source).evaluate({"event": event}) is True
    except EvaluationError:
        return False


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        (("data", "vendor_id"), "acme_inc", "event.data.vendor_id == 'acme_inc'"),
        (("data", "user-agent"), "curl/8", "event.data.`user-agent` == 'curl/8'"),
        (("data", "x:trace"), 1, "event.data['x:trace'] == 1"),
        (("in",), True, "event.`in` == true"),
        (("data", "n"), None, "event.data.n == null"),
        (("data", "n"), MISSING, "!has(event.data.n)"),
        (("data", "it's"), MISSING, "!('it\\'s' in event.data)"),
        (("data", "n"), -1.5e-7, "event.data.n == -1.5e-07"),
        (("data", "n"), 2**64 - 1, "event.data.n == 18446744073709551615u"),
        (("data", "n"), 10**400, "event.data.n == double('inf')"),
        (("data", "t"), "a\n\t'\\\x07", "event.data.t == 'a\\n\\t\\'\\\\\\x07'"),
        (("data", "tags", 0), "eu", "'eu' in event.data.tags"),
        (("data", "tags", None), None, "null in event.data.tags"),
        (("data", "items", 3, "sku"), "a-1", "event.data.items.exists(item, item.sku == 'a-1')"),
        (("data", "items", 3, "sku"), MISSING, "event.data.items.exists(item, !has(item.sku))"),
        (("lots", 0, "tags", 1), "x", "event.lots.exists(item, 'x' in item.tags)"),
        (("lots", 0, "parts", 1, "n"), 1, "event.lots.exists(item, item.parts.exists(inner, inner.n == 1))"),
        (("data", "place"), {"a b": [1, None]}, "event.data.place == {'a b': [1, null]}"),
        ((), {}, "event == {}"),
    ],
)
def test_the_condition(path: tuple[Any, ...], value: Any, expected: str) -> None:
    assert conjunct(path, value) == expected
    compile(expected)


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        (("data", "vendor_id"), "acme", "(!has(event.data.vendor_id) || event.data.vendor_id != 'acme')"),
        (("data", "n"), MISSING, "has(event.data.n)"),
        (("n",), MISSING, "has(event.n)"),
        ((), {}, "event != {}"),
        (("data", "a:b"), 1, "(!('a:b' in event.data) || event.data['a:b'] != 1)"),
        (("data", "tags", 0), "eu", "(!has(event.data.tags) || !('eu' in event.data.tags))"),
        (
            ("items", 0, "sku"),
            "a",
            "(!has(event.items) || !event.items.exists(item, has(item.sku) && item.sku == 'a'))",
        ),
    ],
)
def test_its_opposite(path: tuple[Any, ...], value: Any, expected: str) -> None:
    assert negation(path, value) == expected
    compile(expected)


def test_the_opposite_says_no_more_than_the_sample_needs() -> None:
    always = summarise([{"data": {"v": "a"}}, {"data": {"v": "b"}}])
    assert negation(("data", "v"), "a", always) == "event.data.v != 'a'"
    mixed = summarise([{"data": {"v": "a"}}, {"data": None}, {}])
    assert negation(("data", "v"), "a", mixed) == "(!has(event.data) || type(event.data) != map || event.data.v != 'a')"


def test_a_path_that_cannot_be_selected() -> None:
    with pytest.raises(ValueError, match="more than 3 lists"):
        conjunct((0, 1, 2, 3, "a"), 1)
    with pytest.raises(ValueError, match="cannot be missing"):
        negation(("a", 1), MISSING)


@pytest.mark.parametrize(
    ("source", "more", "expected"),
    [
        ("", "b == 1", "b == 1"),
        ("a == 1", "b == 1", "a == 1 && b == 1"),
        ("a == 1 || c == '&&'", "b == 1", "(a == 1 || c == '&&') && b == 1"),
        ("(a || c)", "b", "(a || c) && b"),
        ("a ? b : c", "d || e", "(a ? b : c) && (d || e)"),
        ("a == 1 && b == 1", "b == 1", "a == 1 && b == 1"),
        ("a == '|| ?'", "b", "a == '|| ?' && b"),
        ("a // why || not", "b", "a // why || not\n&& b"),
        ("a || c // or", "b", "(a || c // or\n)\n&& b"),
        ("a\n&& c", "b", "a\n&& c\n&& b"),
        ("a == 1 &&", "b == 1", "a == 1 && b == 1"),
    ],
)
def test_adding(source: str, more: str, expected: str) -> None:
    assert added(source, more) == expected


def test_narrowing_to_a_value_or_to_the_others() -> None:
    whole = summarise([{"data": {"v": "a"}}])
    assert narrowed("x || y", ("data", "v"), "a") == "(x || y) && event.data.v == 'a'"
    assert narrowed("", ("data", "v"), "a", exclude=True) == "(!has(event.data.v) || event.data.v != 'a')"
    assert narrowed("x", ("data", "v"), "a", exclude=True, shape=whole) == "x && event.data.v != 'a'"


KEYS = st.sampled_from(["a", "b-c", "x:y", "in", "it's", "a\\b", "größe", "2"])
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=6)
SCALARS = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | TEXT
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3))
EVENTS = st.dictionaries(KEYS, st.dictionaries(KEYS, VALUES, max_size=3) | VALUES, min_size=1, max_size=3)


def leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[tuple[Any, ...], Any]]:
    found = [(path, value)] if path else []
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inner:
        found += leaves(each, (*path, key))
    return found


@settings(max_examples=150, deadline=None)
@given(EVENTS, EVENTS, st.data())
def test_any_field_of_any_event(event: Any, other: Any, data: st.DataObject) -> None:
    """What is picked holds for the event that it is picked from; of any event, it or its opposite is true, not both."""
    event, other = (decode_json(as_text(each)) for each in (event, other))
    path, value = data.draw(st.sampled_from(leaves(event)))
    if sum(isinstance(key, int) for key in path) > 1:
        return  # of lists in lists, elements that are no lists are errors
    shape = summarise([event, other])
    so, not_so = conjunct(path, value), negation(path, value, shape)
    assert is_true(so, event), so
    assert not is_true(not_so, event), not_so
    in_list = any(isinstance(key, int) for key in path)
    if not in_list or isinstance(path[-1], int):
        assert is_true(so, other) != is_true(not_so, other), (so, not_so)


def as_text(value: Any) -> str:
    """JSON as `decode_json` reads it; infinite is a number that is too large."""

    def written(each: Any) -> Any:
        if isinstance(each, float) and math.isinf(each):
            return 10**400 if each > 0 else -(10**400)
        if isinstance(each, dict):
            return {key: written(inner) for key, inner in each.items()}
        return [written(inner) for inner in each] if isinstance(each, list) else each

    return json.dumps(written(value))
