"""Google's implementation as an oracle, where it is installed, and where it is known to do otherwise."""

from __future__ import annotations

import importlib
import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from secateur.cel import EvaluationError
from secateur.cel.evaluation import prepare
from secateur.cel.python.evaluator import evaluator
from secateur.cel.values import BoolKey, Duration, Timestamp, UInt, decode_json, from_json

OTHERWISE = re.compile("0x1|87600000h|substring")
"""Where it takes more than the standard says, or less: hexadecimal doubles, durations beyond 292 years, years of three
digits, and parts of a text that begin before its end and end with it."""

GOES_THROUGH_KEYS = re.compile(r"\b(?:map|filter)\(")
"""It goes through the keys of a map in any order."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class GoogleCel:
    def __init__(self, cel: Any, strings: Any) -> None:
        self._environment = cel.NewEnv(variables={"event": cel.Type.DYN}, extensions=[strings.ExtStrings()])
        self.pairs = 0

    @classmethod
    def if_installed(cls) -> GoogleCel | None:
        try:
            cel = importlib.import_module("cel_expr_python.cel")
            return cls(cel, importlib.import_module("cel_expr_python.ext.ext_strings"))
        except ImportError:
            return None

    def parses(self, source: str) -> bool:
        try:
            self._environment.compile(source, disable_check=True)
        except Exception:
            return False
        return True

    def differences(self, source: str, payloads: Sequence[str]) -> list[str]:
        try:
            program = self._environment.compile(source, disable_check=True)
        except Exception as error:
            return [f"Google: {error}"]
        evaluate = evaluator(prepare(source, {"event": {}}).expression, nanoseconds=True)
        found = []
        for payload in payloads:
            if OTHERWISE.search(source + payload):
                continue
            event = _deep(decode_json(payload))
            if not _fits(event):
                continue
            self.pairs += 1
            theirs = _their_value(program, event)
            try:
                ours = _plain(evaluate({"event": event}))
            except EvaluationError:
                ours = None
            if ours != theirs and not (GOES_THROUGH_KEYS.search(source) and sorted(repr(ours)) == sorted(repr(theirs))):
                found.append(f"{payload}: {ours!r} here, {theirs!r} in Google's")
        return found


def _their_value(program: Any, event: Any) -> tuple[Any, ...] | None:
    """None for an error, which some are raised for."""
    try:
        value = program.eval(data={"event": event})
    except RuntimeError:
        return None
    return None if value.type().name() == "ERROR" else _plain(value.plain_value())


def _deep(value: Any) -> Any:
    if isinstance(value, list):
        return list(map(_deep, value))
    if isinstance(value, dict):
        return {key: _deep(item) for key, item in value.items()}
    return from_json(value)


def _fits(value: Any, levels: int = 40) -> bool:
    """It takes Python's ints as int64 and nothing else, and compares lists of any depth."""
    if levels == 0:
        return False
    if isinstance(value, (list, dict)):
        return all(_fits(item, levels - 1) for item in (value.values() if isinstance(value, dict) else value))
    return not isinstance(value, UInt)


def _plain(value: Any) -> tuple[Any, ...]:
    """Either implementation's value as something that compares: with its type, NaN equal to itself."""
    match value:
        case None:
            return ("null",)
        case bool() | BoolKey():
            return ("bool", value.value if isinstance(value, BoolKey) else value)
        case int():
            return ("int", int(value))
        case float():
            return ("double", "nan" if math.isnan(value) else value)
        case str():
            return ("string", value)
        case bytes() | bytearray():
            return ("bytes", bytes(value))
        case Timestamp():
            return ("Timestamp", value.nanoseconds // 1000)
        case Duration():
            return ("Duration", abs(value.nanoseconds) // 1000 * (-1 if value.nanoseconds < 0 else 1))
        case datetime():
            return ("Timestamp", (value - EPOCH) // timedelta(microseconds=1))
        case timedelta():
            return ("Duration", value // timedelta(microseconds=1))
        case list():
            return ("list", *map(_plain, value))
        case dict():
            return ("map", frozenset((_plain(key), _plain(item)) for key, item in value.items()))
    return ("type",)  # whose names are other ones
