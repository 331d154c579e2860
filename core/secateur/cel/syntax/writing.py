"""Values and field names as they are written in an expression."""

from __future__ import annotations

import math
import re

from secateur.cel.syntax.scanner import KEYWORDS
from secateur.cel.timestamps import format_duration, format_timestamp
from secateur.cel.types import Type
from secateur.cel.values import BoolKey, Duration, Timestamp, UInt, from_json

_PLAIN = re.compile(r"[_a-zA-Z][_a-zA-Z0-9]*")
_QUOTABLE = re.compile(r"[_a-zA-Z0-9.\-/ ]+")
_ESCAPES = {"\\": "\\\\", "'": "\\'", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def text_literal(text: str) -> str:
    """In single quotes; control characters as escapes."""
    return f"'{''.join(map(_escaped, text))}'"


def _escaped(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    code = ord(character)
    return character if code >= 0x20 and code != 0x7F else f"\\x{code:02x}"


def literal_text(value: object) -> str:
    """The literal of a value that plain JSON can hold."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case UInt():
            return f"{int(value)}u"
        case float() if math.isfinite(value):
            return repr(value)
        case float():
            return f"double('{value}')"
        case str():
            return text_literal(value)
    return str(value)


MAX_LEVELS = 20
"""Deeper than that nobody reads."""


def value_text(value: object, levels: int = MAX_LEVELS) -> str:
    """Any value for people to read, in the notation of the language; `…` for what is nested too deep."""
    if levels == 0 and isinstance(value, (list, dict)):
        return "…"
    match value:
        case Timestamp():
            return f"timestamp({text_literal(format_timestamp(value))})"
        case Duration():
            return f"duration({text_literal(format_duration(value))})"
        case Type():
            return value.name
        case bytes():
            return f"b'{''.join(map(_byte, value))}'"
        case list():
            return f"[{', '.join(value_text(from_json(item), levels - 1) for item in value)}]"
        case dict():
            entries = ((_key(key), value_text(from_json(item), levels - 1)) for key, item in value.items())
            return f"{{{', '.join(f'{key}: {text}' for key, text in entries)}}}"
    return literal_text(value)


def _byte(byte: int) -> str:
    return chr(byte) if 0x20 <= byte < 0x7F and chr(byte) not in "'\\" else f"\\x{byte:02x}"


def _key(key: object) -> str:
    return literal_text(key.value if isinstance(key, BoolKey) else key)


def field_access(key: str) -> str:
    """What follows the object to select a field: `.a`, .`a-b` or `['a:b']`."""
    if _PLAIN.fullmatch(key) and key not in KEYWORDS:
        return f".{key}"
    return f".`{key}`" if _QUOTABLE.fullmatch(key) else f"[{text_literal(key)}]"
