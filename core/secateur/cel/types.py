"""The types that the checker reasons with, under the names that the language gives them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Type:
    """`parameters` are the element type of a list, or the key and value types of a map."""

    name: str
    parameters: tuple[Type, ...] = ()

    def __str__(self) -> str:
        if not self.parameters or DYN in self.parameters:
            return PLAIN_NAMES.get(self.name, self.name)
        return f"{self.name}({', '.join(map(str, self.parameters))})"


BOOL = Type("bool")
INT = Type("int")
UINT = Type("uint")
DOUBLE = Type("double")
STRING = Type("string")
BYTES = Type("bytes")
NULL = Type("null_type")
TIMESTAMP = Type("google.protobuf.Timestamp")
DURATION = Type("google.protobuf.Duration")
TYPE = Type("type")
DYN = Type("dyn")

PLAIN_NAMES = {TIMESTAMP.name: "timestamp", DURATION.name: "duration", NULL.name: "null"}
"""Names for messages, of types whose own name would puzzle people."""

NUMBERS = (INT, UINT, DOUBLE)


def list_of(element: Type) -> Type:
    return Type("list", (element,))


def map_of(key: Type, value: Type) -> Type:
    return Type("map", (key, value))


LIST = list_of(DYN)
MAP = map_of(DYN, DYN)
JSON_OBJECT = map_of(STRING, DYN)

NAMED = {type_.name: type_ for type_ in (BOOL, INT, UINT, DOUBLE, STRING, BYTES, NULL, TIMESTAMP, DURATION, TYPE)}
"""The types whose name is itself a value: `type(x) == int`."""


def accepts(expected: Type, given: Type) -> bool:
    """Whether a value of static type `given` may, at run time, be of type `expected`."""
    if DYN in (expected, given):
        return True
    if expected.name != given.name:
        return False
    return all(accepts(*pair) for pair in zip(expected.parameters, given.parameters, strict=False))


def join(types: Iterable[Type]) -> Type:
    """The one type of all of them; dyn if they differ or there is none."""
    found = set(types)
    return found.pop() if len(found) == 1 else DYN
