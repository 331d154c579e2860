"""What the beds of Rails' queues have in common: no Ruby runs here.

Their tables are made after the catalog of a real installation: the tables, columns, keys and indexes that are read,
claimed by or written to. Jobs are put there as ActiveJob writes them, and a worker issues the statements of the
gem's models.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4


def serialized(task: str, queue: str, priority: int, payload: dict[str, Any]) -> dict[str, Any]:
    """A job of the class `task` with `payload` as its keyword arguments, as ActiveJob 7.1 serializes it."""
    return {
        "job_class": task,
        "job_id": str(uuid4()),
        "provider_job_id": None,
        "queue_name": queue,
        "priority": priority,
        "arguments": [_hash({**payload}, "_aj_ruby2_keywords")],
        "executions": 0,
        "exception_executions": {},
        "locale": "en",
        "timezone": "UTC",
        "enqueued_at": datetime.now(UTC).isoformat(),
        "scheduled_at": None,
    }


def payload_of(job: dict[str, Any]) -> dict[str, Any]:
    """What `serialized` was given."""
    return {name: value for name, value in job["arguments"][-1].items() if not name.startswith("_aj_")}


def _hash(value: dict[str, Any], mark: str) -> dict[str, Any]:
    """A hash as an argument: the mark names the keys that are symbols in Ruby. Hashes within are marked as well."""
    written = {name: _hash(each, "_aj_symbol_keys") if isinstance(each, dict) else each for name, each in value.items()}
    return {**written, mark: list(value)}
