"""Events on their way to the database."""

from __future__ import annotations

import json

from secateur.errors import Problem, RequestError

OWN_EVENT = "function.cancelled"
"""What the queue itself sends, and nobody else."""

_encode = json.JSONEncoder(allow_nan=False).encode
"""`json.dumps` with this option makes an encoder for each call."""


def as_json(event: object) -> str:
    """The event as JSON, in ASCII. Raises `RequestError` for what JSON does not have."""
    try:
        return _encode(event)
    except (TypeError, ValueError, RecursionError) as error:
        raise RequestError([Problem("event", f"cannot be written as JSON: {error}")]) from error
