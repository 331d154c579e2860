"""Brackets and quotes that close by themselves while somebody types.

A line is what is before the cursor, and what is after it. Strings and comments end with their line.
"""

from __future__ import annotations

Line = tuple[str, str]
"""Before and after the cursor."""

_CLOSING = {"(": ")", "[": "]", "{": "}"}
_OPENING = {closing: opening for opening, closing in _CLOSING.items()}
_QUOTES = "'\""
_COMMENT = "//"
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


def erased_back(before: str, start: int, after: str) -> Line:
    """The line without what is between `start` and the cursor, nor what closes at the cursor and was opened there."""
    for place, sign in reversed(_open(before)):
        closing = _CLOSING.get(sign, sign)
        if place < start or sign == _COMMENT or not after.startswith(closing):
            break
        after = after[len(closing) :]
    return before[:start], after


def open_quote(line: str) -> str | None:
    """The quote of the string, or the sign of the comment, that goes on at the end of the line."""
    still_open = _open(line)
    return still_open[-1][1] if still_open and still_open[-1][1] not in _CLOSING else None


def _open(line: str) -> list[tuple[int, str]]:
    """The brackets, quotes and comments that are open at the end of the line, and where they began; innermost last."""
    found: list[tuple[int, str]] = []
    escaped = False
    for position, character in enumerate(line):
        inner = found[-1][1] if found else ""
        if inner and inner in _QUOTES:
            if escaped:
                escaped = False
            elif character == "\\":
                escaped = True
            elif character == inner:
                found.pop()
        elif character in _QUOTES or character in _CLOSING:
            found.append((position, character))
        elif character in _OPENING and inner == _OPENING[character]:
            found.pop()
        elif line.startswith(_COMMENT, position):
            return [*found, (position, _COMMENT)]
    return found


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
