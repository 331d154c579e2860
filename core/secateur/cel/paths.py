"""Which fields of the event a node reads, and what is inside of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from itertools import takewhile
from typing import Final, TypeAlias

from secateur.cel.syntax.ast import Comprehension, Has, HasVariable, Index, Invalid, Literal, Name, Node, Select, Span
from secateur.cel.types import Type

EACH: Final = None

Path: TypeAlias = tuple[str | None, ...]
"""Keys below `event`; `EACH` stands for any element of a list."""

Bindings: TypeAlias = Mapping[str, Path]
"""Variables that stand for a part of the event: `event` itself, and those of macros."""

EVENT: Bindings = {"event": ()}


def path_of(node: Node, bindings: Bindings = EVENT) -> Path | None:
    """The path that `node` selects, as a sample's shape names it; None for anything else."""
    match node:
        case Name(name=name):
            return bindings.get(name)
        case Select(operand=operand, field=key) | Index(operand=operand, index=Literal(value=str(key))):
            above = path_of(operand, bindings)
            return None if above is None else (*above, key)
        case Index(operand=operand):
            above = path_of(operand, bindings)
            return None if above is None else (*above, EACH)
    return None


def path_in(node: Select | Has | Index, bindings: Bindings = EVENT) -> Path | None:
    """As `path_of`; of `has(a.b)`, the path of `a.b`."""
    if not isinstance(node, Has):
        return path_of(node, bindings)
    above = path_of(node.operand, bindings)
    return None if above is None else (*above, node.field)


def fields_read(node: Node) -> list[tuple[str, ...]]:
    """The event's fields that the node reads, in the order of the source; of a list that it looks into, the whole.

    Of a field and one inside of it, only the inner one is named.
    """
    found: dict[tuple[str, ...], None] = {}
    pending = [(node, EVENT)]
    while pending:
        node, bindings = pending.pop()
        if isinstance(node, Select | Has | Index) and (path := path_in(node, bindings)) is not None:
            named = tuple(takewhile(lambda key: key is not EACH, path))
            if named:  # any field of the event is none by name
                found.setdefault(named)  # type: ignore[arg-type]  # no EACH
        pending += reversed(bindings_below(node, bindings))
    return [path for path in found if not any(other[: len(path)] == path != other for other in found)]


def dotted(path: Path, variable: str = "event") -> str:
    """The path as people write it: `event.data.items[].price`."""
    return variable + "".join("[]" if key is EACH else f".{key}" for key in path)


def names_in(node: Node) -> frozenset[str]:
    """The names of all variables that are read somewhere in it, elements of macros as well."""
    return frozenset(each.name for each in inside(node) if isinstance(each, Name | HasVariable))


def children(node: Node) -> Iterator[Node]:
    """The nodes right below, in the order of the source."""
    for each in fields(node):
        yield from _nodes(getattr(node, each.name))


def _nodes(value: object) -> Iterator[Node]:
    if isinstance(value, tuple):
        for item in value:
            yield from _nodes(item)
    elif hasattr(value, "span") and not isinstance(value, (Type, Span)):
        yield value  # type: ignore[misc]  # only nodes have a span


def bindings_below(node: Node, bindings: Bindings) -> list[tuple[Node, Bindings]]:
    """The nodes right below, each with the variables that it can see."""
    if not isinstance(node, Comprehension):
        return [(child, bindings) for child in children(node)]
    within = {name: path for name, path in bindings.items() if name != node.variable}
    if (above := path_of(node.operand, bindings)) is not None:
        within[node.variable] = (*above, EACH)
    return [(child, bindings if child is node.operand else within) for child in children(node)]


def reads_nothing(node: Node) -> bool:
    """Whether the node is the same for every run."""
    return not any(isinstance(each, (Name, HasVariable, Invalid)) for each in inside(node))


def inside(node: Node) -> Iterator[Node]:
    """The node and everything below it, parents first."""
    pending = [node]
    while pending:
        node = pending.pop()
        yield node
        pending += reversed(list(children(node)))
