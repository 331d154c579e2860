"""How much work the server accepts, and how long it waits for clients."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Times are in seconds."""

    head: float = 10.0
    """For a client to send the head of a request, from its first byte (or from the connection)."""
    body: float = 20.0
    """For a client to send the body, and to read an answer."""
    request: float = 60.0
    """For a whole request; the setting `query_timeout_seconds` ends a single statement earlier."""
    stream: float = 300.0
    """For a stream of events, after which the client asks again; whoever asks shows its token again."""
    streams: int = 50
    """Streams at once; the next one is answered 503."""
    grace: float = 10.0
    """For requests in progress when the server is told to stop."""
    connections: int = 200
    """Further connections are answered 503; beyond twice as many, they are not even accepted."""
    counts: int = 2
    """Previews counted at once: counting is slow, and the other database connections must stay free."""
    counts_waiting: int = 8
    """Previews that may wait for their turn; the next one is answered 503 at once."""
    count_wait: float = 10.0
    """For a preview to wait for its turn."""
    count: float = 30.0
    """For a preview once it has its turn."""


DEFAULT = Limits()

LARGEST_BODY = 256 * 1024
"""In bytes; many times the size of the longest expression."""
