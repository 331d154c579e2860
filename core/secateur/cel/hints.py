"""Suggestions for a comparison or a sum whose operands do not fit together."""

from __future__ import annotations

from secateur.cel import diagnostics as say
from secateur.cel.diagnostics import EvaluationError
from secateur.cel.syntax.ast import Binary, Literal
from secateur.cel.timestamps import parse_timestamp
from secateur.cel.types import INT, STRING, TIMESTAMP


def as_timestamp(node: Binary) -> str | None:
    for side, other in ((node.left, node.right), (node.right, node.left)):
        if side.type == TIMESTAMP and other.type == STRING and isinstance(other, Literal):
            return say.write_instead(f'timestamp("{_whole_timestamp(other.value)}")')
    return None


def _whole_timestamp(text: str) -> str:
    """The text, completed if only the time of day or the offset is missing."""
    for candidate in (text, f"{text}Z", f"{text}T00:00:00Z"):
        try:
            parse_timestamp(candidate)
        except EvaluationError:
            continue
        return candidate
    return "2024-01-21T00:00:00Z"


def as_duration(node: Binary) -> str | None:
    if node.left.type == TIMESTAMP and isinstance(node.right, Literal) and node.right.type == INT:
        return say.write_instead(f'duration("{node.right.value}s")')
    return None
