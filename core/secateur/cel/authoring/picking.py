"""Conditions for a field and a value that somebody points at, so that nobody has to type a field's name.

    conjunct(("data", "vendor_id"), "acme_inc")      event.data.vendor_id == 'acme_inc'
    conjunct(("data", "tags", 0), "eu")              'eu' in event.data.tags
    conjunct(("data", "items", 2, "sku"), "a-1")     event.data.items.exists(item, item.sku == 'a-1')
    conjunct(("data", "vendor_id"), MISSING)         !has(event.data.vendor_id)
    negation(("data", "vendor_id"), "acme_inc")      (!has(event.data.vendor_id) || event.data.vendor_id != 'acme_inc')
    added("event.data.a == 1 || event.data.b == 2", "event.data.c == 3")
                                                     (event.data.a == 1 || event.data.b == 2) && event.data.c == 3
    narrowed("event.data.a == 1", ("data", "b"), 2)  event.data.a == 1 && event.data.b == 2

A path is the keys below `event`; an index, or `EACH`, means any element of a list.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from typing import Final, TypeAlias

from secateur.cel.authoring.shapes import Shape
from secateur.cel.paths import EACH, Path
from secateur.cel.syntax.scanner import Token, scan
from secateur.cel.syntax.writing import field_access, text_literal, value_text
from secateur.cel.values import from_json


class Missing(Enum):
    MISSING = "missing"


MISSING: Final = Missing.MISSING
"""In the place of a value: the key is not there."""

PickedPath: TypeAlias = Sequence[str | int | None]

ELEMENTS = ("item", "inner", "innermost")
"""The variables for the elements of lists, from the outside in."""


def conjunct(path: PickedPath, value: object) -> str:
    """The condition that the field has the value, a decoded JSON value or `MISSING`; of a list, that any element has.

    It is true of exactly the events that are so; of others it is false, or an error, which does not match either.
    Raises `ValueError` for a path that no expression can select: through too many lists, or to a missing element.
    """
    *above, key = _general(path) or ("",)
    if not path:
        return f"event == {literal(value)}"
    if key is EACH and value is not MISSING:
        return condition(tuple(above), lambda text: f"{literal(value)} in {text}")
    if value is MISSING:
        return condition(tuple(above), lambda text: negated(has(text, _name(key))))
    return condition((*above, key), lambda text: f"{text} == {literal(value)}")


def negation(path: PickedPath, value: object, shape: Shape | None = None) -> str:
    """The condition that it is not so: true of all other events, also of those that lack the field.

    `shape` tells which fields may be missing, and what is not always an object; without one, it is taken that only the
    field itself may be missing. Raises as `conjunct` does.
    """
    whole = _general(path)
    if EACH in whole:
        return guarded(path, _surely_none(whole, value), shape)
    if value is MISSING:
        return guarded(whole[:-1], has(access(whole[:-1]), _name(whole[-1])), shape, kind="map")
    return guarded(path, f"{access(whole)} != {literal(value)}", shape)


def guarded(path: PickedPath, source: str, shape: Shape | None = None, kind: str = "") -> str:
    """The condition, true also of events that lack the field, or where it is not of the `kind`; of a list, the list."""
    whole = _general(path)
    outer = whole[: whole.index(EACH)] if EACH in whole else whole
    if not outer:
        return source
    kinds = ["map"] * (len(outer) - 1) + ["list" if outer != whole else kind]
    guards: list[str] = []
    for depth, each in enumerate(kinds, 1):
        guards += _guards(outer[:depth], each, shape, each != "map")
    return f"({' || '.join([*guards, source])})" if guards else source


def _surely_none(path: Path, value: object) -> str:
    """That no element is so; it is false, instead of an error, of elements that lack the key."""
    key = path[-1]
    if key is EACH or value is MISSING:
        return negated(conjunct(path, value))
    return negated(
        condition(path[:-1], lambda text: f"{has(text, key)} && {text}{field_access(key)} == {literal(value)}")
    )


def added(source: str, conjunct: str) -> str:
    """The expression with the condition added by `&&`; as it is where it says so already."""
    source = source.strip()
    source = source.removesuffix("&&").rstrip() if not _ends_in_comment(source) else source
    if not source:
        return conjunct
    if conjunct in _terms(source):
        return source
    if _binds_loosely(source):
        source = f"({source}\n)" if _ends_in_comment(source) else f"({source})"
    if _binds_loosely(conjunct):
        conjunct = f"({conjunct})"
    separator = "\n" if "\n" in source or _ends_in_comment(source) else " "
    return f"{source}{separator}&& {conjunct}"


def narrowed(source: str, path: PickedPath, value: object, *, exclude: bool = False, shape: Shape | None = None) -> str:
    """The expression, further restricted to events whose field has the value or, with `exclude`, to all others.

    `shape` is for `negation`. Raises `ValueError` as `conjunct` does.
    """
    return added(source, negation(path, value, shape) if exclude else conjunct(path, value))


def access(path: Path, variable: str = "event") -> str:
    """The field as an expression selects it; the path has no `EACH`."""
    return variable + "".join(field_access(str(key)) for key in path)


def has(above: str, key: str) -> str:
    """That the object has the key: `has(…)` or, where the key cannot stand behind a dot, `'key' in …`."""
    selector = field_access(key)
    return f"has({above}{selector})" if selector.startswith(".") else f"{text_literal(key)} in {above}"


def negated(source: str) -> str:
    return f"!{source}" if _is_one_call(source) else f"!({source})"


def literal(value: object) -> str:
    """Any decoded JSON value as it is written in an expression."""
    return value_text(from_json(value), levels=LEVELS)


LEVELS = 1_000
"""Deeper than any JSON that Postgres reads into an expression's bounds."""


