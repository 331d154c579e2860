"""Imports that somebody waits for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from secateur.collector import collector_at_rest


@contextmanager
def quick_imports() -> Iterator[None]:
    """Imports make objects that stay, and the garbage collector would take a sixth of their time."""
    with collector_at_rest():
        yield
