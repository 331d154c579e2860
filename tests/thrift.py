"""What the process of the tests does once, where a program would do it once in its life."""

from __future__ import annotations

import gc
from functools import cache

from httpx import _transports
from httpx._config import create_ssl_context


def share_certificates() -> None:
    """Every client of httpx reads the certificates of all authorities, which takes longer than most requests."""
    _transports.default.create_ssl_context = cache(create_ssl_context)


def collect_garbage_rarely() -> None:
    """What was imported and collected stays to the end: looking through it again and again finds no garbage."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