def condition(
    path: Path,
    predicate: Callable[[str], str],
    variable: str = "event",
    elements: Sequence[str] = ELEMENTS,
) -> str:
    """`predicate` of the field; of any element, below a list."""
    if EACH not in path:
        return predicate(access(path, variable))
    if not elements:
        raise ValueError(f"the path goes through more than {len(ELEMENTS)} lists")
    at = path.index(EACH)
    inner = condition(path[at + 1 :], predicate, elements[0], elements[1:])
    return f"{access(path[:at], variable)}.exists({elements[0]}, {inner})"


def _guards(path: Path, kind: str, shape: Shape | None, is_last: bool) -> list[str]:
    """What is true where there is no such field, or where it is not of the `kind` although others are."""
    missing = negated(has(access(path[:-1]), _name(path[-1])))
    if shape is None:
        return [missing] if is_last else []
    field, above = shape.fields.get(path), shape.fields.get(path[:-1])
    guards = []
    if field is None or above is None or field.count < above.types.get("map", 0):
        guards.append(missing)
    if kind and field is not None and set(field.types) != {kind}:
        guards.append(f"type({access(path)}) != {kind}")
    return guards


def _name(key: str | None) -> str:
    if key is None:
        raise ValueError("an element of a list cannot be missing")
    return key


def _general(path: PickedPath) -> Path:
    return tuple(EACH if key is None or isinstance(key, int) else key for key in path)


def _is_one_call(source: str) -> bool:
    """Such as `has(…)` or `a.b.exists(…)`: outside of brackets there are only names and dots."""
    outside = [token for depth, token in _by_depth(source) if depth == 0]
    return source.endswith(")") and all(token.kind in ("name", "quoted") or token.text in ".()" for token in outside)


def _binds_loosely(source: str) -> bool:
    """Whether an `||` or a `?` stands outside of brackets."""
    return any(depth == 0 and token.text in ("||", "?") for depth, token in _by_depth(source))


def _ends_in_comment(source: str) -> bool:
    return any(token.kind == "comment" and token.end == len(source) for token in scan(source))


def _by_depth(source: str) -> Iterator[tuple[int, Token]]:
    """Every token with the number of brackets around it."""
    depth = 0
    for token in scan(source):
        is_bracket = token.kind == "operator"
        if is_bracket and token.text in ")]}":
            depth -= 1
        yield depth, token
        if is_bracket and token.text in "([{":
            depth += 1


def _terms(source: str) -> list[str]:
    """What `&&` joins, outside of brackets."""
    terms, start = [], 0
    for depth, token in _by_depth(source):
        if depth == 0 and token.text == "&&":
            terms.append(source[start : token.start].strip())
            start = token.end
    terms.append(source[start:].strip())
    return [] if _binds_loosely(source) else terms
