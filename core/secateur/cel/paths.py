"""Which field of the event a node reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
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
        case Select(operand=operand, field=key) | Has(operand=operand, field=key):
            above = path_of(operand, bindings)
            return None if above is None else (*above, key)
        case Index(operand=operand, index=Literal(value=str(key))):
            above = path_of(operand, bindings)
            return None if above is None else (*above, key)
        case Index(operand=operand):
            above = path_of(operand, bindings)
            return None if above is None else (*above, EACH)
    return None


def dotted(path: Path, variable: str = "event") -> str:
    """The path as people write it: `event.data.items[].price`."""
    return variable + "".join("[]" if key is EACH else f".{key}" for key in path)


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
