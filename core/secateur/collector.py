"""The garbage collector, for work that makes many objects that stay."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collector_at_rest() -> Iterator[None]:
    """Keeps the collector from looking through all objects again and again meanwhile: imports that somebody waits for
    would take a sixth longer, the search for a flood's cause a third. Memory is freed all the same, except that of
    objects that refer to each other in a circle."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
