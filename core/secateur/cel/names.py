"""What a name stands for: an element of a macro, a variable or a type. Or nothing, and which one was probably meant."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from secateur.cel import messages as say
from secateur.cel import types
from secateur.cel.declarations import Declarations
from secateur.cel.diagnostics import Fix, Suggestion
from secateur.cel.hints import nearest
from secateur.cel.syntax.ast import Has, Invalid, Literal, Name, Node, Select, Span
from secateur.cel.syntax.writing import text_literal
from secateur.cel.types import Type

LITERALS_ELSEWHERE = {
    **dict.fromkeys(("True", "TRUE"), "true"),
    **dict.fromkeys(("False", "FALSE"), "false"),
    **dict.fromkeys(("NULL", "Null", "None", "nil", "undefined"), "null"),
}
"""What other languages call `true`, `false` and `null`."""

DATA_ELSEWHERE = ("args", "arguments", "kwargs", "params", "payload")
"""What other queues call the event's data."""


class Names:
    """The names of one expression. `elements` are the variables of the macros around the current place.

    `refuse` reports a problem and makes the node that stands in for what is wrong.
    """

    def __init__(
        self, declarations: Declarations, source: str, refuse: Callable[[Span, str | None, Suggestion | None], Invalid]
    ) -> None:
        self.elements: Mapping[str, Type] = {}
        self._declarations = declarations
        self._source = source
        self._refuse = refuse

    def variable(self, name: str, span: Span) -> Node | None:
        """The node that the name, dotted or not, stands for; None if it stands for nothing."""
        if name in self.elements:
            return Name(name, span, self.elements[name])
        if name.split(".")[0] in self.elements:
            return None
        if name[0] == "." and name.split(".")[1] in self.elements:
            return self._refuse(span, say.hidden(name.split(".")[1]), None)
        name = name.removeprefix(".")
        if variable := self._declarations.variables.get(name):
            return Name(name, span, variable.type)
        if name in types.NAMED:
            return Literal(types.NAMED[name], span, types.TYPE)
        if name in ("list", "map"):
            return Literal({"list": types.LIST, "map": types.MAP}[name], span, types.TYPE)
        if reason := self._declarations.refused.get(name):
            return self._refuse(span, reason, None)
        return None

    def unknown(self, node: Name, *, quotable: bool = False) -> Node:
        """Refuses a name that stands for nothing. A `quotable` one may be a text without its quotes."""
        name = node.name.removeprefix(".")
        if self._declarations.is_namespace(name):
            example = self._declarations.fields(name)[0]
            return self._refuse(node.span, say.namespace(name), say.such_as(f"{name}.{example}"))
        suggestion = None
        if name == self._declarations.word:
            suggestion = say.in_our_words(name, node.span)
        elif (meant := self._declarations.words.get(name)) is not None and not quotable:
            suggestion = say.of_the_run(meant, node.span)
        elif near := nearest(name, (*self.elements, *self._declarations.names())):
            suggestion = say.did_you_mean(near, Fix(node.span, near))
        elif name in DATA_ELSEWHERE and "event" in self._declarations.variables and not quotable:
            suggestion = say.write_instead("event.data", node.span, "the event's data")
        elif (word := LITERALS_ELSEWHERE.get(name)) is not None:
            suggestion = say.write_instead(word, node.span)
        elif quotable:
            suggestion = say.quote_it(name, node.span)
        elif "event" in self._declarations.variables:
            suggestion = say.in_the_event(name, node.span)
        return self._refuse(node.span, say.unknown_variable(name), suggestion)

    def unknown_field(self, namespace: Name, node: Select | Has) -> Node | None:
        """`run.statsu`: the namespace has fields, but not this one."""
        name = namespace.name.removeprefix(".")
        if not self.is_namespace(namespace):
            return None
        suggestion, place = None, node.field_span
        if near := nearest(node.field, self._declarations.fields(name)):
            in_brackets = self._source[place.end - 1] in "'\""
            suggestion = say.did_you_mean(near, Fix(place, text_literal(near) if in_brackets else near))
        return self._refuse(place, say.unknown_field(name, node.field), suggestion)

    def is_namespace(self, node: Name) -> bool:
        name = node.name.removeprefix(".")
        declared = name in self._declarations.variables or node.name in self.elements
        return not declared and self._declarations.is_namespace(name)
