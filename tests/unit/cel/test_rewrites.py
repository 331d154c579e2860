"""What other dialects say is refused at its place, with a text for the whole source that compiles and means it."""

from __future__ import annotations

from random import Random

import pytest

from secateur.cel import ExpressionError, compile

FULL = {
    "data": {
        "x": "a",
        "k": "a",
        "a b": {"c": "z"},
        "a-b": 1,
        "in": True,
        "m": {"a": 3, "b": 1},
        "items": [{"sku": "a", "price": 2.5}, {"price": 0.5}],
    }
}
EMPTY = {"data": {"items": [], "m": {}, "k": "a", "x": {"y": {}}}}

REWRITTEN = [
    ("event.?data.?x.orValue('') == 'a'", 7, "(has(event.data) && has(event.data.x) ? event.data.x : '') == 'a'"),
    ("event.data[?'k'].orValue('') == 'a'", 12, "(has(event.data['k']) ? event.data['k'] : '') == 'a'"),
    ("event.data.?x == 'a'", 12, "(has(event.data.x) ? event.data.x : null) == 'a'"),
    ("event.data.?x.hasValue()", 12, "has(event.data.x)"),
    ("event.data.x.orValue('') == 'a'", 14, "(has(event.data.x) ? event.data.x : '') == 'a'"),
    ("event.data.x.hasValue()", 14, "has(event.data.x)"),
    ("event.data.?in.orValue(false)", 12, "has(event.data['in']) ? event.data['in'] : false"),
    ("event.data.?`a-b`.orValue(2) == 1", 12, "(has(event.data.`a-b`) ? event.data.`a-b` : 2) == 1"),
    ("event.data.items[?0].hasValue()", 18, "size(event.data.items) > 0"),
    ("event.data.m[?event.data.k].hasValue()", 14, "(event.data.k) in event.data.m"),
    (
        "event.data.?x.y.z.orValue(0) == 1",
        12,
        "(has(event.data.x) && has(event.data.x.y) && has(event.data.x.y.z) ? event.data.x.y.z : 0) == 1",
    ),
    (
        "'.?' != 'x' && event.data[?'a b'].?c.orValue(event.?user.?id.orValue('')) == 'z'",
        27,
        "'.?' != 'x' && (has(event.data['a b']) && has(event.data['a b'].c) ? event.data['a b'].c : "
        "(has(event.user) && has(event.user.id) ? event.user.id : '')) == 'z'",
    ),
    ("event.data?.x == 'a'", 12, "(has(event.data.x) ? event.data.x : null) == 'a'"),
    (
        "event?.data?.['a b'].c == 'a'",
        7,
        """(has(event.data) && has(event.data['a b']) && has(event.data['a b'].c)
    ? event.data['a b'].c : null) == 'a'""".replace("\n   ", ""),
    ),
    ("optional.of(event.data.x).orValue('') == 'a'", 1, "(event.data.x) == 'a'"),
    ("optional.none().orValue('b') == 'b'", 1, "('b') == 'b'"),
    ("optional.none().hasValue()", 1, "false"),
    ("event.data.items.all(i, v, v.price > 1.0)", 18, "event.data.items.all(v, v.price > 1.0)"),
    (
        "event.data.items.existsOne(_, v, v.?sku.orValue('') == 'a')",
        18,
        "event.data.items.exists_one(v, (has(v.sku) ? v.sku : '') == 'a')",
    ),
    ("event.data.m.exists(k, v, k == 'a' && v > 2)", 14, "event.data.m.exists(k, k == 'a' && event.data.m[k] > 2)"),
    ("event.data.items.transformList(i, v, v.price) == []", 18, "event.data.items.map(v, v.price) == []"),
    (
        "event.data.items.transformList(i, v, v.price > 1.0, v.sku) == ['a']",
        18,
        "event.data.items.map(v, v.price > 1.0, v.sku) == ['a']",
    ),
]


@pytest.mark.parametrize(("source", "column", "expected"), REWRITTEN)
def test_says_what_to_write_instead(source: str, column: int, expected: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        compile(source)
    (diagnostic,) = caught.value.diagnostics
    assert (diagnostic.line, diagnostic.column) == (1, column)
    assert f"write the whole expression as `{expected}`" in (diagnostic.suggestion or "")
    assert diagnostic.fix is not None
    assert diagnostic.fix.apply(source) == expected
    condition = compile(expected)
    assert isinstance(condition.evaluate({"event": EMPTY}), bool)
    if "x.y" not in source:
        assert isinstance(condition.evaluate({"event": FULL}), bool)


@pytest.mark.parametrize(
    ("source", "column"),
    [
        ("[?event.data.x] == []", 2),
        ("[1, ?event.data.x] == []", 5),
        ("{?'a': 1} == {}", 2),
        ("event.data.?x.optMap(v, v + 1).orValue(2) == 1", 12),
        ("event.data.m.transformMap(k, v, v + 1) == {}", 14),
        ("event.data.?x.size() > 1", 12),
        ("event.data.?", 12),
        ("event.data[?]", 12),
        ("event.data.?.x", 12),
        ("event.data.?(x)", 12),
        ("event.data.?'x'", 12),
        ("event.data..?x == 1", 13),
        ("event.data[?..?x] == 1", 12),
        ("[event.data.?]", 13),
        ("event.data.x?.startsWith('a')", 14),
        ("event.data.x ?? 'a' == 'a'", 14),
    ],
)
def test_says_at_least_what_there_is(source: str, column: int) -> None:
    with pytest.raises(ExpressionError) as caught:
        compile(source)
    (diagnostic,) = caught.value.diagnostics
    assert (diagnostic.column, diagnostic.suggestion) == (column, None)


@pytest.mark.parametrize(
    "source",
    [
        "event.data.x ? true : false",
        "event.data.x ?.event.data.y:false",
        "event.data.x?.event.data.y:.event.data.z",
        "event.data.s == 'a?.b ?? c'",
        "event.data.optional == 1 && event.optional.of == 2",
        "event.data.items.map(i, i.price > 1.0, i.sku) == []",
        "event.data.items.all(i, i.price > 1.0)",
        "event.data.s == '.?x.orValue(1)'",
    ],
)
def test_leaves_its_own_language_alone(source: str) -> None:
    compile(source)


def test_whatever_is_put_together_is_refused_in_words() -> None:
    """Signs and words of other dialects in any order: a diagnostic, and never another error."""
    random = Random(20240121)
    pieces = (*"?.[](){},:1! ", "event", "data", "x", "'a'", "optional", "of", "orValue", "hasValue", "all", "v", "==")
    refused = 0
    for _ in range(3_000):
        source = "event.data" + "".join(random.choices(pieces, k=random.randint(2, 10)))
        try:
            compile(source)
        except ExpressionError:
            refused += 1
    assert refused > 2_000
