"""Brackets and quotes that close by themselves while somebody types.

A line is what is before the cursor, and what is after it. Strings and comments end with their line.
"""

from __future__ import annotations

Line = tuple[str, str]
"""Before and after the cursor."""

_CLOSING = {"(": ")", "[": "]", "{": "}"}
_OPENING = {closing: opening for opening, closing in _CLOSING.items()}
_QUOTES = "'\""
CLOSERS = frozenset(")]}'\"")
"""Behind the cursor, these alone do not make the rest of a line."""


def typed(before: str, after: str, character: str) -> Line:
    """The line once the character was typed."""
    quote = open_quote(before)
    plain = before + character, after
    is_free = not after or after[0].isspace() or after[0] in CLOSERS
    if character in _QUOTES:
        if quote == character and after.startswith(character):
            return before + character, after[1:]
        begins = quote is None and is_free and not (before[-1:].isalnum() or before[-1:] in ("_", character))
        return (before + character, character + after) if begins else plain
    if quote is not None:
        return plain
    if character in _CLOSING:
        return (before + character, _CLOSING[character] + after) if is_free else plain
    if character in _OPENING and after.startswith(character):
        whole = before + after
        closes_already = _count(whole, character) >= _count(whole, _OPENING[character])
        return (before + character, after[1:]) if closes_already else plain
    return plain


def erased(before: str, after: str) -> Line | None:
    """The line without the empty pair around the cursor; None where there is none."""
    opening, closing = before[-1:], after[:1]
    is_pair = opening in _QUOTES and closing == opening and open_quote(before) == opening
    if opening and (is_pair or _CLOSING.get(opening) == closing):
        return before[:-1], after[1:]
    return None


def open_quote(line: str) -> str | None:
    """The quote of the string, or the sign of the comment, that goes on at the end of the line."""
    quote: str | None = None
    escaped = False
    for position, character in enumerate(line):
        if quote is not None:
            if escaped:
                escaped = False
            elif character == "\\":
                escaped = True
            elif character == quote:
                quote = None
        elif character in _QUOTES:
            quote = character
        elif line.startswith("//", position):
            return "//"
    return quote


def _count(text: str, sign: str) -> int:
    """How often it occurs outside of strings."""
    pieces, quote = [], ""
    for character in text:
        if quote:
            quote = "" if character == quote else quote
        elif character in _QUOTES:
            quote = character
        else:
            pieces.append(character)
    return pieces.count(sign)
