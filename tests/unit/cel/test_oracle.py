"""The evaluator against Google's implementation, where that one runs."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from blocks import CORPUS

from secateur.cel import EvaluationError
from secateur.cel.evaluation import prepare
from secateur.cel.python.evaluator import evaluator
from secateur.cel.timestamps import from_datetime
from secateur.cel.types import Type
from secateur.cel.values import BoolKey, Duration, Timestamp, UInt, decode_json, from_json

google = pytest.importorskip("cel_expr_python.cel")
extensions = pytest.importorskip("cel_expr_python.ext.ext_strings")

STRICTER = re.compile(r"\[{40}|(?:\{\"x\":){40}|:60Z|\s\"|\" |\\n\"|\"NaN\"")
"""Payloads of which it takes more than the standard says: leap seconds, spaces around numbers and
times, comparison at any depth."""

DIFFERENT = frozenset(
    {
        "now - duration('87660000h') < now",
        "type(event.data.x)",
        "event.data.x.substring(0, 4) == 'acme'",
        "event.data.x.substring(0, event.data.y)",
        "{'a': 1, 'bb': 2}.map(k, k + event.data.x) == ['a1', 'bb1']",
        "{1: 1, 'a': 2, true: 3, 10u: 4, 'B': 5}.map(k, string(k)).join() == event.data.x",
    }
)
"""It does not check the range of a variable's time, gives types other Python names, and refuses the part of a text
that begins before its end and ends with it, which the other implementations give. Its maps have no order."""

OURS = re.compile(r"\bhas\(.*\]\)")
"""The standard has no `has(m['key'])`."""

GOES_THROUGH_KEYS = re.compile(r"\b(?:map|filter)\(")
"""It goes through the keys of a map in any order."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _takes_more(source: str, event: Any) -> bool:
    """It also converts a bool to an int, which the standard does not list."""
    data = event.get("data") if isinstance(event, dict) else None
    return source.startswith("int(") and isinstance(data, dict) and isinstance(data.get("x"), bool)


def _corpus(name: str) -> list[str]:
    lines = (CORPUS / name).read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


SOURCES = [
    source
    for source in _corpus("conditions.txt") + _corpus("values.txt")
    if "run." not in source and source not in DIFFERENT and not OURS.search(source)
]


def _integers_fit(value: Any) -> bool:
    """It takes Python's ints as int64 and nothing else."""
    if isinstance(value, (list, dict)):
        return all(map(_integers_fit, value.values() if isinstance(value, dict) else value))
    return not isinstance(value, UInt) and not (isinstance(value, float) and math.isinf(value))


def _deep(value: Any) -> Any:
    if isinstance(value, list):
        return list(map(_deep, value))
    if isinstance(value, dict):
        return {key: _deep(item) for key, item in value.items()}
    return from_json(value)


def _events() -> list[Any]:
    texts = [text for text in _corpus("payloads.jsonl") if not STRICTER.search(text)]
    return [event for event in (_deep(decode_json(text)) for text in texts) if _integers_fit(event)]


def _plain(value: Any) -> Any:
    """Either implementation's value as something that compares: bool apart from int, NaN equal to itself."""
    match value:
        case bool() | str() | None:
            return value
        case BoolKey():
            return value.value
        case int():
            return ("int", int(value))
        case float():
            return ("nan",) if math.isnan(value) else ("double", value)
        case bytes() | bytearray():
            return ("bytes", bytes(value))
        case Timestamp() | Duration():
            return (type(value).__name__, value.nanoseconds // 1000)
        case datetime():
            return ("Timestamp", (value - EPOCH) // timedelta(microseconds=1))
        case timedelta():
            return ("Duration", value // timedelta(microseconds=1))
        case list():
            return list(map(_plain, value))
        case dict():
            return {_plain(key): _plain(item) for key, item in value.items()}
        case Type():
            return value.name
    return value


def _same(ours: Any, theirs: Any, *, ordered: bool) -> bool:
    if not ordered and isinstance(ours, list) and isinstance(theirs, list):
        return _in_any_order(ours) == _in_any_order(theirs)
    return bool(ours == theirs)


def _in_any_order(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(sorted(map(_in_any_order, value)))}]"
    if isinstance(value, dict):
        return f"{{{_in_any_order([[key, item] for key, item in value.items()])}}}"
    return repr(value)


def test_agrees_with_google() -> None:
    now = datetime(2024, 1, 21, 12, tzinfo=UTC)
    environment = google.NewEnv(
        variables={"event": google.Type.DYN, "now": google.Type.TIMESTAMP}, extensions=[extensions.ExtStrings()]
    )
    events = _events()
    assert len(events) > 100
    differences = []
    for source in SOURCES:
        program = environment.compile(source, disable_check=True)
        evaluate = evaluator(prepare(source, {"event": {}, "now": now}).expression, nanoseconds=True)
        for event in events:
            if _takes_more(source, event):
                continue
            theirs = program.eval(data={"event": event, "now": now})
            failed = theirs.type().name() == "ERROR"
            try:
                ours = evaluate({"event": event, "now": from_datetime(now)})
            except EvaluationError as error:
                if not failed:
                    differences.append((source, event, str(error), theirs.plain_value()))
                continue
            if failed or not _same(
                _plain(ours), _plain(theirs.plain_value()), ordered=not GOES_THROUGH_KEYS.search(source)
            ):
                differences.append((source, event, ours, theirs.plain_value()))
    assert not differences, f"{len(differences)} differences, such as {differences[:10]}"
