"""Writes events as JSON for the database."""

from __future__ import annotations

import json

from secateur.errors import Problem, RequestError


class JsonText(str):
    """An event as JSON that somebody else wrote, kept as it is: decoding and encoding it would change some numbers."""

    __slots__ = ()


OWN_EVENT = "function.cancelled"
"""The event that only the queue itself may send."""

_encode = json.JSONEncoder(allow_nan=False).encode
"""Kept, because `json.dumps` with this option creates an encoder for each call."""


def as_json(event: object) -> str:
    """The event as JSON, in ASCII unless it is a `JsonText`. Raises `RequestError` for what JSON cannot express."""
    if isinstance(event, JsonText):
        return str(event)
    try:
        return _encode(event)
    except (TypeError, ValueError, RecursionError) as error:
        raise RequestError([Problem("event", f"cannot be written as JSON: {error}")]) from error
