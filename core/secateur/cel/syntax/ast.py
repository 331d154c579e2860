"""The expression as frozen nodes.

The parser builds them with type `DYN`; the checker returns a tree of the same shape in which every node
carries its type and every name is resolved. Spans are half-open ranges of code points of the source, so that
any later stage can point at the text.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal as OneOf
from typing import TypeAlias

from secateur.cel.types import DYN, Type
from secateur.cel.values import Value

Comparison: TypeAlias = OneOf["==", "!=", "<", "<=", ">", ">="]
Arithmetic: TypeAlias = OneOf["+", "-", "*", "/", "%"]
BinaryOperator: TypeAlias = Comparison | Arithmetic | OneOf["in"]
MIRRORED: dict[Comparison, Comparison] = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!="}
"""What a comparison becomes when its sides change places."""
Macro: TypeAlias = OneOf["all", "exists", "exists_one", "map", "filter"]


@dataclass(frozen=True, slots=True)
class Span:
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Literal:
    value: Value
    span: Span
    type: Type = DYN


@dataclass(frozen=True, slots=True)
class Name:
    """A variable; after the check, `name` is the whole dotted name it was declared under.

    Before, it begins with a dot if it was written so: it then means no variable of a macro.
    """

    name: str
    span: Span
    type: Type = DYN


@dataclass(frozen=True, slots=True)
class Select:
    operand: Node
    field: str
    span: Span
    field_span: Span
    type: Type = DYN


@dataclass(frozen=True, slots=True)
class Has:
    """`has(operand.field)`."""

    operand: Node
    field: str
    span: Span
    field_span: Span
    type: Type = DYN


@dataclass(frozen=True, slots=True)
class HasVariable:
    """`has(run.scheduled_for)`: after the check only; whether a variable that may be absent has a value."""

    name: str
    span: Span
    type: Type = DYN


@dataclass(frozen=True, slots=True)
class Index:
    operand: Node
    index: Node
    span: Span
    type: Type = DYN


@dataclass(frozen=True, slots=True)
class Unary:
    operator: OneOf["!", "-"]
    operand: Node
    span: Span
    operator_span: Span
    type: Type = DYN


@dataclass(frozen=True, slots=True)
class Binary:
    operator: BinaryOperator
    left: Node
    right: Node
    span: Span
    operator_span: Span
    type: Type = DYN


@dataclass(frozen=True, slots=True)
class Logical:
    """A chain of `&&` or of `||`, flat: a thousand terms are not a thousand levels deep."""

    operator: OneOf["&&", "||"]
    operands: tuple[Node, ...]
    span: Span
    type: Type = DYN


@dataclass(frozen=True, slots=True)
class Conditional:
    condition: Node
    then: Node
    otherwise: Node
    span: Span
    type: Type = DYN


@dataclass(frozen=True, slots=True)
class Call:
    """`function(arguments)` or, with a target, `target.function(arguments)`."""

    function: str
    target: Node | None
    arguments: tuple[Node, ...]
    span: Span
    name_span: Span
    type: Type = DYN

    @property
    def operands(self) -> tuple[Node, ...]:
        """The target, if any, and the arguments: what the overloads are about."""
        return self.arguments if self.target is None else (self.target, *self.arguments)


@dataclass(frozen=True, slots=True)
class Comprehension:
    """`operand.exists(variable, predicate)` and its like; only `map` has a transform, and may have no predicate."""

    macro: Macro
    operand: Node
    variable: str
    predicate: Node | None
    transform: Node | None
    span: Span
    name_span: Span
    type: Type = DYN


@dataclass(frozen=True, slots=True)
class ListLiteral:
    elements: tuple[Node, ...]
    span: Span
    type: Type = DYN


@dataclass(frozen=True, slots=True)
class MapLiteral:
    entries: tuple[tuple[Node, Node], ...]
    span: Span
    type: Type = DYN


@dataclass(frozen=True, slots=True)
class Invalid:
    """What has no meaning: `message` says why, until the checker has reported it."""

    span: Span
    message: str | None = None
    type: Type = DYN


Node: TypeAlias = (
    Literal
    | Name
    | Select
    | Has
    | HasVariable
    | Index
    | Unary
    | Binary
    | Logical
    | Conditional
    | Call
    | Comprehension
    | ListLiteral
    | MapLiteral
    | Invalid
)
