"""Counts failed attempts to use a token, per address, within a bounded amount of memory."""

from __future__ import annotations

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable

MOST_FAILURES = 10
"""In one window; more are answered 429."""
WINDOW_SECONDS = 60.0
MOST_ADDRESSES = 10_000
"""Whoever was refused longest ago is forgotten first."""
MOST_GOOD = 1000


class TokenAttempts:
    """Times are in seconds, by `clock`."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures: OrderedDict[str, tuple[float, int]] = OrderedDict()
        """By network: when its window began, and how many attempts failed since."""
        self._good: OrderedDict[str, None] = OrderedDict()

    def wait(self, address: str) -> float:
        """How long until the address may fail again; 0 if it may now."""
        began, count = self._failures.get(_network(address), (0.0, 0))
        left = began + WINDOW_SECONDS - self._clock()
        return left if count >= MOST_FAILURES and left > 0 else 0.0

    def fail(self, address: str) -> bool:
        """Count a failure; whether it was the last one that is allowed."""
        network, now = _network(address), self._clock()
        began, count = self._failures.pop(network, (now, 0))
        if now - began >= WINDOW_SECONDS:
            began, count = now, 0
        self._failures[network] = began, count + 1
        if len(self._failures) > MOST_ADDRESSES:
            self._failures.popitem(last=False)
        return count + 1 == MOST_FAILURES

    def succeed(self, secret_hash: str) -> None:
        self._good[secret_hash] = None
        self._good.move_to_end(secret_hash)
        if len(self._good) > MOST_GOOD:
            self._good.popitem(last=False)

    def forget(self, secret_hash: str) -> None:
        self._good.pop(secret_hash, None)

    def has_succeeded(self, secret_hash: str) -> bool:
        """Whether the token with this hash was valid lately: others at its address do not lock it out."""
        return secret_hash in self._good


def _network(address: str) -> str:
    """What one client can choose its address from: of IPv6 a /64."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(parsed.ipv4_mapped or ipaddress.ip_network((int(parsed) >> 64 << 64, 64)))
    return address
