"""Builds nodes: one method for each rule of the grammar makes a node from tokens and child nodes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, TypeAlias, cast
from typing import Literal as OneOf

from lark import Token, Transformer

from secateur.cel import messages as say
from secateur.cel.declarations import MACROS
from secateur.cel.syntax import literals
from secateur.cel.syntax.ast import (
    Binary,
    BinaryOperator,
    Call,
    Comprehension,
    Conditional,
    Has,
    Index,
    Invalid,
    ListLiteral,
    Literal,
    Logical,
    Macro,
    MapLiteral,
    Name,
    Node,
    Select,
    Span,
    Unary,
)
from secateur.cel.syntax.scanner import RESERVED
from secateur.cel.values import Value

MAX_DEPTH = 100
"""The deepest tree that is accepted, in levels of nodes. `a + b + c` and `a.b.c` have three."""

Built: TypeAlias = tuple[Node, int]
"""A node and its depth."""


class TooDeepError(Exception):
    def __init__(self, span: Span) -> None:
        super().__init__()
        self.span = span


def _built(node: Node, *parts: Built) -> Built:
    depth = 1 + max((part[1] for part in parts), default=0)
    if depth > MAX_DEPTH:
        raise TooDeepError(node.span)
    return node, depth


def _span(token: Token) -> Span:
    return Span(cast("int", token.start_pos), cast("int", token.end_pos))


def _over(first: Span, last: Span) -> Span:
    return Span(first.start, last.end)


@dataclass(slots=True)
class _Chain:
    """`a || b || c` while it is parsed. The grammar nests to the left; the finished node is flat."""

    operator: OneOf["&&", "||"]
    operands: list[Built]


@dataclass(frozen=True, slots=True)
class _Left:
    """The left half of a binary operation."""

    operand: Built
    operator: Token


def _close(part: Built | _Chain) -> Built:
    if not isinstance(part, _Chain):
        return part
    nodes = tuple(node for node, _ in part.operands)
    return _built(Logical(part.operator, nodes, _over(nodes[0].span, nodes[-1].span)), *part.operands)


class Builder(Transformer[Any, Any]):
    """One method for each rule of cel-python's grammar, with the rule's name. The children include every token."""

    def _only(self, children: list[Any]) -> Any:
        return children[0]

    member = primary = unary_not = unary_neg = _only

    def expr(self, children: list[Any]) -> Built:
        if len(children) == 1:
            return _close(children[0])
        condition, then, otherwise = (_close(part) for part in children[::2])
        span = _over(condition[0].span, otherwise[0].span)
        return _built(Conditional(condition[0], then[0], otherwise[0], span), condition, then, otherwise)

    def conditionalor(self, children: list[Any]) -> Any:
        if len(children) == 1:
            return children[0]
        left, operator, right = children
        if isinstance(left, _Chain) and left.operator == operator:
            left.operands.append(_close(right))
            return left
        return _Chain("&&" if operator == "&&" else "||", [_close(left), _close(right)])

    conditionaland = conditionalor

    def relation(self, children: list[Any]) -> Any:
        if len(children) == 1:
            return children[0]
        left, right = children[0], _close(children[1])
        node = Binary(
            cast("BinaryOperator", str(left.operator)),
            left.operand[0],
            right[0],
            _over(left.operand[0].span, right[0].span),
            _span(left.operator),
        )
        return _built(node, left.operand, right)

    addition = multiplication = relation

    def relation_lt(self, children: list[Any]) -> _Left:
        return _Left(_close(children[0]), children[1])

    relation_le = relation_gt = relation_ge = relation_eq = relation_ne = relation_in = relation_lt
    addition_add = addition_sub = multiplication_mul = multiplication_div = multiplication_mod = relation_lt

    def unary(self, children: list[Any]) -> Any:
        if len(children) == 1:
            return children[0]
        sign, operand = children
        node, place = operand[0], _span(sign)
        span = _over(place, node.span)
        if sign == "-" and isinstance(node, Literal) and type(node.value) in (int, float):
            return replace(node, value=-node.value, span=span), operand[1]
        if isinstance(node, Unary) and node.operator == sign and node.span == _over(node.operator_span, node.span):
            return node.operand, operand[1]  # every implementation reads `!!a` as `a`, whatever a is
        return _built(Unary("-" if sign == "-" else "!", node, span, place), operand)

    def member_dot(self, children: list[Any]) -> Built:
        operand, _, name = children
        return _built(Select(operand[0], _field(name), _over(operand[0].span, _span(name)), _span(name)), operand)

    def member_dot_arg(self, children: list[Any]) -> Built:
        operand, _, name, *rest = children
        arguments = _arguments(rest)
        nodes = tuple(node for node, _ in arguments)
        span = _over(operand[0].span, _span(rest[-1]))
        if name[0] == "`":
            return _built(Invalid(_span(name), say.BACKQUOTES))
        if len(nodes) in map(len, MACROS.get(name, ())):
            node = _comprehension(cast("Macro", str(name)), operand[0], nodes, span, _span(name))
        else:
            node = Call(str(name), operand[0], nodes, span, _span(name))
        return _built(node, operand, *arguments)

    def member_index(self, children: list[Any]) -> Built:
        operand, _, index, closing = children
        return _built(Index(operand[0], index[0], _over(operand[0].span, _span(closing))), operand, index)

    def member_object(self, children: list[Any]) -> Built:
        span = _over(children[0][0].span, _span(children[-1]))
        return _built(Invalid(span, say.MESSAGES_NOT_SUPPORTED))

    def dot_ident(self, children: list[Any]) -> Built:
        built = self.ident(children[1:])
        if isinstance(built[0], Name):
            return replace(built[0], name=f".{built[0].name}"), built[1]
        return built

    def dot_ident_arg(self, children: list[Any]) -> Built:
        return self.ident_arg(children[1:])

    def ident(self, children: list[Any]) -> Built:
        name, span = str(children[0]), _span(children[0])
        if name in RESERVED:
            return _built(Invalid(span, say.reserved_word(name)))
        if name[0] == "`":
            return _built(Invalid(span, say.BACKQUOTES))
        return _built(Name(name, span))

    def ident_arg(self, children: list[Any]) -> Built:
        name, *rest = children
        arguments = _arguments(rest)
        nodes = tuple(node for node, _ in arguments)
        span = _over(_span(name), _span(rest[-1]))
        if name in RESERVED or name[0] == "`":
            reason = say.BACKQUOTES if name[0] == "`" else say.reserved_function(name)
            return _built(Invalid(_span(name), reason), *arguments)
        if name == "has":
            match nodes:
                case (Select(operand=operand, field=field, field_span=place),):
                    return _built(Has(operand, field, span, place), *arguments)
                case (Index(operand=operand, index=Literal(value=str(field), span=place)),):
                    return _built(Has(operand, field, span, place), *arguments)
            return _built(Invalid(span, say.NAME_A_FIELD), *arguments)
        return _built(Call(str(name), None, nodes, span, _span(name)), *arguments)

    def paren_expr(self, children: list[Any]) -> Built:
        node, depth = children[1]
        return replace(node, span=_over(_span(children[0]), _span(children[2]))), depth

    def list_lit(self, children: list[Any]) -> Built:
        elements = _arguments(children)
        span = _over(_span(children[0]), _span(children[-1]))
        return _built(ListLiteral(tuple(node for node, _ in elements), span), *elements)

    def map_lit(self, children: list[Any]) -> Built:
        parts: list[Built] = children[1] if len(children) == 3 else []
        entries = tuple((key[0], value[0]) for key, value in zip(parts[::2], parts[1::2], strict=True))
        return _built(MapLiteral(entries, _over(_span(children[0]), _span(children[-1]))), *parts)

    def exprlist(self, children: list[Any]) -> list[Built]:
        return children[::2]

    mapinits = exprlist

    def fieldinits(self, children: list[Any]) -> None:
        """The fields of typed messages, which are refused as a whole."""

    def literal(self, children: list[Any]) -> Built:
        token = children[0]
        span = _span(token)
        try:
            return _built(Literal(_value(token), span))
        except literals.LiteralError as error:
            place = Span(span.start + error.start, span.start + error.end)
            return _built(Invalid(place, say.LITERALS[str(error)]))


def _comprehension(macro: Macro, operand: Node, arguments: tuple[Node, ...], span: Span, name_span: Span) -> Node:
    variable, *rest = arguments
    if (
        not isinstance(variable, Name)
        or variable.name[0] == "."
        or variable.span.end - variable.span.start != len(variable.name)
    ):
        return Invalid(variable.span, say.name_the_element(macro))
    predicate = None if macro == "map" and len(rest) == 1 else rest[0]
    transform = rest[-1] if macro == "map" else None
    return Comprehension(macro, operand, variable.name, predicate, transform, span, name_span)


def _field(name: Token) -> str:
    return name[1:-1] if name[0] == "`" else str(name)


def _arguments(rest: list[Any]) -> list[Built]:
    """The elements of `( exprlist )` or `( )`, whatever the brackets."""
    return cast("list[Built]", rest[-2]) if isinstance(rest[-2], list) else []


def _value(token: Token) -> Value:
    match token.type:
        case "INT_LIT":
            return literals.integer(token)
        case "UINT_LIT":
            return literals.unsigned(token)
        case "FLOAT_LIT":
            return literals.double(token)
        case "BOOL_LIT":
            return str(token) == "true"
        case "NULL_LIT":
            return None
    return literals.string(token)
