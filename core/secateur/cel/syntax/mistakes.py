"""What people write who think in SQL, JavaScript or Python, or paste from a text processor; and what they mean."""

from __future__ import annotations

from collections.abc import Sequence

from secateur.cel import messages as say
from secateur.cel.diagnostics import Suggestion
from secateur.cel.syntax.ast import Span
from secateur.cel.syntax.scanner import Token
from secateur.cel.syntax.writing import text_literal

Report = tuple[Span, str, Suggestion | None]

SIGNS = {
    "&": "&&",
    "|": "||",
    "=": "==",
    "and": "&&",
    "or": "||",
    "not": "!",
    "AND": "&&",
    "OR": "||",
    "NOT": "!",
    "<>": "!=",
}
"""What a sign or a word is written as here."""

_METHODS = ("contains", "startsWith", "endsWith", "matches")
_QUOTES = {"‘": "’‘'", "’": "’'", "“": '”“"', "”": '”"', "„": '“”"', "«": "»"}
"""The quotes of text processors, each with those that may close it."""


def unclosed_string(token: Token) -> Report:
    quote = token.text.lstrip("rRbB")[:1]
    escapes = len(token.text) - len(token.text.rstrip("\\"))
    closes = escapes % 2 == 0
    return _span(token), say.STRING_NOT_CLOSED, say.close_string(quote, token.end) if closes else None


def wrong_character(source: str, token: Token) -> Report:
    """A character that no expression has, or a sign that is written otherwise."""
    span, before, after = _span(token), source[: token.start], source[token.end :]
    if token.text == "=":
        for sign in ("==", "!="):
            if before.endswith(sign):  # === and !==
                return _replaced(Span(token.start - 2, token.end), f"{sign}=", sign)
        for sign, meant in ((">", ">="), ("<", "<=")):
            if after.startswith(sign):  # => and =<
                return _replaced(Span(token.start, token.end + 1), f"={sign}", meant)
        return span, say.SINGLE_EQUALS, say.write_instead("==", span)
    if token.text in _QUOTES:
        closing = next((at for at, each in enumerate(after) if each in _QUOTES[token.text]), None)
        if closing is None:
            return span, say.TYPOGRAPHIC, None
        whole = Span(token.start, token.end + closing + 1)
        return span, say.TYPOGRAPHIC, say.write_instead(text_literal(after[:closing]), whole)
    if token.text == ";" and not after.strip():
        return span, say.no_such_character(";"), say.leave_it_out(span)
    instead = SIGNS.get(token.text)
    return span, say.no_such_character(token.text), say.write_instead(instead, span) if instead else None


def unclosed_bracket(source: str, opening: Token, closing: str) -> Report:
    """Where an index ends, only its author knows."""
    suggestion = None if opening.text == "[" else say.close_bracket(closing, len(source.rstrip()))
    return _span(opening), say.unclosed(opening.text), suggestion


def unexpected(source: str, tokens: Sequence[Token], position: int) -> Report:
    """A word or a sign where none can be."""
    token = tokens[position]
    for look in (_of_sql, _infix, _digits, _list_in_brackets):
        if (found := look(source, tokens, position)) is not None:
            span, meant = found
            return _span(token), say.unexpected(token.text), say.write_instead(meant, span)
    return _span(token), say.unexpected(token.text), _sign(token)


def _sign(token: Token) -> Suggestion | None:
    return say.write_instead(SIGNS[token.text], _span(token)) if token.text in SIGNS else None


def _of_sql(source: str, tokens: Sequence[Token], position: int) -> tuple[Span, str] | None:
    """`is null`, `is not null`, `is 'a'`, `like 'a%'`."""
    token, following = tokens[position], _at(tokens, position + 1)
    if token.text.lower() == "is" and following is not None:
        negated = following.text.lower() == "not"
        last = _at(tokens, position + 1 + negated)
        if last is None:
            return None
        operand = "null" if last.text.lower() == "null" else last.text
        return Span(token.start, last.end), f"{'!=' if negated else '=='} {operand}"
    if token.text.lower() == "like" and position > 0 and following is not None and _is_text(following):
        pattern = following.text[1:-1]
        inner = pattern.strip("%")
        if set(inner) & set("%_\\"):
            return None
        if inner == pattern:
            return Span(token.start, following.end), f"== {following.text}"
        start, end = not pattern.startswith("%"), not pattern.endswith("%")
        call = "startsWith" if start else "endsWith" if end else "contains"
        written = f".{call}({text_literal(inner)})"
        return Span(tokens[position - 1].end, following.end), written
    return None


def _infix(source: str, tokens: Sequence[Token], position: int) -> tuple[Span, str] | None:
    """`event.data.name contains 'a'`."""
    token, following = tokens[position], _at(tokens, position + 1)
    if token.text not in _METHODS or position == 0 or following is None or not _is_text(following):
        return None
    return Span(tokens[position - 1].end, following.end), f".{token.text}({following.text})"


def _digits(source: str, tokens: Sequence[Token], position: int) -> tuple[Span, str] | None:
    """`1,000`."""
    before, following = _at(tokens, position - 1), _at(tokens, position + 1)
    if tokens[position].text != "," or before is None or following is None:
        return None
    if (before.kind, following.kind) != ("int", "int") or following.start - before.end != 1 or len(following.text) != 3:
        return None
    return Span(before.start, following.end), before.text + following.text


def _list_in_brackets(source: str, tokens: Sequence[Token], position: int) -> tuple[Span, str] | None:
    """`in ('a', 'b')`."""
    if tokens[position].text != ",":
        return None
    depth, opening = 0, position
    while opening > 0 and depth >= 0:
        opening -= 1
        depth += (tokens[opening].text in (")", "]", "}")) - (tokens[opening].text in ("(", "[", "{"))
    closing, depth = position, 0
    while closing < len(tokens) - 1 and depth >= 0:
        closing += 1
        depth += (tokens[closing].text in ("(", "[", "{")) - (tokens[closing].text in (")", "]", "}"))
    if opening == 0 or tokens[opening].text != "(" or tokens[opening - 1].text != "in" or tokens[closing].text != ")":
        return None
    return Span(tokens[opening].start, tokens[closing].end), f"[{source[tokens[opening].end : tokens[closing].start]}]"


def _at(tokens: Sequence[Token], position: int) -> Token | None:
    return tokens[position] if 0 <= position < len(tokens) else None


def _is_text(token: Token) -> bool:
    return token.kind == "string" and token.text[:1] in "'\""


def _span(token: Token) -> Span:
    return Span(token.start, token.end)


def _replaced(span: Span, written: str, meant: str) -> Report:
    return span, say.unexpected(written), say.write_instead(meant, span)
