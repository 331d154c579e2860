"""The audit as people and programs read it; the database alone writes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from secateur.instants import utc

if TYPE_CHECKING:
    from secateur.records import AuditEntry


def audit_json(entry: AuditEntry) -> dict[str, Any]:
    """An entry as the CLI and the API write it, to the letter."""
    return {
        "id": entry.id,
        "at": utc(entry.at),
        "action": entry.action,
        "app_id": entry.app_id,
        "function_id": entry.function_id,
        "cancellation_id": str(entry.cancellation_id) if entry.cancellation_id else None,
        "author": entry.author,
        "role": entry.role,
        "address": entry.address,
        "application_name": entry.application_name,
        "source": entry.source,
        "details": entry.details,
    }
