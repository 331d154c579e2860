"""Where the cursor is in an unfinished expression, and which operand is beside it.

An unfinished expression does not parse, so this works on the tokens in front of the cursor. Example, with the cursor
at the end of `event.data.items.exists(i, i.sku == 'a`:

1. `locate` takes the last token, `'a`, for a text that is being typed: its place is "text".
2. `_calls` finds the bracket that is still open. In front of it are `exists` and a dot, behind it a name and a comma:
   so `i` is a variable, and `_operand` walks back from the dot to find what it goes through, `event.data.items`.
3. `_compared` finds `==` in front of the text, and `_operand` the operand before it: `i.sku`.
4. `understand("i.sku", …)` parses only that, with `i` bound to an element of `event.data.items`. The path is
   `data.items[].sku`, and completion offers the values that a sample has there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal as OneOf

from secateur.cel.checker import Checker
from secateur.cel.declarations import MACROS, Declarations, Variable
from secateur.cel.diagnostics import Reporter
from secateur.cel.paths import EACH, EVENT, Path, path_of
from secateur.cel.syntax.parser import MAX_LENGTH, parse
from secateur.cel.syntax.scanner import Token, scan
from secateur.cel.types import DYN, Type

_CLOSING = {")": "(", "]": "[", "}": "{"}
_COMPARISONS = frozenset({"==", "!=", "<", "<=", ">", ">="})
_LITERALS = frozenset({"int", "uint", "float", "string", "raw"})


@dataclass(frozen=True, slots=True)
class Cursor:
    """`start` to `end` is the word under the cursor, `typed` its part in front of it."""

    place: OneOf["member", "text", "operand", "operator", "nothing"]
    start: int
    end: int
    typed: str = ""
    receiver: str = ""
    """The operand before the dot, or before an operator that is about to be typed."""
    compared: str | None = None
    """The operand that the value at the cursor is compared with."""
    indexed: str | None = None
    """The operand that is being indexed at the cursor."""
    inside_has: bool = False
    variables: tuple[tuple[str, str], ...] = ()
    """The variables of the macros around the cursor, from the outermost, each with what it goes through."""
    dot: int = 0
    """Where the dot of a member is."""
    begin: int = 0
    """Where the receiver of a member begins."""

    @property
    def bound(self) -> list[str]:
        return [name for name, _ in self.variables]


@dataclass(frozen=True, slots=True)
class Operand:
    type: Type
    path: Path | None


def understand(text: str, cursor: Cursor, declarations: Declarations) -> Operand | None:
    """None if the text is not an expression. The queue's own word is `event.data` here."""
    bindings = dict(EVENT)
    if (word := declarations.word) is not None and word not in declarations.variables:
        declarations = declarations.extended({word: Variable(DYN)})
        bindings[word] = ("data",)
    for name, iterated in cursor.variables:
        over = _understand(iterated, declarations, bindings)
        declarations = declarations.extended({name: Variable(_element(over))})
        bindings.pop(name, None)
        if over is not None and over.path is not None:
            bindings[name] = (*over.path, EACH)
    return _understand(text, declarations, bindings)


def _understand(text: str, declarations: Declarations, bindings: dict[str, Path]) -> Operand | None:
    reporter = Reporter(text)
    parsed = parse(text, reporter)
    if parsed is None:
        return None
    checked = Checker(declarations, reporter, lenient=True).check(parsed)
    return Operand(checked.type, path_of(checked, bindings))


def _element(operand: Operand | None) -> Type:
    if operand is None or operand.type.name not in ("list", "map"):
        return DYN
    return operand.type.parameters[0]


def locate(source: str, offset: int) -> Cursor:
    """What kind of place the offset is, by the tokens in front of it. Never raises."""
    nothing = Cursor("nothing", offset, offset)
    if len(source) > MAX_LENGTH:
        return nothing
    before: list[Token] = []
    start = end = offset
    text: Token | None = None
    for token in scan(source):
        if token.start >= offset:
            break
        if token.kind == "comment":
            if offset <= token.end:
                return nothing
        elif (offset < token.end and token.kind in ("string", "raw")) or (offset <= token.end and token.kind == "open"):
            text = token
        elif offset <= token.end and token.kind in ("name", "keyword", "quoted"):
            start, end = token.start, token.end
        elif offset <= token.end and token.kind in _LITERALS:
            return nothing
        else:
            before.append(token)
    around = _Surroundings(source, before)
    if text is not None:
        return around.within_text(text, offset)
    return around.place(start, end, offset)


