"""Which fields of events may have their values in a message. A field is allowed by name, with all that is inside."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from secateur.cel import ExpressionError
from secateur.cel import compile as compile_source
from secateur.cel.paths import EVENT, Bindings, Path, bindings_below, path_in
from secateur.cel.syntax.ast import Has, Index, Literal, Name, Node, Select
from secateur.errors import SettingsError

Field = tuple[str, ...]
"""The keys below `event`; elements of lists count as the list."""


def read_fields(texts: Iterable[str]) -> frozenset[Field]:
    """`event.data.vendor_id`, or `event.data['vendor-id']`. Raises `SettingsError` with all that are no fields."""
    found, wrong = set(), []
    for text in texts:
        field = _field(text)
        if field:
            found.add(field)
        else:
            wrong.append(
                f"`watch.allowed_fields` must name fields of events, such as event.data.vendor_id, not {text!r:.100}"
            )
    if wrong:
        raise SettingsError("\n".join(wrong))
    return frozenset(found)


def _field(text: str) -> Field | None:
    try:
        # As an operand, since a field by itself is no condition.
        expression = compile_source(f"dyn({text}) == 0").expression
    except ExpressionError:
        return None
    paths = [path for path in _paths(expression, EVENT) if path]
    return _keys(paths[0]) if len(paths) == 1 and _keys(paths[0]) else None


def may_be_told(source: str, allowed: frozenset[Field]) -> bool:
    """Whether the expression reads nothing of the event but allowed fields, and so has no value and no key of others.

    False of what is no expression.
    """
    try:
        expression = compile_source(source).expression
    except ExpressionError:
        return False
    return all(_is_allowed(_keys(path), allowed) for path in _paths(expression, EVENT))


def _is_allowed(field: Field, allowed: frozenset[Field]) -> bool:
    return any(field[: len(each)] == each for each in allowed)


def _keys(path: Path) -> Field:
    return tuple(key for key in path if key is not None)


def _paths(node: Node, bindings: Bindings) -> Iterator[Path]:
    """Every part of the event that is read, as deep as it is named; `()` where it is read as a whole."""
    if isinstance(node, Name):
        if (path := bindings.get(node.name)) is not None:
            yield path
        return
    if isinstance(node, Select | Has | Index) and (path := path_in(node, bindings)) is not None:
        yield path
        yield from _in_indexes(node, bindings)
        return
    for child, within in bindings_below(node, bindings):
        yield from _paths(child, within)


def _in_indexes(node: Node, bindings: Bindings) -> Iterator[Path]:
    """What is read to find out which element is meant."""
    while isinstance(node, Select | Has | Index):
        if isinstance(node, Index) and not isinstance(node.index, Literal):
            yield from _paths(node.index, bindings)
        node = node.operand
