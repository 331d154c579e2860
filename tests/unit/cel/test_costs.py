"""What is refused for what it would take, and what is not."""

from __future__ import annotations

import pytest

from secateur.cel import ExpressionError, compile


def times_ten(*letters: str) -> str:
    """A text of ten times more characters with each letter."""
    return "'xxxxxxxxxx'" + "".join(
        f".replace('{old}', '{new * 10}')" for old, new in zip("x" + "".join(letters), letters, strict=False)
    )


THOUSAND = times_ten("y", "z") + ".split('z')"
MILLION = times_ten("y", "z", "w", "v", "u")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (f"{THOUSAND}.exists(a, {THOUSAND}.exists(b, a + b == 'q'))", "this would take about"),
        (f"{MILLION}.split('u').exists(a, {THOUSAND}.all(b, a != b))", "this would take about"),
        (f"{THOUSAND}.map(a, {MILLION}).size() == 1", "this would build 1,0"),
        (f"{THOUSAND}.exists(a, event.data.t.exists(b, {THOUSAND}.join(b) == a))", "this would take about"),
        (f"{THOUSAND}.exists(a, {MILLION}.contains(a))", "this would take about 4 s"),
    ],
)
def test_what_an_expression_makes_of_its_own_literals_is_bounded(source: str, words: str) -> None:
    with pytest.raises(ExpressionError) as refused:
        compile(source)
    (diagnostic,) = refused.value.diagnostics
    assert words in diagnostic.message
    assert "limit" in diagnostic.message
    assert diagnostic.suggestion


@pytest.mark.parametrize(
    "source",
    [
        "event.data.items.exists(i, i.sku in event.data.skus)",
        "event.data.items.exists(i, event.data.skus.exists(s, s == i.sku && i.price * 2 > 3))",
        "event.data.items.filter(i, event.data.skus.exists_one(s, s == i.sku)).size() == 2",
        "event.data.items.map(i, i.name.lowerAscii().replace(' ', '-')).exists(n, n.matches('^[a-z-]+$'))",
        "event.data.text.split(',').map(t, t.trim()).exists(t, t in event.data.tags)",
        "event.data.id in [" + ", ".join(f"'id-{n}'" for n in range(1000)) + "]",
        " || ".join(f"event.data.v.matches('^v{n}(a|b)*$')" for n in range(200)),
        f"{MILLION}.size() == 1000000 && event.data.v == 'a'",
        f"event.data.v in {THOUSAND}",
    ],
)
def test_what_is_honest_passes(source: str) -> None:
    assert compile(source).source == source
