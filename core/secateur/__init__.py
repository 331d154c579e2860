"""Prune the backlog of job queues kept in Postgres.

The public names are imported when they are first used: `secateur --help` must not wait for a database driver.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from secateur.cancel_on import CancelOn
    from secateur.client import Queue, connect
    from secateur.errors import SecateurError
    from secateur.functions import ActiveRun, App, RunCancelled
    from secateur.requests import CancellationRequest
    from secateur.worker import Worker

__version__ = "0.1.0"

__all__ = [
    "ActiveRun",
    "App",
    "CancelOn",
    "CancellationRequest",
    "Queue",
    "RunCancelled",
    "SecateurError",
    "Worker",
    "__version__",
    "connect",
]

_HOMES = {
    "ActiveRun": "secateur.functions",
    "App": "secateur.functions",
    "CancelOn": "secateur.cancel_on",
    "CancellationRequest": "secateur.requests",
    "Queue": "secateur.client",
    "RunCancelled": "secateur.functions",
    "SecateurError": "secateur.errors",
    "Worker": "secateur.worker",
    "connect": "secateur.client",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