class _Surroundings:
    """The tokens in front of the cursor."""

    def __init__(self, source: str, before: Sequence[Token]) -> None:
        self._source, self._before = source, before
        self._open = _open_brackets(before)

    def within_text(self, token: Token, offset: int) -> Cursor:
        if token.text[:1] not in ("'", '"') or token.text[:3] in ("'''", '"""'):
            return Cursor("nothing", offset, offset)
        end = offset if token.kind == "open" else token.end
        typed = self._source[token.start + 1 : offset]
        last = len(self._before) - 1
        indexed = None
        if last > 0 and self._before[last].text == "[" and _ends_operand(self._before[last - 1]):
            indexed = self._operand(last - 1)
        variables, _ = self._calls()
        return Cursor("text", token.start, end, typed, compared=self._compared(), indexed=indexed, variables=variables)

    def place(self, start: int, end: int, offset: int) -> Cursor:
        typed = self._source[start:offset].lstrip("`")
        variables, inside_has = self._calls()
        last = self._before[-1] if self._before else None
        if last is None:
            return Cursor("operand", start, end, typed)
        if last.text == ".":
            first = self._first(len(self._before) - 2)
            if first is None:
                return Cursor("nothing", start, end)
            begin = self._before[first].start
            return Cursor(
                *("member", start, end, typed, self._source[begin : self._before[-2].end]),
                inside_has=inside_has,
                variables=variables,
                dot=last.start,
                begin=begin,
            )
        if _ends_operand(last):
            receiver = self._whole_operand(len(self._before) - 1)
            if receiver is None or not self._source[last.end : start + 1][:1].isspace():
                return Cursor("nothing", start, end)
            return Cursor("operator", start, end, typed, receiver, variables=variables)
        if last.kind == "wrong" or self._names_a_variable():
            return Cursor("nothing", start, end)
        return Cursor(
            *("operand", start, end, typed),
            compared=self._compared(),
            inside_has=inside_has,
            variables=variables,
        )

    def _names_a_variable(self) -> bool:
        """Whether the cursor is at the first argument of a macro: a new name, which nobody can know."""
        return self._before[-1].text == "(" and self._is_macro(len(self._before) - 1)

    def _is_macro(self, opening: int) -> bool:
        return opening > 2 and self._before[opening - 1].text in MACROS and self._before[opening - 2].text == "."

    def _calls(self) -> tuple[tuple[tuple[str, str], ...], bool]:
        """The variables of the macros around the cursor, and whether it is inside of `has`."""
        variables: list[tuple[str, str]] = []
        inside_has = False
        for opening in self._open:
            if self._before[opening].text != "(" or opening == 0:
                continue
            inside_has = self._before[opening - 1].text == "has"
            after = self._before[opening + 1 : opening + 3]
            if self._is_macro(opening) and len(after) == 2 and after[0].kind == "name" and after[1].text == ",":
                iterated = self._operand(opening - 3)
                variables.append((after[0].text, iterated or "null"))
        return tuple(variables), inside_has

    def _compared(self) -> str | None:
        """The operand on the other side of `==` and its like, in front of `in [`, or of `startsWith(` and its like."""
        last = len(self._before) - 1
        if last < 1:
            return None
        if self._before[last].text in _COMPARISONS:
            return self._operand(last - 1)
        if not self._open:
            return None
        opening = self._open[-1]
        if self._before[last].text not in ("[", ",", "("):
            return None
        if self._before[opening].text == "[" and opening > 1 and self._before[opening - 1].text == "in":
            return self._operand(opening - 2)
        called = self._before[opening].text == "(" and opening > 2 and self._before[opening - 2].text == "."
        if called and not self._is_macro(opening):
            return self._operand(opening - 3)
        return None

    def _whole_operand(self, last: int) -> str | None:
        """The operand that ends there, with the comparison that it is the right side of."""
        first = self._first(last)
        if first is None:
            return None
        if first > 1 and self._before[first - 1].text in (*_COMPARISONS, "in"):
            left = self._first(first - 2)
            first = first if left is None else left
        return self._source[self._before[first].start : self._before[last].end]

    def _operand(self, last: int) -> str | None:
        """The text of the operand whose last token that is."""
        first = self._first(last)
        return None if first is None else self._source[self._before[first].start : self._before[last].end]

    def _first(self, last: int) -> int | None:
        """The first token of the operand that ends with `last`: names, dots, calls and indexes in a row."""
        place = last
        while place >= 0 and _ends_operand(self._before[place]):
            token = self._before[place]
            if token.text in _CLOSING:
                opening = _opening(self._before, place)
                if opening is None:
                    return None
                if opening == 0 or token.text == "}" or not _ends_operand(self._before[opening - 1]):
                    return opening
                place = opening - 1
            elif place > 0 and self._before[place - 1].text == ".":
                if place < 2 or not _ends_operand(self._before[place - 2]):
                    return place - 1
                place -= 2
            else:
                return place
        return None


def _ends_operand(token: Token) -> bool:
    if token.kind in ("name", "quoted", *_LITERALS):
        return True
    return token.text in _CLOSING or token.text in ("true", "false", "null")


def _open_brackets(tokens: Sequence[Token]) -> list[int]:
    """The places of the brackets that are open at the end, the outermost first."""
    found: list[int] = []
    for place, token in enumerate(tokens):
        if token.kind != "operator":
            continue
        if token.text in _CLOSING.values():
            found.append(place)
        elif token.text in _CLOSING and found:
            found.pop()
    return found


def _opening(tokens: Sequence[Token], closing: int) -> int | None:
    depth = 0
    for place in range(closing, -1, -1):
        text = tokens[place].text if tokens[place].kind == "operator" else ""
        depth += (text in _CLOSING) - (text in _CLOSING.values())
        if depth == 0:
            return place
    return None
