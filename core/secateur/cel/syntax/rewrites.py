"""Translates what other dialects of CEL have and this one lacks: optional values, and macros with two variables.

`a.?b.orValue(x)` becomes `has(a.b) ? a.b : x`, and `a?.b` of JavaScript is read as `a.?b`. This module works on tokens,
because the grammar has no rules for these.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from secateur.cel import messages as say
from secateur.cel.diagnostics import Suggestion
from secateur.cel.syntax.ast import Span
from secateur.cel.syntax.scanner import Token, scan

_OPENING = {"(": ")", "[": "]", "{": "}"}
_UNWRAPPING = ("orValue", "hasValue", "value", "or", "optMap", "optFlatMap")
_MAKING = ("of", "none", "ofNonZeroValue")
_TWO_VARIABLES = {
    **{name: name for name in ("all", "exists", "exists_one")},
    "existsOne": "exists_one",
    "transformList": "map",
    "transformMap": None,
    "transformMapEntry": None,
}
"""The macro's name in other dialects → its name here, or None if there is no such macro here."""


class _NotSayable(Exception):
    """This dialect has no equivalent."""


def foreign(source: str, tokens: Sequence[Token]) -> tuple[Span, str, Suggestion | None] | None:
    """The first construct from another dialect: its span, what is wrong, and a replacement for the whole source.

    The brackets in `tokens` must match.
    """
    rewriter = _Rewriter(source, tokens)
    found = rewriter.first()
    if found is None:
        return None
    token, message = found
    try:
        plain = _plain(rewriter.whole())
    except _NotSayable:
        return Span(token.start, token.end), message, None
    return Span(token.start, token.end), message, say.write_the_whole(plain, source, rewriter.means)


def _optional_chains(tokens: Sequence[Token]) -> Sequence[Token]:
    """JavaScript's `a?.b` and `a?.[b]` as `a.?b` and `a[?b]`.

    The tokens are left alone if every `?` may have its `:`, because `a ?.b : c` is valid CEL.
    """
    operators = [token.text for token in tokens if token.kind == "operator"]
    if operators.count("?") <= operators.count(":"):
        return tokens
    written: list[Token] = []
    rest = list(tokens)
    while rest:
        text = "".join(token.text if token.kind == "operator" else " " for token in rest[:3])
        follows_value = bool(written) and (written[-1].kind != "operator" or written[-1].text in _OPENING.values())
        if not (follows_value and text.startswith("?.") and rest[0].end == rest[1].start):
            written.append(rest.pop(0))
            continue
        mark, dot = rest.pop(0), rest.pop(0)
        if text == "?.[":
            bracket = rest.pop(0)
            written += replace(bracket, start=mark.start, end=mark.end), replace(mark, start=mark.end, end=bracket.end)
        else:
            written += replace(dot, start=mark.start, end=mark.end), replace(mark, start=dot.start, end=dot.end)
    return written


def _plain(text: str) -> str:
    """On one line, without outer brackets. Raises `_NotSayable` if it does not parse, because of another mistake."""
    from secateur.cel.diagnostics import ExpressionError
    from secateur.cel.syntax.formatter import format_source

    if _Rewriter(text, [token for token in scan(text) if token.kind not in ("space", "comment")]).first() is not None:
        raise _NotSayable  # the parser would come back here
    try:
        return format_source(text, width=1_000_000)
    except ExpressionError:
        raise _NotSayable from None


