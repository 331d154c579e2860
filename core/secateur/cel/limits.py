"""How large a value may become that an expression puts together."""

from __future__ import annotations

from secateur.cel import messages as say
from secateur.cel.diagnostics import EvaluationError

MAX_TEXT = 1_000_000
"""Characters of a text, or bytes."""
MAX_ITEMS = 10_000
"""Elements of a list."""


def check_text(length: int) -> None:
    """Raises `EvaluationError` for a text that would be too long."""
    if length > MAX_TEXT:
        raise EvaluationError(say.text_too_long(MAX_TEXT))


def check_items(count: int) -> None:
    """Raises `EvaluationError` for a list that would be too long."""
    if count > MAX_ITEMS:
        raise EvaluationError(say.list_too_long(MAX_ITEMS))
