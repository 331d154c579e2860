"""Fields of the event, and conditions on them as jsonpath.

All paths are for jsonpath's strict mode, in which a missing field is an error, as it is in the language.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final, TypeAlias, TypeGuard

from secateur.cel import paths
from secateur.cel.sql.boxes import storable
from secateur.cel.sql.comparisons import beyond, number_rounding
from secateur.cel.sql.loops import chain
from secateur.cel.syntax.ast import (
    MIRRORED,
    Binary,
    Call,
    Comparison,
    Comprehension,
    Index,
    Literal,
    Logical,
    Name,
    Node,
    Select,
)
from secateur.cel.values import Value

Keys: TypeAlias = tuple[str, ...]
Places: TypeAlias = Mapping[str, Keys]
"""Variables, each with the keys that lead to its value from the event, or from the element of a list."""

EVENT: Final[Places] = {"event": ()}


def keys_of(node: Node, places: Places = EVENT) -> Keys | None:
    """The keys of a field; None for anything else, such as the event or the element as a whole."""
    return _place_of(node, places) or None


def _place_of(node: Node, places: Places) -> Keys | None:
    path = paths.path_of(node, places)
    if path is None:
        return None
    keys = tuple(key for key in path if key is not paths.EACH)
    return keys if len(keys) == len(path) and all(map(storable, keys)) else None


def equality_of(node: Node, places: Places = EVENT, *, whole: bool = False) -> tuple[Keys, Value] | None:
    """The field and the value, if the node equates a field with a string, a boolean or null.

    With `whole`, a variable itself also counts as a field.
    """
    if not isinstance(node, Binary) or node.operator != "==":
        return None
    find = _place_of if whole else keys_of
    for one, other in ((node.left, node.right), (node.right, node.left)):
        path = find(one, places)
        if path is not None and _is_scalar(other):
            return path, other.value
    return None


def _is_scalar(node: Node) -> TypeGuard[Literal]:
    if not isinstance(node, Literal):
        return False
    return node.value is None or (isinstance(node.value, (str, bool)) and storable(node.value))


def order_of(node: Binary, places: Places = EVENT, *, whole: bool = False) -> tuple[Keys, str] | None:
    """The field and its jsonpath test, if the node compares the order of a field and a number."""
    operator: Comparison = node.operator  # type: ignore[assignment]  # the caller matched it
    find = _place_of if whole else keys_of
    path, number = find(node.left, places), node.right
    if path is None:
        operator, path, number = MIRRORED[operator], find(node.right, places), node.left
    if path is None or not isinstance(number, Literal) or not (rounding := number_rounding(number.value)):
        return None
    sign, bound = beyond(operator, rounding)
    return path, f"{sign} {bound}"


def filter_of(node: Node, places: Places, root: str = "@", *, whole: bool = False) -> str | None:
    """A predicate on one element of a list, as jsonpath's filter takes it; None if it cannot be said exactly."""
    match node:
        case Logical(operator=operator, operands=operands):
            tests = [filter_of(operand, places, root, whole=whole) for operand in operands]
            return f"({f' {operator} '.join(filter(None, tests))})" if all(tests) else None
        case Binary(operator="==") if (found := equality_of(node, places, whole=whole)) is not None:
            return _equals(*found, root)
        case Binary(operator="<" | "<=" | ">" | ">=") if (ordered := order_of(node, places, whole=whole)) is not None:
            return f"{accessor(ordered[0], root)} {ordered[1]}"
        case Call(
            function="startsWith", target=Name() | Select() | Index() as target, arguments=(Literal(value=prefix),)
        ):
            path = (_place_of if whole else keys_of)(target, places)
            if path is not None and isinstance(prefix, str) and storable(prefix):
                return f"{accessor(path, root)} starts with {quoted(prefix)}"
    return None


def exists_in(path: Keys, node: Node, variable: str) -> str | None:
    """A test that the node is true for an element of the list there, or for a key of the map. None as in `filter_of`.

    A key has no fields: only a test of the element itself can be true of one.
    """
    places: Places = {variable: ()}
    if (test := filter_of(node, places)) is not None:
        return f"exists({accessor(path)}[*] ? ({test}))"
    of_elements, of_keys = (filter_of(node, places, root, whole=True) for root in ("@", "@.key"))
    if of_elements is None:
        return None
    return f"exists({accessor(path)}[*] ? ({of_elements})) || exists({accessor(path)}.keyvalue() ? ({of_keys}))"


def _equals(path: Keys, value: Value, root: str = "@") -> str:
    return f"{accessor(path, root)} == {quoted(value)}"


def some_element(node: Node) -> tuple[Keys, str] | None:
    """A list, and a test that one of its elements passes wherever the node is true; None if none is known.

    For `filter(x, p).size() > 0`, `map(x, f).exists(y, p)`, `'a' in map(x, f)` and longer chains. It may be true for
    other events as well, because it ignores errors of the other elements. Each test reads a field of the element: of a
    map, macros visit the keys and jsonpath does not, and no key has a field.
    """
    match node:
        case Comprehension(macro="exists", operand=list_, predicate=predicate, variable=variable):
            pass
        case Binary(operator="in", left=element, right=list_):
            predicate, variable = None, ""
        case Binary(left=Call() | Literal(), right=Call() | Literal()) if (counted := _at_least_one(node)) is not None:
            list_, predicate, variable = counted, None, ""
        case _:
            return None
    operand, steps = chain(list_)
    path = keys_of(operand)
    if path is None or not steps:
        return None
    place: Keys | None = ()
    tests = []
    for step in steps:
        places = {} if place is None else {step.variable: place}
        if step.predicate:
            tests.append(filter_of(step.predicate, places))
        if step.transform:
            place = _place_of(step.transform, places)
    if predicate:
        tests.append(None if place is None else filter_of(predicate, {variable: place}))
    if isinstance(node, Binary) and node.operator == "in" and place and _is_scalar(element):
        tests.append(_equals(place, element.value))
    said = " && ".join(filter(None, tests))
    return (path, said) if said else None


def _at_least_one(node: Binary) -> Node | None:
    """The list, if the node is true only if that list's size is at least one."""
    operator, size, number = node.operator, node.left, node.right
    if isinstance(size, Literal) and operator in MIRRORED:
        operator, size, number = MIRRORED[operator], number, size
    match size, number:
        case Call(function="size", operands=(list_,)), Literal(value=int(least)) if not isinstance(least, bool):
            excludes_zero = {">": least >= 0, ">=": least > 0, "==": least > 0, "!=": least == 0}
            return list_ if excludes_zero.get(operator) else None
    return None


def accessor(path: Keys, root: str = "$") -> str:
    return root + "".join(f".{quoted(key)}" for key in path)


def quoted(value: Value) -> str:
    """As jsonpath writes keys, strings, booleans and null."""
    return json.dumps(value, ensure_ascii=False)
