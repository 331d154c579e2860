"""Values as the helper functions in the database pass them around: a pair of a tag and a content.

["null", null]   ["bool", true]   ["int", 1]   ["uint", 1]   ["double", "0.1"]   ["string", "a"]
["bytes", "6162"]   ["timestamp", nanoseconds]   ["duration", nanoseconds]   ["type", "int"]
["list", [box, …]]   ["map", [[box, box], …]]   ["json", any plain JSON]
"""

from __future__ import annotations

import json
import re
from typing import Any

from secateur.cel import types
from secateur.cel.python.operations import map_key
from secateur.cel.types import Type
from secateur.cel.values import BoolKey, Duration, Timestamp, UInt, Value, decode_json, from_json

_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


def box(value: Value) -> list[Any]:
    match value:
        case None:
            return ["null", None]
        case bool():
            return ["bool", value]
        case UInt():
            return ["uint", int(value)]
        case int():
            return ["int", value]
        case float():
            return ["double", _double(value)]
        case str():
            return ["string", value]
        case bytes():
            return ["bytes", value.hex()]
        case Timestamp():
            return ["timestamp", value.nanoseconds]
        case Duration():
            return ["duration", value.nanoseconds]
        case Type():
            return ["type", value.name]
        case list():
            return ["list", [box(from_json(item)) for item in value]]
        case dict():
            return ["map", [[box(_key(key)), box(from_json(item))] for key, item in value.items()]]
    raise TypeError(f"{type(value).__name__} is not a value of the language")


def _key(key: Value) -> Value:
    return key.value if isinstance(key, BoolKey) else key


def _double(value: float) -> str:
    return {"inf": "Infinity", "-inf": "-Infinity", "nan": "NaN"}.get(repr(value), repr(value))


def storable(value: Value) -> bool:
    """Whether jsonb can hold the value: it has neither U+0000 nor half of a surrogate pair."""
    match value:
        case str():
            return not _UNSTORABLE.search(value)
        case list():
            return all(map(storable, value))
        case dict():
            return all(storable(key) and storable(item) for key, item in value.items())
    return True


def boxed_text(value: Value) -> str:
    return json.dumps(box(value), ensure_ascii=False)


def unbox(text: str) -> Value:
    """The value of a box as Postgres prints it."""
    return _unbox(decode_json(text))


def _unbox(pair: list[Any]) -> Value:
    tag, content = pair
    match tag:
        case "uint":
            return UInt(content)
        case "double":
            return float(content)
        case "bytes":
            return bytes.fromhex(content)
        case "timestamp":
            return Timestamp(content)
        case "duration":
            return Duration(content)
        case "type":
            return _TYPES[content]
        case "list":
            return [_unbox(item) for item in content]
        case "map":
            return {map_key(_unbox(key)): _unbox(item) for key, item in content}
        case "json":
            return from_json(content)
    return content


_TYPES = {**types.NAMED, "list": types.LIST, "map": types.MAP}