class _Rewriter:
    def __init__(self, source: str, tokens: Sequence[Token]) -> None:
        self._source, self._tokens = source, _optional_chains(tokens)
        self._closing: dict[int, int] = {}
        self._renamed: dict[str, str] = {}
        self.means: str | None = None
        """Which of the two possible readings applies."""
        opened: list[int] = []
        for at, token in enumerate(self._tokens):
            if token.kind == "operator" and token.text in _OPENING:
                opened.append(at)
            elif token.kind == "operator" and token.text in _OPENING.values():
                self._closing[opened.pop()] = at

    def first(self) -> tuple[Token, str] | None:
        """The first token from another dialect, and what is wrong with it."""
        found = ((token, self._message(at)) for at, token in enumerate(self._tokens))
        return next(((token, message) for token, message in found if message is not None), None)

    def whole(self) -> str:
        """The source in our dialect. Raises `_NotSayable`."""
        return self._between(0, len(self._tokens))

    def _message(self, at: int) -> str | None:
        """What is wrong with the token, if it comes from another dialect."""
        before, token = self._text(at - 1), self._tokens[at]
        if token.kind == "operator":
            optional = before in (".", "[", "{", ",") or self._text(at + 1) == "?"
            return say.NO_OPTIONALS if token.text == "?" and optional else None
        if token.kind != "name":
            return None
        called = self._text(at + 1) == "("
        if before == "." and called and token.text in ("orValue", "hasValue", "optMap", "optFlatMap"):
            return say.NO_OPTIONALS
        if before != "." and token.text == "optional" and self._makes_optional(at):
            return say.NO_OPTIONALS
        if before == "." and called and self._two_variables(at) is not None:
            return say.one_variable(token.text)
        return None

    def _text(self, at: int) -> str:
        """The token's text if it is an operator or a name. A string's content does not matter."""
        if not 0 <= at < len(self._tokens) or self._tokens[at].kind not in ("operator", "name"):
            return ""
        return self._tokens[at].text

    def _makes_optional(self, at: int) -> bool:
        return self._text(at + 1) == "." and self._text(at + 2) in _MAKING and self._text(at + 3) == "("

    def _two_variables(self, at: int) -> list[tuple[int, int]] | None:
        """The arguments of the macro call, if it declares two variables."""
        if self._tokens[at].text not in _TWO_VARIABLES:
            return None
        arguments = self._arguments(at + 1)
        if len(arguments) < 3 or any(
            end - start != 1 or self._tokens[start].kind != "name" for start, end in arguments[:2]
        ):
            return None
        return arguments

    def _arguments(self, opening: int) -> list[tuple[int, int]]:
        """The range of tokens of each argument within the brackets."""
        ends, at = [opening], opening + 1
        while at < self._closing[opening]:
            if self._text(at) == ",":
                ends.append(at)
            at = self._closing.get(at, at) + 1
        ends.append(self._closing[opening])
        return [(start + 1, end) for start, end in pairwise(ends) if end > start + 1]

    def _between(self, start: int, end: int) -> str:
        """These tokens as source in our dialect. Raises `_NotSayable`."""
        parts: list[str] = []
        at = start
        while at < end:
            token = self._tokens[at]
            if at > start:
                parts.append(self._source[self._tokens[at - 1].end : token.start])
            if token.kind != "operator" or token.text in _OPENING:
                text, at = self._operand(at)
            elif token.text == "?" and (self._text(at - 1) in ("[", "{", ",") or self._text(at + 1) == "?"):
                raise _NotSayable
            else:
                text, at = token.text, at + 1
            parts.append(text)
        return "".join(parts)

    def _inside(self, opening: int) -> str:
        return self._between(opening + 1, self._closing[opening])

    def _operand(self, at: int) -> tuple[str, int]:
        """A value with its selections and calls, and the position after it."""
        token = self._tokens[at]
        if token.text == "optional" and self._text(at - 1) != "." and self._makes_optional(at):
            return self._made(at + 3)
        if at in self._closing:
            path, at = f"{token.text}{self._inside(at)}{_OPENING[token.text]}", self._closing[at] + 1
        elif token.kind == "name" and self._text(at + 1) == "(":
            path, at = f"{token.text}({self._inside(at + 1)})", self._closing[at + 1] + 1
        else:
            path, at = self._renamed.get(token.text, token.text) if token.kind == "name" else token.text, at + 1
        return self._selected(path, at)

    def _selected(self, path: str, at: int) -> tuple[str, int]:
        tests: list[str] = []
        last = ""
        while (sign := self._text(at)) in (".", "["):
            optional = self._text(at + 1) == "?"
            if sign == "[":
                key = self._between(at + 1 + optional, self._closing[at])
                last, path = self._has_key(path, at + 1 + optional, key), f"{path}[{key}]"
                at = self._closing[at] + 1
            else:
                name = at + 1 + optional
                if name >= len(self._tokens) or self._tokens[name].kind not in ("name", "quoted", "keyword"):
                    raise _NotSayable
                called = self._text(name + 1) == "("
                if called and not optional:
                    path, at = self._call(path, name, tests or ([last] if last else []), waiting=bool(tests))
                    tests, last = [], ""
                    continue
                field = self._tokens[name]
                path += f"['{field.text}']" if field.kind == "keyword" else f".{field.text}"
                last, at = f"has({path})", name + 1
            if optional or tests:
                tests.append(last)
        return (f"({' && '.join(tests)} ? {path} : null)" if tests else path), at

    def _has_key(self, path: str, at: int, key: str) -> str:
        """Source that tells whether the key, or the index of a list, exists."""
        kind = self._tokens[at].kind
        if kind in ("string", "raw") and key == self._tokens[at].text:
            return f"has({path}[{key}])"
        return f"size({path}) > {key}" if key.isdecimal() else f"({key}) in {path}"

    def _call(self, path: str, name: int, tests: list[str], *, waiting: bool) -> tuple[str, int]:
        function, opening = self._tokens[name].text, name + 1
        after = self._closing[opening] + 1
        if (variables := self._two_variables(name)) is not None:
            if waiting:
                raise _NotSayable
            return self._one_variable(path, _TWO_VARIABLES[function], variables), after
        if function == "orValue" and tests:
            return f"({' && '.join(tests)} ? {path} : {self._inside(opening)})", after
        if function == "hasValue" and tests:
            return f"({' && '.join(tests)})", after
        if function == "value" and waiting:
            return path, after
        if waiting or function in ("orValue", "hasValue", "optMap", "optFlatMap"):
            raise _NotSayable
        return f"{path}.{function}({self._inside(opening)})", after

    def _made(self, opening: int) -> tuple[str, int]:
        """`optional.of(x)` and the call that follows it directly."""
        there = self._text(opening - 1) != "none"
        value, at = f"({self._inside(opening)})" if there else "null", self._closing[opening] + 1
        if self._text(at) == "." and self._text(at + 1) in _UNWRAPPING and self._text(at + 2) == "(":
            function, inner = self._text(at + 1), at + 2
            at = self._closing[inner] + 1
            if function == "hasValue":
                value = "true" if there else "false"
            elif function == "orValue":
                value = value if there else f"({self._inside(inner)})"
            elif function != "value":
                raise _NotSayable
        return self._selected(value, at)

    def _one_variable(self, path: str, macro: str | None, arguments: list[tuple[int, int]]) -> str:
        """The macro over a list's elements if the index is not used; otherwise the macro over a map's keys."""
        if macro is None:
            raise _NotSayable
        (first, _), (second, _), *rest = arguments
        key, value = self._tokens[first].text, self._tokens[second].text
        asked = any(
            self._text(at) == key and self._text(at - 1) != "." for start, end in rest for at in range(start, end)
        )
        self.means = self.means or (say.KEYS_AND_VALUES if asked else say.ELEMENTS)
        outer = self._renamed
        names = {name: text for name, text in outer.items() if name not in (key, value)}
        self._renamed = {**names, value: f"{path}[{key}]"} if asked else names
        bodies = ", ".join(self._between(*each) for each in rest)
        self._renamed = outer
        return f"{path}.{macro}({key if asked else value}, {bodies})"
