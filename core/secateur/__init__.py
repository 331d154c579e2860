"""Prune the backlog of job queues kept in Postgres.

The public names are imported when they are first used: `secateur --help` must not wait for a database driver.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from secateur.active_runs import ActiveRun, Discard, RetryAfter, RunCancelled, SyncRun
    from secateur.cancel_on import CancelOn
    from secateur.cancellations import Preview
    from secateur.client import Queue, connect
    from secateur.engines.base import Retention
    from secateur.errors import SecateurError
    from secateur.functions import App
    from secateur.records import AuditEntry, Cancellation
    from secateur.requests import CancellationRequest
    from secateur.runs import FunctionDepth, Run, RunStatus
    from secateur.sending import Sent
    from secateur.worker import Worker

__version__ = "0.1.0"

__all__ = [
    "ActiveRun",
    "App",
    "AuditEntry",
    "CancelOn",
    "Cancellation",
    "CancellationRequest",
    "Discard",
    "FunctionDepth",
    "Preview",
    "Queue",
    "Retention",
    "RetryAfter",
    "Run",
    "RunCancelled",
    "RunStatus",
    "SecateurError",
    "Sent",
    "SyncRun",
    "Worker",
    "__version__",
    "connect",
]

_HOMES = {
    "ActiveRun": "secateur.active_runs",
    "App": "secateur.functions",
    "AuditEntry": "secateur.records",
    "CancelOn": "secateur.cancel_on",
    "Cancellation": "secateur.records",
    "CancellationRequest": "secateur.requests",
    "Discard": "secateur.active_runs",
    "FunctionDepth": "secateur.runs",
    "Preview": "secateur.cancellations",
    "Queue": "secateur.client",
    "Retention": "secateur.engines.base",
    "RetryAfter": "secateur.active_runs",
    "Run": "secateur.runs",
    "RunCancelled": "secateur.active_runs",
    "RunStatus": "secateur.runs",
    "SecateurError": "secateur.errors",
    "Sent": "secateur.sending",
    "SyncRun": "secateur.active_runs",
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
