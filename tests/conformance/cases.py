"""The cases of the language's official suite, from the folder that SECATEUR_CONFORMANCE names.

The suite is not ours, so it is not in this project. Each case has an expression, values for its variables and their
types, and the value, with its type, or the error that must come out.
"""

from __future__ import annotations

import base64
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from secateur.cel import types
from secateur.cel.evaluation import Evaluation, prepare
from secateur.cel.python.operations import map_key
from secateur.cel.types import Type
from secateur.cel.values import UInt, Value

VARIABLE = "SECATEUR_CONFORMANCE"
SUITE = "cel-spec-simple.json"


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    """file/section/name"""
    expression: str
    bindings: dict[str, Any]
    types: dict[str, str]
    expected: dict[str, Any]

    @property
    def is_error(self) -> bool:
        return "error" in self.expected

    @property
    def value(self) -> Value:
        return _value(self.expected)

    def prepare(self) -> Evaluation:
        variables = {name: _value(bound) for name, bound in self.bindings.items()}
        return prepare(self.expression, variables, {name: _type(self.types.get(name, "dyn")) for name in variables})


def suite() -> list[Case]:
    """No case if the variable is not set."""
    folder = os.environ.get(VARIABLE)
    if not folder:
        return []
    return [
        Case(
            f"{case['file']}/{case['section']}/{case['name']}",
            case["expr"],
            case["bindings"],
            case["type_env"],
            case["expect"],
        )
        for case in json.loads((Path(folder) / SUITE).read_text(encoding="utf-8"))
    ]


def _value(written: dict[str, Any]) -> Value:
    value = written["value"]
    match written["type"]:
        case "uint":
            return UInt(value)
        case "double":
            return float(value)
        case "bytes":
            return base64.b64decode(value)
        case "list":
            return [_value(item) for item in value]
        case "map":
            return {map_key(_value(key)): _value(item) for key, item in value}
        case "type":
            return _type(value)
    return value


def _type(name: str) -> Type:
    """`int`, `list(int)`, `map(string, dyn)`."""
    match = re.fullmatch(r"(list|map)(?:\((\w+)(?:, (\w+))?\))?", name)
    if match is None:
        return types.NAMED.get(name, types.DYN)
    if match[2] is None:
        return types.LIST if match[1] == "list" else types.MAP
    parameters = [_type(parameter) for parameter in match.groups()[1:] if parameter]
    return Type(match[1], tuple(parameters))
