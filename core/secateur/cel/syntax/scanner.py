"""The tokens of a source text: total, linear, and the one place that knows the lexical grammar."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

KEYWORDS = frozenset({"true", "false", "null", "in"})
RESERVED = frozenset(
    (
        "as",
        "break",
        "const",
        "continue",
        "else",
        "for",
        "function",
        "if",
        "import",
        "let",
        "loop",
        "namespace",
    )
) | {"package", "return", "var", "void", "while"}
"""Words that the standard keeps for host languages: no variable can be called so, a field can."""

_TOKEN = re.compile(
    r"""
      (?P<space>[\t\n\f\r ]+)
    | (?P<comment>//[^\n]*)
    | (?P<raw>[bB]?[rR](?:\"{3}(?s:.*?)\"{3}|'{3}(?s:.*?)'{3}|"[^"\r\n]*"|'[^'\r\n]*'))
    | (?P<string>[bB]?(?:\"{3}(?s:\\.|[^\\])*?\"{3}|'{3}(?s:\\.|[^\\])*?'{3}
                        |"(?:\\[^\r\n]|[^"\\\r\n])*"|'(?:\\[^\r\n]|[^'\\\r\n])*'))
    | (?P<open>(?:[bB]?[rR]?)["'])
    | (?P<float>(?:[0-9]+\.[0-9]+|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|[0-9]+[eE][+-]?[0-9]+)
    | (?P<uint>(?:0x[0-9a-fA-F]+|[0-9]+)[uU])
    | (?P<int>0x[0-9a-fA-F]+|[0-9]+)
    | (?P<name>[_a-zA-Z][_a-zA-Z0-9]*)
    | (?P<quoted>`[_a-zA-Z0-9.\-/ ]+`)
    | (?P<operator>&&|\|\||[=!<>]=|[-+*/%!<>?:.,()\[\]{}])
    | (?P<wrong>&|\||=|\S)
    """,
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Token:
    """`kind` is one of int uint float string raw name quoted operator keyword, and of comment, open
    (a string that is never closed) and wrong (a character that begins nothing)."""

    kind: str
    text: str
    start: int
    end: int


def scan(source: str) -> Iterator[Token]:
    """Every token in order, without white space; never raises."""
    position = 0
    while position < len(source):
        match = _TOKEN.match(source, position)
        if match is None:  # exotic white space, such as a no-break space
            yield Token("wrong", source[position], position, position + 1)
            position += 1
            continue
        kind, text, position = str(match.lastgroup), match.group(), match.end()
        if kind == "open":
            position = _line_end(source, position)
            yield Token("open", source[match.start() : position], match.start(), position)
        elif kind == "name" and text in KEYWORDS:
            yield Token("keyword", text, match.start(), position)
        elif kind != "space":
            yield Token(kind, text, match.start(), position)


def _line_end(source: str, position: int) -> int:
    ends = (source.find(newline, position) for newline in "\r\n")
    return min((end for end in ends if end >= 0), default=len(source))


_KINDS = {
    "int": "number",
    "uint": "number",
    "float": "number",
    "string": "string",
    "raw": "string",
    "open": "error",
    "wrong": "error",
    "comment": "comment",
    "operator": "operator",
    "quoted": "field",
}


def highlight(source: str) -> list[tuple[int, int, str]]:
    """Spans to colour: (start, end, kind) in code points, in order, without overlap.

    Kinds are string, number, boolean, keyword, function, variable, field, operator, comment and error. Works
    on any text, also one that does not parse; never raises.
    """
    tokens = list(scan(source))
    spans: list[tuple[int, int, str]] = []
    for position, token in enumerate(tokens):
        if token.kind == "keyword":
            kind = "keyword" if token.text == "in" else "boolean"
        elif token.kind == "name":
            after = tokens[position + 1].text if position + 1 < len(tokens) else ""
            before = tokens[position - 1].text if position else ""
            kind = "function" if after == "(" else "field" if before == "." else "variable"
        else:
            kind = _KINDS[token.kind]
        spans.append((token.start, token.end, kind))
    return spans
