"""Prune the backlog of job queues kept in Postgres.

The public names are imported when they are first used: `secateur --help` must not wait for a database driver.
"""

TYPE_CHECKING = False  # type checkers know the name; importing it would take longer than the rest of `--help`
if TYPE_CHECKING:
    from secateur.engines.base import Retention, Sent
    from secateur.engines.native.active_runs import ActiveRun, Discard, RetryAfter, RunCancelled, SyncRun
    from secateur.engines.native.cancel_on import CancelOn
    from secateur.engines.native.client import Queue, connect
    from secateur.engines.native.functions import App
    from secateur.engines.native.worker import Worker
    from secateur.errors import SecateurError
    from secateur.looking.counter import Preview
    from secateur.looking.suggestions import Suggestion, Suggestions
    from secateur.records import AuditEntry, Cancellation
    from secateur.requests import CancellationRequest
    from secateur.runs import FunctionDepth, Paused, Run, RunStatus

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
    "Paused",
    "Preview",
    "Queue",
    "Retention",
    "RetryAfter",
    "Run",
    "RunCancelled",
    "RunStatus",
    "SecateurError",
    "Sent",
    "Suggestion",
    "Suggestions",
    "SyncRun",
    "Worker",
    "__version__",
    "connect",
]

_HOMES = {
    "ActiveRun": "secateur.engines.native.active_runs",
    "App": "secateur.engines.native.functions",
    "AuditEntry": "secateur.records",
    "CancelOn": "secateur.engines.native.cancel_on",
    "Cancellation": "secateur.records",
    "CancellationRequest": "secateur.requests",
    "Discard": "secateur.engines.native.active_runs",
    "FunctionDepth": "secateur.runs",
    "Paused": "secateur.runs",
    "Preview": "secateur.looking.counter",
    "Queue": "secateur.engines.native.client",
    "Retention": "secateur.engines.base",
    "RetryAfter": "secateur.engines.native.active_runs",
    "Run": "secateur.runs",
    "RunCancelled": "secateur.engines.native.active_runs",
    "RunStatus": "secateur.runs",
    "SecateurError": "secateur.errors",
    "Sent": "secateur.engines.base",
    "Suggestion": "secateur.looking.suggestions",
    "Suggestions": "secateur.looking.suggestions",
    "SyncRun": "secateur.engines.native.active_runs",
    "Worker": "secateur.engines.native.worker",
    "connect": "secateur.engines.native.client",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
