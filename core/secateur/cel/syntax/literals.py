"""What a literal's text means: escapes, ranges, prefixes."""

from __future__ import annotations

import re

from secateur.cel.values import INT_MAX, UINT_MAX, UInt

_ESCAPE = re.compile(
    r"\\(?:(?P<simple>[abfnrtv\\?\"'`])|[xX](?P<hex>[0-9a-fA-F]{2})|u(?P<short>[0-9a-fA-F]{4})"
    r"|U(?P<long>[0-9a-fA-F]{8})|(?P<octal>[0-3][0-7]{2})|(?P<wrong>.?))",
    re.DOTALL,
)
_SIMPLE = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


class LiteralError(ValueError):
    """`start` and `end` are relative to the literal's text."""

    def __init__(self, message: str, start: int, end: int) -> None:
        super().__init__(message)
        self.start, self.end = start, end


def integer(text: str) -> int:
    """Decimal or hexadecimal. Lets 2⁶³ through, for a minus may stand before it: the checker looks again."""
    value = _magnitude(text)
    if value > INT_MAX + 1:
        raise LiteralError("out_of_range_int", 0, len(text))
    return value


def double(text: str) -> float:
    """The nearest double; infinite where there is none, as in every implementation."""
    return float(text)


def unsigned(text: str) -> UInt:
    value = _magnitude(text[:-1])
    if value > UINT_MAX:
        raise LiteralError("out_of_range_uint", 0, len(text))
    return UInt(value)


def _magnitude(text: str) -> int:
    if text[:2] == "0x":
        return int(text[2:], 16) if len(text) < 100 else UINT_MAX + 1
    return int(text) if len(text.lstrip("0")) < 100 and len(text) < 4000 else UINT_MAX + 1


def string(text: str) -> str | bytes:
    """Any string or bytes literal, with its prefix and quotes."""
    quote = min(position for position in (text.find("'"), text.find('"')) if position >= 0)
    prefix = text[:quote].lower()
    width = 3 if text[quote : quote + 3] in ('"""', "'''") and len(text) - quote >= 6 else 1
    body, offset = text[quote + width : len(text) - width], quote + width
    if "b" not in prefix:
        if "r" in prefix:
            return body
        return _ESCAPE.sub(lambda match: _character(match, offset), body)
    if "r" in prefix:
        return body.encode()
    return _bytes(body, offset)


def _character(match: re.Match[str], offset: int) -> str:
    simple, digits = match["simple"], match["hex"] or match["short"] or match["long"]
    if simple is not None:
        return _SIMPLE.get(simple, simple)
    code = int(match["octal"], 8) if match["octal"] else int(digits, 16) if digits else -1
    start, end = match.start() + offset, match.end() + offset
    if code < 0:
        raise LiteralError("unknown_escape", start, end)
    if code > 0x10FFFF or 0xD800 <= code <= 0xDFFF:
        raise LiteralError("no_character", start, end)
    return chr(code)


def _bytes(body: str, offset: int) -> bytes:
    parts, position = [], 0
    for match in _ESCAPE.finditer(body):
        parts.append(body[position : match.start()].encode())
        position = match.end()
        octal, digits = match["octal"], match["hex"]
        if octal or digits:
            parts.append(bytes([int(octal, 8) if octal else int(digits, 16)]))
        elif match["short"] or match["long"]:
            raise LiteralError("character_in_bytes", match.start() + offset, match.end() + offset)
        else:
            parts.append(_character(match, offset).encode())
    parts.append(body[position:].encode())
    return b"".join(parts)
