"""What to suggest: the name that was probably meant, and operands that fit together."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from secateur.cel import messages as say
from secateur.cel.diagnostics import EvaluationError, Suggestion
from secateur.cel.syntax.ast import Binary, Literal
from secateur.cel.timestamps import parse_timestamp
from secateur.cel.types import INT, STRING, TIMESTAMP


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that was probably meant."""
    folded = {candidate.casefold(): candidate for candidate in reversed(list(known))}
    found = get_close_matches(word.casefold(), folded, n=1, cutoff=0.65)
    return folded[found[0]] if found else None


def as_timestamp(node: Binary) -> Suggestion | None:
    """The literal beside a timestamp, made a timestamp."""
    for side, other in ((node.left, node.right), (node.right, node.left)):
        if side.type == TIMESTAMP and other.type == STRING and isinstance(other, Literal):
            return say.write_instead(f'timestamp("{_whole_timestamp(other.value)}")', other.span)
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


def as_duration(node: Binary) -> Suggestion | None:
    """The number that is added to a timestamp, made a duration in seconds."""
    if node.left.type == TIMESTAMP and isinstance(node.right, Literal) and node.right.type == INT:
        return say.write_instead(f'duration("{node.right.value}s")', node.right.span)
    return None
