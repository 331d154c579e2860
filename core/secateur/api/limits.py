"""How much the server takes on, and how long it waits for whoever asks."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Times are in seconds."""

    head: float = 10.0
    """For a client to send the head of a request, from its first byte (or from connecting)."""
    body: float = 20.0
    """For a client to send the body, and to read an answer."""
    request: float = 60.0
    """For a request as a whole; a single statement ends earlier, by the setting `query_timeout_seconds`."""
    grace: float = 10.0
    """For the requests that are under way when the server is told to stop."""
    connections: int = 200
    """Whoever connects beyond them is answered 503; twice as many are not even listened to."""
    counts: int = 2
    """Previews that are counted at once: counting is slow, and the other connections to the database stay free."""
    counts_waiting: int = 8
    """Previews that wait for their turn; the next one is answered 503 at once."""
    count_wait: float = 10.0
    """For a preview to wait for its turn."""
    count: float = 30.0
    """For a preview once it has its turn."""


DEFAULT = Limits()

LARGEST_BODY = 256 * 1024
"""Bytes; many times what the longest expression takes."""
